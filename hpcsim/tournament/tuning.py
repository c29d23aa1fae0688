"""Options of schedulers chosen by search, with as many trials for each: so that baselines are at their best.

A trial is an entrant of a tournament with other options, run in all of its windows, seeds and loads. Its score is the
mean of a metric over that of the entrant as it was, averaged over scenarios and loads; lower is better. The first trial
of every entrant is the entrant as it was, so tuning makes none worse on the windows that it sees. How good a choice is
has to be told from other windows.

Searched by Optuna's tree-structured Parzen estimator.

References
----------
Akiba, Sano, Yanase, Ohta and Koyama (2019), Optuna: a next-generation hyperparameter optimization framework. Bergstra,
Bardenet, Bengio and Kegl (2011), Algorithms for hyper-parameter optimization.
"""

from __future__ import annotations

import json
import math
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple, Union, get_args, get_origin

import numpy as np

from hpcsim.errors import InputError, lacking
from hpcsim.plugin.loader import Plugins
from hpcsim.results.directions import better
from hpcsim.tournament.directories import DONE, Directory
from hpcsim.tournament.execute import missing, run_cells
from hpcsim.tournament.grid import Entrant, Grid
from hpcsim.tournament.plan import Plan, plan

_UNBOUNDED: Final = 8.0  # a number without an upper bound is searched up to so many times its default


