"""A run as figures draw it: its columns as arrays, when it began and ended, and what tells it from the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hpcsim.errors import InputError
from hpcsim.results.curves import by_interval, even_edges, integral, value_at
from hpcsim.results.period import period_s
from hpcsim.results.plots.ink import COLOURS, LINES, fitted, line_of
from hpcsim.results.run import Run, scheduler_of
from hpcsim.strict_yaml import parse_mapping

MOST_RUNS = len(COLOURS) * len(LINES)
_NAME_IN = 3.2  # how wide a scenario or a scheduler may be below a title
POINTS = 600  # intervals of a curve over time: few enough to see and to draw fast

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Curve(NamedTuple):
    """A step function by intervals: seconds of the edges, and of each interval the mean, the least and the most."""

    edges: Floats
    mean: Floats
    least: Floats
    most: Floats


class Drawn:
    """A run to be drawn. ``place`` is where it lies and ``label`` what it is called beside others.

    ``colour`` and ``line`` are what its curves are drawn with where there are several runs. Times are seconds since
    ``t0_utc``; ``begin`` and ``end`` are those of the whole run.
    """

    def __init__(self, run: Run, place: str, label: str, number: int = 0) -> None:
        self.run, self.place, self.label = run, place, label
        self.colour, self.line = line_of(number)
        self.summary, self.manifest = run.summary, run.manifest
        self.t0_utc = int(run.manifest["t0_utc"])
        self.nodes = int(run.manifest["machine"]["nodes"])
        self._columns: dict[tuple[str, str], npt.NDArray[Any]] = {}

    def has(self, table: str) -> bool:
        """Whether the run left this table."""
        return table in self.run.tables

    def column(self, table: str, name: str) -> npt.NDArray[Any]:
        """A column of numbers; floats with NaN for null where there is one."""
        key = (table, name)
        if key not in self._columns:
            self._columns[key] = self.run.tables[table].column(name).to_numpy()
        return self._columns[key]

    def is_one_of(self, table: str, name: str, *values: str) -> Bools:
        """The rows in which a column of text has one of these values."""
        found = pc.is_in(self.run.tables[table].column(name).cast(pa.string()), value_set=pa.array(values))
        return np.asarray(found.to_numpy(zero_copy_only=False), bool)

    @cached_property
    def scenario(self) -> dict[str, Any]:
        """The scenario of the run as plain data, with every default written out."""
        data: dict[str, Any] = parse_mapping(self.run.scenario_yaml, f"{self.place}/scenario.yaml").data
        return data

    @cached_property
    def _period(self) -> tuple[int, int]:
        return period_s(self.run)

    @property
    def begin(self) -> int:
        """The first second of the run."""
        return self._period[0]

    @property
    def end(self) -> int:
        """The last second: the last end, or the last submission if that is later, or where the run was stopped."""
        return self._period[1]

    @cached_property
    def edges(self) -> Floats:
        """The run cut into as many intervals as can be seen."""
        return even_edges(self.begin, self.end, POINTS)

    def curve(self, table: str, values: npt.NDArray[Any]) -> Curve:
        """A step function with the seconds of ``table``, by intervals."""
        return Curve(self.edges, *by_interval(self.column(table, "time_s"), values, self.edges))

    def integral(self, table: str, values: npt.NDArray[Any]) -> tuple[Floats, Floats]:
        """Seconds, and the integral of such a step function from the beginning to each: the last is the whole run's."""
        seconds = np.append(self.edges[:-1], self.end)
        return seconds, integral(self.column(table, "time_s"), values, seconds)

    def at(self, table: str, values: npt.NDArray[Any], seconds: npt.NDArray[Any]) -> Floats:
        """What such a step function is at these seconds."""
        return value_at(self.column(table, "time_s"), values, seconds)

    def added_up(self, seconds: npt.NDArray[Any], amounts: npt.NDArray[Any] | None = None) -> tuple[Floats, Floats]:
        """Seconds, and what had come until then of amounts (or ones) that came at these: steps, all or as many as seen.

        The first is the beginning of the run and the last its end.
        """
        order = np.argsort(seconds, kind="stable")
        came = np.asarray(seconds, np.float64)[order]
        sums = np.cumsum(np.ones(came.size) if amounts is None else amounts[order])
        at = self.edges
        if came.size <= POINTS:
            at = np.unique(np.concatenate([[self.begin], came, [self.end]]))
        return at, np.append(0.0, sums)[np.searchsorted(came, at, side="right")]


def drawn_runs(runs: Sequence[tuple[str, Run]]) -> list[Drawn]:
    """The runs with labels by what differs: scheduler, scenario, both, seed, or else where they lie.

    Each comes with the place that it was read from. Raises InputError if one place is named twice.
    """
    places = [place for place, _ in runs]
    for place in places:
        if places.count(place) > 1:
            raise InputError(f"{place}: is named twice; a run is drawn once")
    if len(runs) > MOST_RUNS:
        raise InputError(f"found {len(runs)} runs; at most {MOST_RUNS} can be told apart in one figure")
    labels = next(found for found in _labels(runs) if len(set(found)) == len(runs))
    return [
        Drawn(run, place, label, number) for number, ((place, run), label) in enumerate(zip(runs, labels, strict=True))
    ]


def _labels(runs: Sequence[tuple[str, Run]]) -> Iterator[list[str]]:
    """Names of the runs by one thing after the other, until all are different: the places always are."""
    manifests = [run.manifest for _, run in runs]
    schedulers = [scheduler_of(manifest) for manifest in manifests]
    scenarios = [str(manifest["scenario"]) for manifest in manifests]
    seeds = [f"seed {manifest['seed']}" for manifest in manifests]
    yield schedulers
    yield scenarios
    yield [f"{scenario} under {scheduler}" for scenario, scheduler in zip(scenarios, schedulers, strict=True)]
    if len(set(scenarios)) == len(set(schedulers)) == 1:
        yield seeds
    yield [place.rstrip("/").rpartition("/")[2] for place, _ in runs]
    yield [place for place, _ in runs]


def about(runs: Sequence[Drawn]) -> str:
    """The line below a title: which scenario, scheduler, machine and seed, as far as the runs have the same."""
    manifests = [each.manifest for each in runs]
    jobs = [each.run.tables["jobs"].num_rows for each in runs]
    scenarios = sorted({str(each["scenario"]) for each in manifests})
    schedulers = sorted({scheduler_of(each) for each in manifests})
    machines = sorted({f"{each['machine']['nodes']:,} nodes" for each in manifests})
    seeds = sorted({f"seed {each['seed']}" for each in manifests})
    which = scenarios[0] if len(scenarios) == 1 else f"{len(scenarios)} scenarios"
    under = schedulers[0] if len(schedulers) == 1 else f"{len(schedulers)} schedulers"
    counted = f"{jobs[0]:,}" if min(jobs) == max(jobs) else f"{min(jobs):,} to {max(jobs):,}"
    parts = [
        f"{fitted(which, _NAME_IN)} under {fitted(under, _NAME_IN)}",
        f"{counted} job{'' if counted == '1' else 's'}",
    ]
    if len(machines) == 1:
        parts[1] += f" on {machines[0]}"
    return " · ".join([*parts, *(seeds if len(seeds) == 1 else [])])
