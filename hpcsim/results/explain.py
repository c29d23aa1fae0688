"""Why a job of a run waited, and why it started when it did: read from the tables that the run left behind.

Nothing is simulated again. What can be told is what the tables hold: the reasons that decisions carried, who was on
the machine, who came and went, and the rules that held a job back.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from hpcsim.errors import InputError
from hpcsim.results.answer import answer, span
from hpcsim.results.units import spans_of

if TYPE_CHECKING:
    from hpcsim.results.run import Run

Int64s = npt.NDArray[np.int64]

_NAMED = 10  # of the jobs in a list; the others are counted
_ALIKE = 2_000  # names that a mistyped one is compared with, at most


@dataclass(frozen=True, slots=True)
class Other:
    """Another job: its nodes, until when it ran (None: it runs still), and how that ended."""

    job_id: str
    nodes: int
    end_s: int | None
    state: str


@dataclass(frozen=True, slots=True)
class Group:
    """Jobs that were started: how many, their node-hours, how many for each reason, and the one that ran longest."""

    jobs: int
    node_hours: float
    reasons: dict[str, int]
    longest: str | None
    longest_s: int


@dataclass(frozen=True, slots=True)
class Wait:
    """A wait for nodes from ``from_s`` to ``until_s`` (None: it lasts), in which no rule kept the job from starting.

    ``free_nodes`` were free when it began, ``enough_free_s`` are the seconds in which as many were as the job needs.
    ``ahead`` were submitted before the job and started in the meantime, ``overtook`` came later. ``down_nodes`` is the
    most that were out of service, ``maintenance`` when all were for that. ``ended_nodes`` and ``repaired_nodes`` became
    free in the second in which the wait was over. ``levers`` counts what the scheduler decided besides, by what and
    why. ``running`` when it began and ``made_room`` when it was over are the largest of so many jobs.
    """

    from_s: int
    until_s: int | None
    free_nodes: int
    enough_free_s: int
    jobs_running: int
    running: tuple[Other, ...]
    ahead: Group
    overtook: Group
    down_nodes: int
    maintenance: tuple[tuple[int, int], ...]
    jobs_ended: int
    ended_nodes: int
    made_room: tuple[Other, ...]
    repaired_nodes: int
    levers: dict[str, int]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One time on the machine. ``because`` says what ended it from outside; ``speeds`` are (second, speed, why)."""

    wait: Wait
    start_s: int
    end_s: int | None
    nodes: int
    state: str
    why: str
    units: str | None
    because: str | None
    speeds: tuple[tuple[int, float, str], ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the tables of a run say of one job. Times are seconds since ``t0_utc``; ``machine_nodes`` is all of it.

    ``held_by`` is the limit that held it back until ``eligible_s``, ``after`` the jobs that it waited for.
    ``waiting`` is the wait that it was in when the run stopped.
    """

    job_id: str
    user: str
    project: str
    queue: str
    routed_to: str | None
    nodes: int
    part: str | None
    walltime_s: int
    submit_s: int
    eligible_s: int | None
    held_by: str | None
    after: str | None
    rejected_by: str | None
    state: str
    attempts: tuple[Attempt, ...]
    waiting: Wait | None
    machine_nodes: int
    t0_utc: int
    end_of_run_s: int

    def __str__(self) -> str:
        return "\n".join(answer(self))

    def as_data(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return asdict(self)


def explain(run: Run, job_id: str) -> Explanation:
    """What the tables of ``run`` say of the job that the trace names ``job_id``.

    Of a name such as ``1234.machine`` the part before the dot is enough. Raises InputError if there is no such job.
    """
    return _Tables(run).explanation(job_id)


class _Tables:
    """The tables of a run as columns. A job is its row in ``jobs``, which is the order of submission."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.jobs = run.tables["jobs"]
        attempts = run.tables["attempts"]
        self.name = self.jobs.column("job_id")
        self.job_A = pc.index_in(attempts.column("job_id"), value_set=self.name.combine_chunks()).to_numpy()
        self.start_A = attempts.column("start_s").to_numpy()
        self.end_A = attempts.column("end_s").fill_null(_NOT_YET).to_numpy()
        self.nodes_A = attempts.column("nodes").to_numpy()
        self.attempts = attempts
        scenario = yaml.safe_load(run.scenario_yaml)
        self.taken_A = self.start_A - int(scenario.get("launch_latency") or 0)
        self.pass_interval = int(scenario.get("pass_interval") or 0)
        self.machine_nodes = int(run.manifest["machine"]["nodes"])
        timeline = run.tables["timeline"]
        self.time_T, self.busy_T = timeline.column("time_s").to_numpy(), timeline.column("busy_nodes").to_numpy()
        self.end_s = int(max(self.time_T[-1], self.end_A[self.end_A < _NOT_YET].max(initial=0)))

    # -- one job ------------------------------------------------------------------------------

    def explanation(self, wanted: str) -> Explanation:
        row = self._row_of(wanted)
        job = self.jobs.slice(row, 1).to_pylist()[0]
        mine = np.flatnonzero(self.job_A == row)
        eligible = job.get("eligible_s", job["submit_s"])
        part = None
        if job.get("cores"):
            part = f"{job['cores']} cores, {job['gpus']} GPUs and {job['memory_gib']:g} GiB of a node"
        attempts, since = [], eligible
        for at in mine.tolist():
            attempts.append(self._attempt(at, row, job, int(self.start_A[at]) if since is None else since))
            since = int(self.end_A[at])
        waiting = None
        if job["state"] == "waiting" and since is not None:
            waiting = self._wait(row, job["nodes"], since, None, len(self.job_A))
        return Explanation(
            job_id=job["job_id"],
            user=job["user"],
            project=job["project"],
            queue=job["queue"],
            routed_to=job.get("routed_to"),
            nodes=job["nodes"],
            part=part,
            walltime_s=job["walltime_s"],
            submit_s=job["submit_s"],
            eligible_s=eligible,
            held_by=job.get("held_by"),
            after=job.get("after"),
            rejected_by=job["rejected_by"],
            state=job["state"],
            attempts=tuple(attempts),
            waiting=waiting,
            machine_nodes=self.machine_nodes,
            t0_utc=int(self.run.manifest["t0_utc"]),
            end_of_run_s=self.end_s,
        )

    def _row_of(self, wanted: str) -> int:
        row: int = pc.index(self.name, wanted).as_py()
        if row >= 0:
            return row
        begins = pc.indices_nonzero(pc.starts_with(self.name, wanted + ".")).to_pylist()
        if len(begins) == 1:
            return int(begins[0])
        alike = self.name.filter(pc.starts_with(self.name, wanted[:2])).slice(0, _ALIKE).to_pylist()
        close = get_close_matches(wanted, [*alike, *self.name.slice(0, _ALIKE).to_pylist()], n=1)
        guess = f" Did you mean {close[0]!r}?" if close else f" The first is {self.name[0].as_py()!r}." if alike else ""
        raise InputError(f"no job named {wanted!r} among the {len(self.name):,} of the run.{guess}")

    def _attempt(self, at: int, row: int, job: dict[str, Any], since: int) -> Attempt:
        values = self.attempts.slice(at, 1).to_pylist()[0]
        taken = int(self.taken_A[at])
        decisions = [each for each in self._decisions if each["job_id"] == job["job_id"]]
        end = values["end_s"]
        last = self.end_s if end is None else end
        speeds = [
            (each["time_s"], each["value"], each["why"])
            for each in decisions
            if each["decision"] == "set_speed" and taken <= each["time_s"] <= last
        ]
        return Attempt(
            wait=self._wait(row, values["nodes"], min(since, taken), taken, at),
            start_s=values["start_s"],
            end_s=end,
            nodes=values["nodes"],
            state=values["state"],
            why=values["why"],
            units=values.get("units"),
            because=self._because(values, decisions),
            speeds=tuple(speeds),
        )

    def _because(self, attempt: dict[str, Any], decisions: list[dict[str, Any]]) -> str | None:
        """What ended an attempt from outside, in words."""
        state, end = attempt["state"], attempt["end_s"]
        if state in ("preempted", "killed"):
            verb = "preempt" if state == "preempted" else "kill"
            return next((e["why"] or None for e in decisions if e["decision"] == verb and e["time_s"] == end), None)
        if state != "node_failed" or "interrupts" not in self.run.tables:
            return None
        units = _units(attempt["units"])
        interrupts = self.run.tables["interrupts"]
        for each in interrupts.filter(pc.equal(interrupts.column("time_s"), end)).to_pylist():
            hit = sorted(units & _units(each["units"]))
            if hit:
                others = f" and {len(hit) - 1} more" if len(hit) > 1 else ""
                return f"{each['cause']}: unit {hit[0]}{others} out of service for {span(each['until_s'] - end)}"
        return None

    @cached_property
    def _decisions(self) -> list[dict[str, Any]]:
        table = self.run.tables.get("decisions")
        return [] if table is None else table.to_pylist()

    # -- one wait -----------------------------------------------------------------------------

    def _wait(self, row: int, nodes: int, since: int, until: int | None, before: int) -> Wait:
        """The wait of the job in a row of ``jobs``, for its attempt in row ``before`` of ``attempts``."""
        last = self.end_s if until is None else until
        started_A = np.flatnonzero((self.taken_A[:before] >= since) & (self.taken_A[:before] <= last))
        running_A = np.flatnonzero((self.taken_A < since) & (self.end_A > since))
        ended_A = np.zeros(0, np.int64)
        if until is not None and until > since:
            first = until - max(self.pass_interval - 1, 0)
            ended_A = np.flatnonzero((self.end_A >= max(first, since)) & (self.end_A <= until) & (self.taken_A < until))
        time, free = self._free(since, last)
        long_enough = np.diff(time, append=last)[free >= nodes].sum()
        down, closed, repaired = self._out_of_service(since, last)
        return Wait(
            from_s=since,
            until_s=until,
            free_nodes=int(free[0]),
            enough_free_s=int(long_enough),
            jobs_running=running_A.size,
            running=self._largest(running_A),
            ahead=self._group(started_A[self.job_A[started_A] < row]),
            overtook=self._group(started_A[self.job_A[started_A] > row]),
            down_nodes=down,
            maintenance=closed,
            jobs_ended=ended_A.size,
            ended_nodes=int(self.nodes_A[ended_A].sum()),
            made_room=self._largest(ended_A),
            repaired_nodes=repaired if until is not None else 0,
            levers=self._levers(since, last),
        )

    def _group(self, rows: Int64s) -> Group:
        end = np.minimum(self.end_A[rows], self.end_s)
        lasted = end - self.start_A[rows]
        reasons = Counter(self.attempts.column("why").take(pa.array(rows)).to_pylist())
        longest = int(lasted.argmax()) if rows.size else -1
        return Group(
            jobs=rows.size,
            node_hours=float((lasted * self.nodes_A[rows]).sum()) / 3600.0,
            reasons=dict(reasons.most_common()),
            longest=self._name_of(int(rows[longest])) if rows.size else None,
            longest_s=int(lasted[longest]) if rows.size else 0,
        )

    def _largest(self, rows: Int64s) -> tuple[Other, ...]:
        order = np.lexsort((rows, -self.nodes_A[rows]))[:_NAMED]
        chosen = self.attempts.select(["nodes", "end_s", "state"]).take(pa.array(rows[order])).to_pylist()
        return tuple(
            Other(self._name_of(int(at)), each["nodes"], each["end_s"], each["state"])
            for at, each in zip(rows[order], chosen, strict=True)
        )

    def _name_of(self, at: int) -> str:
        name: str = self.name[int(self.job_A[at])].as_py()
        return name

    def _free(self, since: int, until: int) -> tuple[Int64s, Int64s]:
        """From each of these seconds on so many nodes are free, by count; the first is ``since``."""
        steps = [(self.time_T, np.diff(self.busy_T, prepend=0))]
        if "interrupts" in self.run.tables:
            out = self.run.tables["interrupts"]
            gone, slept = (out.column(name).to_numpy() for name in ("nodes", "slept_nodes"))
            steps += [(out.column("time_s").to_numpy(), gone - slept), (out.column("until_s").to_numpy(), -gone)]
        asleep = [each for each in self._decisions if each["decision"] in ("sleep", "wake")]
        if asleep:
            sign = np.array([1 if each["decision"] == "sleep" else -1 for each in asleep])
            count = np.array([int(each["value"]) for each in asleep])
            steps.append((np.array([each["time_s"] for each in asleep]), sign * count))
        times = np.concatenate([time for time, _ in steps])
        order = np.argsort(times, kind="stable")
        taken = np.concatenate([change for _, change in steps])[order].cumsum()
        times = times[order]
        inside = np.unique(np.concatenate([[since], times[(times > since) & (times < until)]]))
        return inside, self.machine_nodes - taken[np.searchsorted(times, inside, side="right") - 1]

    def _out_of_service(self, since: int, until: int) -> tuple[int, tuple[tuple[int, int], ...], int]:
        """The most nodes that were out of service, when maintenance was, and nodes that came back at the end."""
        if "interrupts" not in self.run.tables:
            return 0, (), 0
        out = [
            each
            for each in self.run.tables["interrupts"].to_pylist()
            if each["time_s"] <= until and each["until_s"] >= since
        ]
        changes = sorted([(e["time_s"], e["nodes"]) for e in out] + [(e["until_s"], -e["nodes"]) for e in out])
        down = most = 0
        for _, change in changes:
            down += change
            most = max(most, down)
        closed = tuple((e["time_s"], e["until_s"]) for e in out if e["cause"] == "maintenance")
        return most, closed, sum(e["nodes"] for e in out if e["until_s"] == until)

    def _levers(self, since: int, until: int) -> dict[str, int]:
        decided = Counter(
            f"{each['decision']}: {each['why']}" if each["why"] else each["decision"]
            for each in self._decisions
            if since <= each["time_s"] <= until and each["decision"] in ("sleep", "wake", "set_cap", "hold")
        )
        return dict(decided.most_common())


_NOT_YET = np.iinfo(np.int64).max


def _units(spans: str) -> set[int]:
    """The numbers in text such as ``0-13,20``."""
    return set(spans_of(pa.array([spans])).each()[1].tolist())