class Choice(NamedTuple):
    """An option that is one of several values."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return ", ".join(str(value) for value in self.values)


class Range(NamedTuple):
    """An option that is a number, its bounds included; ``log``: as likely between 1 and 10 as between 10 and 100."""

    low: float
    high: float
    whole: bool
    log: bool

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{' (logarithmic)' if self.log else ''}"


Space = Mapping[str, Choice | Range]


@dataclass(frozen=True, slots=True)
class Trial:
    """One choice of options: what it changes, and its score; NaN if any of its cells failed."""

    entrant: str
    number: int
    options: dict[str, Any]
    score: float
    failed: int


def space_of(scheduler: Any, entrant: Entrant) -> Space:
    """What can be searched of an entrant's options: choices, switches and numbers that its file does not say.

    A number without an upper bound is searched from an eighth of its default to eight times it, logarithmically.
    Texts, lists and mappings are left as they are, and so is a number whose default is 0 and that has no bound.
    """
    options = getattr(scheduler, "Options", None)
    found: dict[str, Choice | Range] = {}
    for name, field in (options.model_fields if options is not None else {}).items():
        if name in entrant.options or name == "preset":  # a preset sets other options
            continue
        part = _part(field.annotation, field.metadata, field.default)
        if part is not None:
            found[name] = part
    return found


def _part(annotation: Any, metadata: Sequence[Any], default: Any) -> Choice | Range | None:
    if get_origin(annotation) in (Union, types.UnionType):  # such as int | None: with a value
        inner = [each for each in get_args(annotation) if each is not type(None)]
        annotation = inner[0] if len(inner) == 1 else None
    if get_origin(annotation) is Literal:
        return Choice(get_args(annotation))
    if annotation is bool:
        return Choice((False, True))
    if annotation not in (int, float) or isinstance(default, bool) or not isinstance(default, int | float):
        return None
    whole = annotation is int
    low = max((_bound(each, "ge", "gt", -math.inf, whole) for each in metadata), default=-math.inf)
    high = min((_bound(each, "le", "lt", math.inf, whole) for each in metadata), default=math.inf)
    if math.isfinite(low) and math.isfinite(high):
        return Range(low, high, whole, log=low > 0 and high / low >= _UNBOUNDED)
    if default <= 0 or math.isfinite(high):
        return None
    low = max(low, round(default / _UNBOUNDED) if whole else default / _UNBOUNDED, 1 if whole else 0.0)
    return Range(low, default * _UNBOUNDED, whole, log=True)


def _bound(of: Any, with_it: str, without: str, none: float, whole: bool) -> float:
    """A bound of an annotation, itself allowed; ``none`` where it is no bound of that side."""
    if getattr(of, with_it, None) is not None:
        return float(getattr(of, with_it))
    if getattr(of, without, None) is None:
        return none
    bound = float(getattr(of, without))
    return bound + math.copysign(1, -none) if whole else math.nextafter(bound, -none)


def refuse_shared_windows(tuning: Plan, test: Plan) -> None:
    """Raise InputError if what a test measures is seen by the tuning: a window of both, or a part of one."""
    for name, placed in tuning.windows.items():
        for one in placed:
            for other in test.windows.get(name, ()):
                if one.section is None or other.section is None:
                    raise InputError(f"{name}: all of its jobs are one window; give both tournaments windows")
                if "start" not in one.section or "start" not in other.section:
                    raise InputError(f"{name}: sequences of jobs may overlap; tune and test on windows")
                if one.section["start"] < other.section["end"] and other.section["start"] < one.section["end"]:
                    raise InputError(
                        f"{name}: the window {one.label} is tuned on, and overlaps with {other.label} of the test; "
                        "windows of tuning have to be others (windows.start)"
                    )


def tune(
    grid: Grid,
    plugins: Plugins,
    directory: Directory,
    executor: Executor,
    *,
    metric: str,
    trials: int,
    seed: int = 1,
    told: Callable[[Trial], None] = lambda _: None,
    **given: Any,
) -> list[Trial]:
    """Search options for every entrant of the tournament, ``trials`` for each that has any; the first is as it is.

    ``given`` goes to ``plan``. Raises InputError for a metric without a direction, and where an entrant fails as it is.
    """
    lower = better(metric) == "lower"
    found: list[Trial] = []
    for entrant in grid.tournament.schedulers:
        space = space_of(plugins.schedulers[entrant.name], entrant)
        study = _study(seed)
        own = _Scored(grid, plugins, directory, executor, metric, given)
        first = own.values(entrant, {})
        if first is None:
            raise InputError(
                f"{entrant.shown} fails in some cell of {grid.tournament.name} as it is; "
                "`hpcsim tournament` with the same file says why"
            )
        for number in range(trials if space else 1):
            asked = study.ask() if number else None
            options = {} if asked is None else {name: _asked(asked, name, part) for name, part in space.items()}
            values = own.values(entrant, options) if number else first
            score = math.nan if values is None else _score(values, first, lower=lower)
            if asked is not None:
                study.tell(asked, score)  # of NaN Optuna makes a failed trial
            trial = Trial(entrant.shown, number, options, score, 0 if values is not None else own.failed)
            found.append(trial)
            told(trial)
    return found


def best(trials: Sequence[Trial]) -> dict[str, Trial]:
    """The trial with the lowest score of each entrant; of equals the first."""
    found: dict[str, Trial] = {}
    for trial in trials:
        if trial.score == trial.score and (trial.entrant not in found or trial.score < found[trial.entrant].score):
            found[trial.entrant] = trial
    return found


def _score(now: Mapping[tuple[str, str], float], first: Mapping[tuple[str, str], float], *, lower: bool) -> float:
    """The mean over scenarios and loads of how many times as bad it is as the entrant was."""
    shares = []
    for stratum, before in first.items():
        bad, good = (now[stratum], before) if lower else (before, now[stratum])
        shares.append(1.0 if bad == good else bad / good if good > 0 else math.inf)
    return float(np.mean(shares))


class _Scored:
    """Runs trials and reads the metric from their cells."""

    def __init__(
        self, grid: Grid, plugins: Plugins, directory: Directory, executor: Executor, metric: str, given: dict[str, Any]
    ) -> None:
        self._grid, self._plugins, self._directory, self._executor = grid, plugins, directory, executor
        self._metric, self._given = metric, given
        self.failed = 0

    def values(self, entrant: Entrant, options: Mapping[str, Any]) -> dict[tuple[str, str], float] | None:
        """The mean of the metric by scenario and load, over windows and seeds; None if any cell failed."""
        one = Entrant.model_validate({**entrant.model_dump(exclude_none=True), **options, "label": entrant.shown})
        tournament = self._grid.tournament.model_copy(
            update={"schedulers": [one], "control": None, "metrics": [self._metric]}
        )
        try:
            planned = plan(replace(self._grid, tournament=tournament), self._plugins, **self._given)
        except InputError:  # options that contradict each other
            if not options:
                raise
            return None
        run_cells(missing(planned, self._directory), planned, self._directory, self._executor, lambda *_: None, ahead=4)
        by_stratum: dict[tuple[str, str], list[float]] = {}
        self.failed = 0
        for cell in planned.cells:
            summary = self._directory.read(cell.key, "summary.json") if self._directory.state(cell.key) == DONE else {}
            value = (summary or {}).get(self._metric)
            if value is None:
                self.failed += 1
            else:
                by_stratum.setdefault((cell.scenario, cell.load), []).append(float(value))
        return None if self.failed else {stratum: float(np.mean(each)) for stratum, each in by_stratum.items()}


def _study(seed: int) -> Any:
    try:
        import optuna
    except ImportError:
        raise lacking("hpcsim tune", "Optuna", "tune") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return optuna.create_study(direction="minimize", sampler=optuna.samplers.TPESampler(seed=seed))


def _asked(trial: Any, name: str, part: Choice | Range) -> Any:
    if isinstance(part, Choice):
        return trial.suggest_categorical(name, list(part.values))
    if part.whole:
        return trial.suggest_int(name, int(part.low), int(part.high), log=part.log)
    return trial.suggest_float(name, part.low, part.high, log=part.log)


def tuned(grid: Grid, trials: Sequence[Trial]) -> dict[str, Any]:
    """The key ``schedulers`` of a tournament, with the best options of each entrant."""
    chosen = best(trials)
    return {
        "schedulers": [
            {**one.model_dump(mode="json", exclude_none=True), **chosen[one.shown].options, "label": one.shown}
            for one in grid.tournament.schedulers
        ]
    }


def as_rows(trials: Sequence[Trial]) -> list[tuple[str, ...]]:
    """The trials as rows of ``trials.csv``, with its header."""
    header = ("scheduler", "trial", "score", "failed_cells", "options")
    return [
        header,
        *(
            (each.entrant, str(each.number), "" if each.score != each.score else f"{each.score:.10g}", str(each.failed),
             json.dumps(each.options, sort_keys=True, ensure_ascii=False))
            for each in trials
        ),
    ]  # fmt: skip
