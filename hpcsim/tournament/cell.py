"""One cell of a tournament: a pure function from what it hangs on to a folder. This is what workers run."""

from __future__ import annotations

import signal
import time
import traceback
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from hpcsim.errors import BadDecision, HpcsimError, InputError, SchedulerError, TwinError
from hpcsim.plugin.loader import Plugins, load_plugins
from hpcsim.replay import Source, replay, source_of
from hpcsim.scenario.load import LoadedScenario, load_scenario
from hpcsim.tournament.directories import DONE, FAILED, Directory
from hpcsim.tournament.identity import made_by

_SOURCES = 2  # workloads that a worker remembers; neighbouring cells share one


@dataclass(frozen=True, slots=True)
class Order:
    """A cell as it is sent to a worker: plain data, and folders by their absolute names."""

    root: str
    key: str
    identity: dict[str, Any]
    content: dict[str, Any]
    keep: str
    limit_s: int | None
    plugin_files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """What a worker answers: the state of the cell, how long it took it, and in one line why it failed."""

    state: str
    seconds: float
    simulate_s: float = 0.0
    said: str = ""


class Failed(Exception):
    """A cell failed in ``origin``: loading, scheduler, twin, simulating or writing."""

    def __init__(self, origin: str, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.origin, self.cause = origin, cause


def run_cell(order: Order) -> Ended:
    """Run a cell and write its folder; a failure is written as well, and is no error."""
    began = time.perf_counter()
    directory = Directory(Path(order.root))
    try:
        with _part("loading"):
            loaded, plugins, source = prepared(order)
        with _part("simulating"), _within(order.limit_s):
            run = replay(loaded, plugins, source=source)
        took = {"cell_s": round(time.perf_counter() - began, 4)}

        def fill(draft: Path) -> None:
            run.write_into(draft, tables=order.keep == "tables", timing=took)

        with _part("writing"):
            directory.write(order.key, {"state": DONE, **order.identity}, fill)
        return Ended(DONE, time.perf_counter() - began, float(run.timing["cpu_s"]["simulate"]))
    except Failed as failed:
        if failed.origin == "writing" and isinstance(failed.cause, OSError):
            raise failed.cause from failed  # the disk is full, say: not the cell's failure, and the next would meet it
        write_failure(directory, order, failed.origin, failed.cause)
        return Ended(FAILED, time.perf_counter() - began, said=f"{failed.origin}: {_line(failed.cause)}")


def prepared(order: Order) -> tuple[LoadedScenario, Plugins, Source]:
    """The scenario of a cell, the plug-ins, the jobs and the machine; what neighbours share is remembered."""
    plugins = _plugins(order.plugin_files)
    _refuse_other_versions(order, plugins)
    loaded = load_scenario(order.content, schedulers=plugins.schedulers, twins=plugins.twins, parts=plugins.offers)
    return loaded, plugins, _source(loaded, plugins)


def write_failure(directory: Directory, order: Order, origin: str, cause: BaseException) -> None:
    """Keep a cell as failed, with all that helps to find out why."""
    scheduler = order.content["scheduler"]["name"]
    error = {
        "origin": origin,
        "plugin": scheduler,
        "error": type(cause).__name__,
        "message": str(cause),
        "traceback": [line.rstrip() for line in traceback.format_exception(cause)],
    }
    directory.write(order.key, {"state": FAILED, "failure": error, **order.identity})


@contextmanager
def _within(limit_s: int | None) -> Iterator[None]:
    """Raise TimeoutError in what runs for longer, also in the code of a plug-in."""
    if limit_s is None:
        yield
        return

    def ring(_number: int, _frame: object) -> NoReturn:
        raise TimeoutError(f"the cell ran for longer than cell_limit, {limit_s} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _part(origin: str) -> Iterator[None]:
    try:
        yield
    except (SchedulerError, BadDecision) as error:
        raise Failed("scheduler", error) from error
    except TwinError as error:
        raise Failed("twin", error) from error
    except HpcsimError as error:
        raise Failed(origin, error) from error
    except Exception as error:  # also MemoryError: the rest of the tournament goes on
        raise Failed(origin, error) from error


@cache
def _plugins(files: tuple[str, ...]) -> Plugins:
    """The plug-ins, once in each worker."""
    return load_plugins([Path(file) for file in files])


def _refuse_other_versions(order: Order, plugins: Plugins) -> None:
    mine, theirs = made_by(plugins), order.identity["made_by"]
    if mine != theirs:
        parts = sorted(name for name in mine if mine[name] != theirs.get(name))
        raise InputError(f"this worker has other versions than the tournament was planned with: {', '.join(parts)}")


_sources: OrderedDict[str, Source] = OrderedDict()


def _source(loaded: LoadedScenario, plugins: Plugins) -> Source:
    """The jobs and the machine of a scenario; those of the last few are remembered."""
    known = repr(_jobs_and_machine(loaded.resolved()))
    if known not in _sources:
        while len(_sources) >= _SOURCES:
            _sources.popitem(last=False)
        _sources[known] = source_of(loaded, plugins)
    _sources.move_to_end(known)
    return _sources[known]


def _jobs_and_machine(scenario: Mapping[str, Any]) -> list[Any]:
    """What of a resolved scenario ``source_of`` reads."""
    drawn = scenario["seed"] if scenario["trace"] is None else None
    names = ("machine", "trace", "trace_format", "profile", "jobs", "days", "strict", "reservations")
    physics = scenario["physics"] and {**scenario["physics"], "failure_seed": None}  # which differs by window
    return [*(scenario[name] for name in names), physics, drawn]


def _line(cause: BaseException) -> str:
    said = str(cause).splitlines() or [""]
    return said[0] if isinstance(cause, HpcsimError) else f"{type(cause).__name__}: {said[0]}"
