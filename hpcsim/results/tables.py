"""The tables of a finished simulation: a row per job, per attempt, and per change of the machine's state.

All times are whole seconds since ``t0_utc``. docs/results.md gives every column's unit and formula.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hpcsim.engine.attempts import FUTURE, NODE_FAILED, PREEMPTED, REJECTED, RUNNING, STATES
from hpcsim.engine.decided import KINDS
from hpcsim.engine.simulation import Simulation
from hpcsim.results.shared import busy_nodes, parts_of_nodes

if TYPE_CHECKING:
    from hpcsim.engine.site import Site

SLOWDOWN_BOUND_S = 10  # Feitelson's tau: shorter jobs count as if they ran this long

# What a job of a run that was stopped early is doing instead.
UNFINISHED = ("running", "waiting", "unsubmitted")
_JOB_STATES = (*STATES[:PREEMPTED], *UNFINISHED)
_NOT_YET = -1


def jobs_table(simulation: Simulation, measured: npt.NDArray[np.bool_]) -> pa.Table:
    """A row per job that was submitted, in that order, with the start and end of its last attempt."""
    workload, attempts = simulation.workload, simulation.attempts
    count = simulation.arrived
    job = attempts.job
    start = np.full(count, _NOT_YET, np.int64)
    end = np.full(count, _NOT_YET, np.int64)
    start[job] = attempts.start  # a later attempt of a job overwrites an earlier one
    end[job] = attempts.end
    state = np.frombuffer(bytes(simulation.state), np.uint8)[:count].astype(np.int8)
    unfinished = state >= RUNNING
    on_machine = np.zeros(count, bool)
    on_machine[list(simulation.running)] = True
    state[unfinished] = _JOB_STATES.index("waiting")
    state[on_machine] = _JOB_STATES.index("running")
    if simulation.closed_loop is not None:
        state[_unsubmitted(simulation, count)] = _JOB_STATES.index("unsubmitted")
    start[unfinished & ~on_machine] = _NOT_YET
    end[unfinished] = _NOT_YET
    has_started, has_ended = start != _NOT_YET, end != _NOT_YET
    submit = simulation.submit_s[:count]
    runtime = end - start
    slowdown = np.maximum(1.0, (end - submit) / np.maximum(runtime, SLOWDOWN_BOUND_S))
    table = workload.table.slice(0, count)
    return pa.table(
        {
            "job_id": table.column("name"),
            "user": table.column("user"),
            "project": table.column("project"),
            "queue": table.column("queue"),
            "routed_to": _routes(simulation, count),
            "after": _names_after(table),
            "submit_s": pa.array(submit),
            "eligible_s": _eligible(simulation, has_started),
            "held_by": _of_some(simulation.held_by, count),
            "start_s": pa.array(start, mask=~has_started),
            "end_s": pa.array(end, mask=~has_ended),
            "attempts": pa.array(np.bincount(job, minlength=count).astype(np.int32)),
            "nodes": table.column("nodes"),
            "walltime_s": table.column("walltime_s"),
            "runtime_s": pa.array(runtime, mask=~has_ended),
            "state": _named(state, _JOB_STATES),
            "rejected_by": _of_some(simulation.rejected, count),
            "wait_s": pa.array(start - submit, mask=~has_started),
            "bounded_slowdown": pa.array(slowdown, mask=~has_ended),
            "measured": pa.array(measured[:count]),
            **parts_of_nodes(workload, np.arange(count)),
            **_energy_of_jobs(simulation, job, count),
        }
    )


def _unsubmitted(simulation: Simulation, count: int) -> list[int]:
    """The jobs below this id that have not been submitted yet: some follow others, which came before their time."""
    loop = simulation.closed_loop
    if loop is None:
        return []
    later = range(simulation.next_arrival, count)
    return sorted({job for job in (*loop.jobs, *later) if job < count} - loop.submitted_s.keys())


def _of_some(texts: Mapping[int, str], count: int) -> pa.Array:
    """A column of text that only some jobs have."""
    column: list[str | None] = [None] * count
    for job_id, text in texts.items():
        column[job_id] = text
    return pa.array(column, pa.string()).dictionary_encode()


def _routes(simulation: Simulation, count: int) -> pa.Array:
    """The queue of each job that is in another one than it asked for."""
    centre = simulation.centre
    codes = np.zeros(count, np.int32) if centre is None else np.array(centre.routed_to[:count], np.int32)
    names = () if centre is None else centre.queues
    return pa.DictionaryArray.from_arrays(pa.array(codes - 1, mask=codes == 0), pa.array(names, pa.string()))


def _names_after(table: pa.Table) -> pa.Array:
    """The names of the jobs that each job waits for, joined."""
    after = table.column("after")
    if after.null_count == len(after):
        return pa.nulls(len(after), pa.string())
    name = table.column("name")
    return pa.array(
        [None if not ids else ", ".join(name[number].as_py() for number in ids) for ids in after.to_pylist()],
        pa.string(),
    )


def _eligible(simulation: Simulation, has_started: npt.NDArray[np.bool_]) -> pa.Array:
    """From when on each job could start, but for the nodes that it needs; empty where that has not come."""
    table = simulation.workload.table.slice(0, has_started.size)
    eligible = np.maximum(simulation.submit_s[: has_started.size], simulation.start)
    never = table.column("after").is_valid().to_numpy() & ~has_started
    never[_unsubmitted(simulation, has_started.size)] = True
    never[[*simulation.held_by]] = True
    for job_id, second in simulation.eligible.items():
        eligible[job_id], never[job_id] = second, False
    never[[job_id for job_id in simulation.rejected if job_id not in simulation.rejected_late]] = True
    return pa.array(eligible, mask=never)


def decisions_table(simulation: Simulation) -> pa.Table:
    """A row for each decision of the scheduler besides starts, in their order."""
    decided = simulation.decided
    job, value, kind = decided.column("job"), decided.column("value"), decided.column("kind")
    modes = [mode or None for mode in decided.objects("mode")]
    return pa.table(
        {
            "time_s": pa.array(decided.column("time_s")),
            "decision": _named(kind, KINDS),
            "job_id": simulation.workload.table.column("name").take(pa.array(job, mask=job < 0)),
            "value": pa.array(value, mask=np.isnan(value)),
            "mode": pa.array(modes, pa.string()).dictionary_encode(),
            "why": _reasons(decided.objects("why")),
        }
    )


def attempts_table(simulation: Simulation) -> pa.Table:
    """A row for each time a job was put on the machine, in the order of the starts."""
    attempts, workload = simulation.attempts, simulation.workload
    job = attempts.job
    end = attempts.end
    state = attempts.state
    return pa.table(
        {
            "job_id": workload.table.column("name").take(pa.array(job)),
            "attempt": pa.array(_how_manieth(job)),
            "start_s": pa.array(attempts.start),
            "end_s": pa.array(end, mask=state == RUNNING),
            "nodes": pa.array(workload.column("nodes")[job]),
            "state": _named(state, STATES[:FUTURE]),
            "why": _reasons(attempts.why),
            **parts_of_nodes(workload, job),
            **_places_and_energy(simulation),
        }
    )


def interrupts_table(site: Site) -> pa.Table:
    """A row for each time that units of a machine went out of service."""
    interrupts, unit_nodes = site.cluster.service.interrupts, site.cluster.spec.unit_nodes
    return pa.table(
        {
            "time_s": pa.array([each.time_s for each in interrupts], pa.int64()),
            "until_s": pa.array([each.until_s for each in interrupts], pa.int64()),
            "cause": pa.array([each.cause for each in interrupts], pa.string()).dictionary_encode(),
            "units": pa.array([_spans(each.units) for each in interrupts], pa.string()),
            "nodes": pa.array([each.units.size * unit_nodes for each in interrupts], pa.int64()),
            "jobs": pa.array([each.jobs for each in interrupts], pa.int64()),
            "precursor_s": pa.array([each.precursor_s for each in interrupts], pa.int64()),
            "slept_nodes": pa.array([each.slept for each in interrupts], pa.int64()),
        }
    )


def _energy_of_jobs(simulation: Simulation, job: npt.NDArray[np.int64], count: int) -> dict[str, pa.Array]:
    if simulation.site is None:
        return {}
    return {"energy_j": pa.array(np.bincount(job, simulation.site.joules, minlength=count))}


def _places_and_energy(simulation: Simulation) -> dict[str, pa.Array]:
    """What only a machine with places and power knows of its attempts."""
    site = simulation.site
    if site is None:
        return {}
    return {
        "units": pa.array([_spans(units) for units in site.units], pa.string()),
        "energy_j": pa.array(site.joules),
        "throttled_node_s": pa.array(site.throttled_node_s),
        "lost_node_s": pa.array(site.lost_node_s),
    }


def _spans(units: npt.NDArray[np.int64]) -> str:
    """Ascending unit numbers as text: runs joined, such as ``0-13,20``."""
    begin, end = int(units[0]), int(units[-1])
    if end - begin + 1 == units.size:
        return str(begin) if begin == end else f"{begin}-{end}"
    ends = np.flatnonzero(np.diff(units) != 1)
    first, last = units[np.append(0, ends + 1)].tolist(), units[np.append(ends, -1)].tolist()
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(first, last, strict=True))


def timeline_table(simulation: Simulation) -> pa.Table:
    """The waiting jobs, running jobs and busy nodes from each second on at which one of them changed."""
    attempts = simulation.attempts
    came_busy, went_busy = busy_nodes(simulation)
    taken = attempts.taken
    over = attempts.state != RUNNING
    freed = attempts.end[over]
    back = _comes_back(simulation)[over].astype(np.int64)
    state = np.frombuffer(bytes(simulation.state), np.uint8)
    submit = simulation.submit_s
    late = simulation.rejected_late
    state = state[: simulation.arrived].copy()
    state[_unsubmitted(simulation, simulation.arrived)] = REJECTED  # they count no more than these
    state[list(late)] = FUTURE  # until then they waited
    came = np.maximum(submit[: simulation.arrived][state != REJECTED], simulation.start)
    time = np.concatenate([[simulation.start], came, taken, freed, np.fromiter(late.values(), np.int64)])
    order = np.argsort(time, kind="stable")
    time = time[order]
    first = np.flatnonzero(np.diff(time, prepend=time[0] - 1))

    def level(at_arrival: Any, at_start: Any, at_end: Any, at_rejection: Any = 0) -> npt.NDArray[np.int64]:
        change = np.zeros(time.size, np.int64)
        arrived, started = 1 + came.size, 1 + came.size + taken.size
        ended = started + freed.size
        change[1:arrived], change[arrived:started], change[started:ended] = at_arrival, at_start, at_end
        change[ended:] = at_rejection
        return np.cumsum(np.add.reduceat(change[order], first))

    waiting, running, busy = level(1, -1, back, -1), level(0, 1, -1), level(0, came_busy, -went_busy[over])
    changed = (np.diff(waiting) != 0) | (np.diff(running) != 0) | (np.diff(busy) != 0)
    kept = np.concatenate([[True], changed])
    columns = {"time_s": time[first], "queue": waiting, "running": running, "busy_nodes": busy}
    return pa.table({name: values[kept] for name, values in columns.items()})


def _named(codes: npt.NDArray[np.int8], names: tuple[str, ...]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(names))


def _comes_back(simulation: Simulation) -> npt.NDArray[np.bool_]:
    """Whether the job of each attempt went back into the queue when the attempt ended."""
    state, job = simulation.attempts.state, simulation.attempts.job
    ended = np.frombuffer(bytes(simulation.state), np.uint8)[job]
    comes_back: npt.NDArray[np.bool_] = (state == PREEMPTED) | ((state == NODE_FAILED) & (ended != NODE_FAILED))
    return comes_back


def _reasons(reasons: list[str]) -> pa.Array:
    """The reasons of all attempts; what no text can hold (half a surrogate pair) becomes a question mark."""
    number: dict[str, int] = {}
    codes = np.fromiter((number.setdefault(why, len(number)) for why in reasons), np.int32, len(reasons))
    names = [why.encode("utf-8", "replace").decode() for why in number]
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(names, pa.string()))


def _how_manieth(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """For each element, how often its value has occurred up to and including it."""
    order = np.argsort(values, kind="stable")
    in_order = values[order]
    first = np.flatnonzero(np.diff(in_order, prepend=in_order[:1] - 1))
    since = np.arange(values.size) - np.repeat(first, np.diff(first, append=values.size))
    manieth = np.empty(values.size, np.int32)
    manieth[order] = since + 1
    return manieth
