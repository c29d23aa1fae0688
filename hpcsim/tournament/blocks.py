"""Complete blocks: the cells that all schedulers have finished, each window with the same jobs and seeds for all.

A window of a scenario is the unit of replication. Its seeds are averaged, because they repeat one window and are no
further ones; its loads are kept apart and stay together, because they are the same jobs at another pace.

Names of arrays end in their axes: U windows, R rows (a window at a load), S strata (a scenario at a load), K
schedulers, B resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpcsim.errors import InputError
from hpcsim.results.directions import Better, better
from hpcsim.tournament.cells import Cells

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What could not be compared. A block is a window with one seed and one load, under all schedulers."""

    blocks: int  # that there are
    incomplete: int  # of these: some scheduler has no value
    missing: tuple[tuple[str, int], ...]  # the blocks in which a scheduler has no value, of those that lack any
    windows: int  # that are not compared, because at some load no seed is complete
    schedulers: tuple[tuple[str, tuple[str, ...]], ...]  # that are not compared: no value at all in these scenarios
    scenarios: tuple[str, ...]  # in which nobody has a value


@dataclass(frozen=True, slots=True)
class Blocks:
    """The values of one metric that are compared."""

    metric: str
    better: Better
    schedulers: tuple[str, ...]
    scenarios: tuple[str, ...]
    strata: tuple[tuple[str, str], ...]  # scenario and load
    window_names: tuple[str, ...]  # by U; those of two scenarios may be alike
    scenario_U: Ints
    window_R: Ints
    stratum_R: Ints
    value_RK: Floats
    seeds_R: Ints
    left_out: LeftOut

    @property
    def windows(self) -> int:
        """How many windows are compared."""
        return int(self.scenario_U.size)

    @property
    def sign(self) -> float:
        """1 where higher is better, -1 where lower is."""
        return 1.0 if self.better == "higher" else -1.0


def complete_blocks(
    cells: Cells,
    metric: str,
    *,
    scenarios: Sequence[str] = (),
    load: str | None = None,
    direction: Better | None = None,
) -> Blocks:
    """The complete blocks of a metric: of all scenarios and loads, or of those given.

    A seed of a window at a load counts if every scheduler has a value; a window if that is so of at least one seed at
    each of its scenario's loads. Left out before that are scenarios in which nobody has a value, and then schedulers
    that have none in one of the others.

    Raises InputError where fewer than two schedulers or no window are left, and for a metric that has no direction.
    """
    towards = direction or better(metric)
    value_C = cells.values(metric)
    scenario, window, scheduler, seed, at_load = (cells.column(name) for name in
                                                  ("scenario", "window", "scheduler", "seed", "load"))  # fmt: skip
    wanted = scenarios or cells.scenarios
    inside = [s in wanted and (load is None or at == load) for s, at in zip(scenario, at_load, strict=True)]
    valued = {
        (s, name)
        for s, name, here, value in zip(scenario, scheduler, inside, value_C, strict=True)
        if here and np.isfinite(value)
    }
    kept_scenarios = tuple(name for name in wanted if any(name == s for s, _ in valued))
    there = {name for name, here in zip(scheduler, inside, strict=True) if here}
    lacks = {
        name: tuple(s for s in kept_scenarios if (s, name) not in valued) for name in cells.schedulers if name in there
    }
    kept = tuple(name for name, lacking in lacks.items() if kept_scenarios and not lacking)
    where = f"{cells.place}: {metric}" + (f" of {', '.join(scenarios)}" if scenarios else "")
    if len(kept) < 2:
        raise InputError(f"{where}: {_only(kept)} has values everywhere; at least two schedulers are needed")

    # a dense array by (scenario, window), load, seed and scheduler; NaN where there is no value
    loads = [name for name in cells.loads if load in (None, name)]
    used = [
        row for row, here in enumerate(inside) if here and scenario[row] in kept_scenarios and scheduler[row] in kept
    ]
    units = list(dict.fromkeys((scenario[row], window[row]) for row in used))
    units.sort(key=lambda unit: kept_scenarios.index(unit[0]))  # stable: windows stay in the order of the table
    unit_at, load_at, seed_at, scheduler_at = (
        {name: number for number, name in enumerate(names)}
        for names in (units, loads, list(dict.fromkeys(seed[row] for row in used)), kept)
    )
    value = np.full((len(units), len(loads), len(seed_at), len(kept)), np.nan)
    planned = np.zeros(value.shape[:3], dtype=bool)
    for row in used:
        block = unit_at[scenario[row], window[row]], load_at[at_load[row]], seed_at[seed[row]]
        planned[block] = True
        value[(*block, scheduler_at[scheduler[row]])] = value_C[row]

    complete = planned & np.isfinite(value).all(axis=3)
    lacking = [int((planned & ~np.isfinite(value[..., k])).sum()) for k in range(len(kept))]
    scenario_of = np.array([kept_scenarios.index(name) for name, _ in units], dtype=np.int64)
    seeds_UL = complete.sum(axis=2)
    loads_of = np.array([planned[scenario_of == s].any(axis=(0, 2)) for s in range(len(kept_scenarios))])
    whole = ((seeds_UL > 0) | ~loads_of[scenario_of]).all(axis=1)
    left_out = LeftOut(
        blocks=int(planned.sum()),
        incomplete=int((planned & ~complete).sum()),
        missing=tuple((name, count) for name, count in zip(kept, lacking, strict=True) if count),
        windows=int((~whole).sum()),
        schedulers=tuple((name, lacking) for name, lacking in lacks.items() if name not in kept),
        scenarios=tuple(name for name in wanted if name not in kept_scenarios),
    )
    if not whole.any():
        missing = ", ".join(f"{name} in {count}" for name, count in left_out.missing)
        raise InputError(
            f"{where}: no window is complete: of {left_out.blocks} blocks (window, seed, load) has no value {missing}"
        )

    unit_R, load_R = np.nonzero(whole[:, None] & (seeds_UL > 0))
    shown = np.where(complete[..., None], value, 0.0).sum(axis=2) / np.maximum(seeds_UL, 1)[..., None]
    strata = [
        (name, loads[at]) for s, name in enumerate(kept_scenarios) for at in range(len(loads))
        if (whole & (scenario_of == s)).any() and loads_of[s, at]
    ]  # fmt: skip
    stratum_at = {stratum: number for number, stratum in enumerate(strata)}
    number_U = np.cumsum(whole) - 1
    compared = [name for s, name in enumerate(kept_scenarios) if (whole & (scenario_of == s)).any()]
    return Blocks(
        metric=metric,
        better=towards,
        schedulers=kept,
        scenarios=tuple(compared),
        strata=tuple(strata),
        window_names=tuple(units[u][1] for u in np.nonzero(whole)[0]),
        scenario_U=np.array([compared.index(units[u][0]) for u in np.nonzero(whole)[0]], dtype=np.int64),
        window_R=number_U[unit_R],
        stratum_R=np.array([stratum_at[units[u][0], loads[at]] for u, at in zip(unit_R, load_R, strict=True)]),
        value_RK=shown[unit_R, load_R],
        seeds_R=seeds_UL[unit_R, load_R],
        left_out=left_out,
    )


def _only(names: Sequence[str]) -> str:
    return f"only {names[0]}" if names else "no scheduler"
