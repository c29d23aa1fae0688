"""One moment of a run in plain figures, for a picture that moves: from a simulation that goes on, or from its tables.

A frame shows how things stand once all of its second has happened. Of both sources the same moment is the same frame,
but for temperatures: tables have them at regular seconds only, of which the last one is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isnan
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hpcsim.engine.attempts import RUNNING, STATES
from hpcsim.engine.decided import KINDS
from hpcsim.results.answer import span
from hpcsim.results.period import period_s

if TYPE_CHECKING:
    from hpcsim.engine.simulation import Simulation
    from hpcsim.results.run import Run

Int64s = npt.NDArray[np.int64]

EVENTS: Final = 30
"""How many events a frame has of each kind, at most."""

_TOLD: Final = ("sleep", "wake", "set_cap", "set_cooling")  # decisions that are events of the machine
_ROW_BITS: Final = 24
_ENDS, _STARTS = 0, 1  # in the order of one second


class Event(NamedTuple):
    """Something that happened: when, and in words."""

    time_s: int
    text: str


@dataclass(frozen=True, slots=True)
class Frame:
    """How things stand at second ``now_s``; all times are seconds since ``t0_utc``.

    The run is from ``start_s`` to ``end_s``, as far as that is known by now. Of ``jobs`` in all, ``ended`` are over,
    ``waiting`` and ``running``. What the run does not model, or did not write down, is None: nodes out of service and
    asleep, watts, degrees. Without a cap ``cap_w`` is infinite. The last of ``job_events`` and ``machine_events`` are
    the latest.
    """

    title: str
    t0_utc: int
    start_s: int
    now_s: int
    end_s: int
    jobs: int
    ended: int
    waiting: int
    running: int
    nodes: int
    busy_nodes: int
    down_nodes: int | None
    asleep_nodes: int | None
    facility_w: float | None
    it_w: float | None
    cap_w: float | None
    hottest_c: float | None
    mean_c: float | None
    throttled_nodes: int | None
    job_events: tuple[Event, ...]
    machine_events: tuple[Event, ...]


# -- of a simulation ----------------------------------------------------------------------------


def frame_of(simulation: Simulation, title: str) -> Frame:
    """The present frame; the simulation is left to the last bit as it would be had nobody looked."""
    now = simulation.now if simulation.is_over else simulation.now - 1  # ``run`` stops before its second
    waiting, running, site = len(simulation.waiting), len(simulation.running), simulation.site
    submit = simulation.workload.column("submit_s")
    machine: dict[str, Any] = dict.fromkeys(_OF_MACHINE)
    if site is not None:
        cluster, facility = site.cluster, site.facility
        machine |= {
            "down_nodes": cluster.meter.nodes_in["down"],
            "asleep_nodes": site.sleeping_nodes,
            "it_w": cluster.meter.it_w,
            "facility_w": cluster.meter.it_w * (1.0 + facility.overhead(max(now, simulation.start))),
            "cap_w": float(facility.cap_w),
        }
        if cluster.heat is not None:
            node_c = cluster.heat.seen_c(simulation.now)
            machine |= {
                "hottest_c": float(node_c.max()),
                "mean_c": float(node_c.mean()),
                "throttled_nodes": cluster.spec.unit_nodes * cluster.heat.throttled_units,
            }
    return Frame(
        title=title,
        t0_utc=simulation.workload.t0_utc,
        start_s=simulation.start,
        now_s=now,
        end_s=max(now, int(submit[-1]) if submit.size else now),
        jobs=len(simulation.workload),
        ended=simulation.submitted - waiting - running,
        waiting=waiting,
        running=running,
        nodes=simulation.nodes,
        busy_nodes=simulation.ledger.busy_nodes,
        **machine,
        job_events=_job_events(simulation, now),
        machine_events=_machine_events(simulation, now),
    )


_OF_MACHINE: Final = (
    "down_nodes", "asleep_nodes", "facility_w", "it_w", "cap_w", "hottest_c", "mean_c", "throttled_nodes",
)  # fmt: skip


def _job_events(simulation: Simulation, now: int) -> tuple[Event, ...]:
    attempts, workload = simulation.attempts, simulation.workload
    start, end, state = attempts.start, attempts.end, attempts.state
    moments = _moments(start, np.where(state == RUNNING, now + 1, end))
    events = []
    for second, kind, row in _latest(moments, now):
        job_id, _, began, ended, became, why = attempts.row(row)
        name, nodes = workload.table.column("name")[job_id].as_py(), int(workload.column("nodes")[job_id])
        said = _started(name, nodes, why) if kind == _STARTS else _ended(name, STATES[became], ended - began)
        events.append(Event(second, said))
    return tuple(events)


def _machine_events(simulation: Simulation, now: int) -> tuple[Event, ...]:
    site, decided = simulation.site, simulation.decided
    interrupts = [] if site is None else site.cluster.service.interrupts
    since = np.array([each.time_s for each in interrupts], np.int64)
    until = np.array([each.until_s for each in interrupts], np.int64)
    told = np.flatnonzero(np.isin(decided.column("kind"), [KINDS.index(name) for name in _TOLD]))
    unit_nodes = 1 if site is None else site.cluster.spec.unit_nodes

    def words(kind: int, row: int) -> str:
        if kind == _DECIDED:
            _, what, _, value, mode, why = decided.row(int(told[row]))
            return _decided(KINDS[what], None if isnan(value) else value, mode, why)
        each = interrupts[row]
        return _interrupted(kind, each.cause, each.units.size * unit_nodes, each.jobs, each.until_s - each.time_s)

    moments = _machine_moments(since, until, decided.column("time_s")[told])
    return tuple(Event(second, words(kind, row)) for second, kind, row in _latest(moments, now))


# -- of tables ----------------------------------------------------------------------------------


class Recording:
    """The frames of a finished run, from ``start_s`` to ``end_s``; nothing is simulated again."""

    def __init__(self, run: Run) -> None:
        tables, manifest = run.tables, run.manifest
        self._title = run.title
        self._t0_utc, self._nodes = int(manifest["t0_utc"]), int(manifest["machine"]["nodes"])
        self._submit = np.sort(tables["jobs"].column("submit_s").to_numpy())
        self._attempts = attempts = tables["attempts"]
        self._timeline, self._power, self._grid, self._temperature = (
            _Steps(tables.get(name)) for name in ("timeline", "power", "grid", "temperature")
        )
        far = np.iinfo(np.int64).max >> _ROW_BITS + 2
        start, end = attempts.column("start_s").to_numpy(), attempts.column("end_s").fill_null(far).to_numpy()
        self.start_s, self.end_s = period_s(run)
        self._job_moments = np.sort(_moments(start, end))
        interrupts, decisions = tables.get("interrupts"), tables.get("decisions")
        self._interrupts = interrupts
        none = np.zeros(0, np.int64)
        self._since, self._until, self._down = (
            none if interrupts is None else interrupts.column(name).to_numpy()
            for name in ("time_s", "until_s", "nodes")
        )
        self._told = None
        self._sleep_s, self._asleep = none, none
        if decisions is not None:
            self._told = decisions.filter(pc.is_in(decisions.column("decision").cast(pa.string()), pa.array(_TOLD)))
            sleeps, wakes = (_of_kind(decisions, name) for name in ("sleep", "wake"))
            roused = none if interrupts is None else interrupts.column("slept_nodes").to_numpy()
            times = np.concatenate((sleeps[0], wakes[0], self._since))
            order = np.argsort(times, kind="stable")
            self._sleep_s = times[order]
            self._asleep = np.concatenate((sleeps[1], -wakes[1], -roused))[order].cumsum()
        told_s = none if self._told is None else self._told.column("time_s").to_numpy()
        self._machine_moments = np.sort(_machine_moments(self._since, self._until, told_s))

    def frame(self, second: int) -> Frame:
        """The frame of a second."""
        has_machine = self._interrupts is not None
        line, power, grid = (each.at(second) for each in (self._timeline, self._power, self._grid))
        warm = self._temperature.at(second)
        waiting, running = int(line.get("queue", 0)), int(line.get("running", 0))
        arrived = int(np.searchsorted(self._submit, second, side="right"))
        down = int(self._down[(self._since <= second) & (self._until > second)].sum())
        slept = int(np.searchsorted(self._sleep_s, second, side="right"))
        return Frame(
            title=self._title,
            t0_utc=self._t0_utc,
            start_s=self.start_s,
            now_s=second,
            end_s=self.end_s,
            jobs=self._submit.size,
            ended=arrived - waiting - running,
            waiting=waiting,
            running=running,
            nodes=self._nodes,
            busy_nodes=int(line.get("busy_nodes", 0)),
            down_nodes=down if has_machine else None,
            asleep_nodes=(int(self._asleep[slept - 1]) if slept else 0) if has_machine else None,
            facility_w=power.get("facility_w"),
            it_w=power.get("it_w"),
            cap_w=(inf if grid["cap_w"] is None else grid["cap_w"]) if grid else None,
            hottest_c=warm.get("hottest_c"),
            mean_c=warm.get("mean_c"),
            throttled_nodes=warm.get("throttled_nodes"),
            job_events=self._events(self._job_moments, second, self._job_words),
            machine_events=self._events(self._machine_moments, second, self._machine_words),
        )

    def _events(self, moments: Int64s, second: int, words: Callable[[int, int], str]) -> tuple[Event, ...]:
        return tuple(Event(time_s, words(kind, row)) for time_s, kind, row in _latest(moments, second, ordered=True))

    def _job_words(self, kind: int, row: int) -> str:
        each = self._attempts.slice(row, 1).to_pylist()[0]
        if kind == _STARTS:
            return _started(each["job_id"], each["nodes"], each["why"])
        return _ended(each["job_id"], each["state"], each["end_s"] - each["start_s"])

    def _machine_words(self, kind: int, row: int) -> str:
        table = self._told if kind == _DECIDED else self._interrupts
        each = {} if table is None else table.slice(row, 1).to_pylist()[0]
        if kind == _DECIDED:
            return _decided(each["decision"], each["value"], each["mode"], each["why"])
        return _interrupted(kind, each["cause"], each["nodes"], each["jobs"], each["until_s"] - each["time_s"])


class _Steps:
    """A table of step functions, each row of which holds until the next; empty where there is no table."""

    def __init__(self, table: pa.Table | None) -> None:
        self._table = table
        self.time_s: Int64s = np.zeros(0, np.int64) if table is None else table.column("time_s").to_numpy()

    def at(self, second: int) -> dict[str, Any]:
        """The values at a second, by column; none before the first."""
        row = int(np.searchsorted(self.time_s, second, side="right")) - 1
        values: list[dict[str, Any]] = [] if row < 0 or self._table is None else self._table.slice(row, 1).to_pylist()
        return values[0] if values else {}


def _of_kind(decisions: pa.Table, kind: str) -> tuple[Int64s, Int64s]:
    """The seconds and the nodes of the decisions of a kind."""
    mine = decisions.filter(pc.equal(decisions.column("decision").cast(pa.string()), kind))
    return mine.column("time_s").to_numpy(), mine.column("value").to_numpy().astype(np.int64)


# -- of both ------------------------------------------------------------------------------------

_REPAIRED, _FAILED, _DECIDED = range(3)  # in the order of one second


def _moments(start: Int64s, end: Int64s) -> Int64s:
    """When attempts ended and started, each a number that sorts by the second, what happened, and the row."""
    return np.concatenate([_numbered(end, _ENDS), _numbered(start, _STARTS)])


def _machine_moments(since: Int64s, until: Int64s, decided: Int64s) -> Int64s:
    return np.concatenate([_numbered(until, _REPAIRED), _numbered(since, _FAILED), _numbered(decided, _DECIDED)])


def _numbered(second: Int64s, kind: int) -> Int64s:
    return (second << _ROW_BITS + 2) + (kind << _ROW_BITS) + np.arange(second.size)


def _latest(moments: Int64s, now: int, *, ordered: bool = False) -> list[tuple[int, int, int]]:
    """Of the last moments up to ``now``: the second, what happened, the row."""
    later = (now + 1) << _ROW_BITS + 2
    if ordered:
        last = moments[: np.searchsorted(moments, later)][-EVENTS:]
    else:
        last = moments[moments < later]
        if last.size > EVENTS:
            last = np.partition(last, last.size - EVENTS)[-EVENTS:]
        last = np.sort(last)
    kinds, rows = (1 << 2) - 1, (1 << _ROW_BITS) - 1
    return [(each >> _ROW_BITS + 2, each >> _ROW_BITS & kinds, each & rows) for each in last.tolist()]


def _started(name: str, nodes: int, why: str) -> str:
    return f"{name} starts on {_counted(nodes, 'node')}" + (f": {why}" if why else "")


def _ended(name: str, state: str, lasted_s: int) -> str:
    return f"{name} {_ENDED.get(state, state)} after {span(lasted_s)}"


_ENDED: Final = {
    "timeout": "met its limit",
    "node_failed": "lost a node",
    "killed": "was killed",
    "preempted": "was stopped",
}


def _interrupted(kind: int, cause: str, nodes: int, jobs: int, lasts_s: int) -> str:
    if kind == _REPAIRED:
        return f"{_counted(nodes, 'node')} back from {_CAUSES.get(cause, cause)}"
    hit = f", {_counted(jobs, 'job')} hit" if jobs else ""
    return f"{_CAUSES.get(cause, cause)}: {_counted(nodes, 'node')} down for {span(lasts_s)}{hit}"


_CAUSES: Final = {"hardware": "hardware failure", "heat": "shutdown for heat", "recorded": "recorded outage"}


def _decided(what: str, value: float | None, mode: str | None, why: str) -> str:
    said = {
        "sleep": f"{_counted(int(value or 0), 'node')} to sleep",
        "wake": f"{_counted(int(value or 0), 'node')} to wake",
        "set_cap": "no cap" if value is None else f"cap {value / 1000:,.0f} kW",
        "set_cooling": f"cooling {mode}",
    }[what]
    return f"{said}: {why}" if why else said


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
