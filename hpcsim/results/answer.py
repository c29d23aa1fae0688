"""An explanation of a job in words, as an operator would answer its user."""

from __future__ import annotations

import time
from collections.abc import Iterator
from textwrap import wrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpcsim.results.explain import Attempt, Explanation, Group, Other, Wait

_NAMED = 3  # jobs, where there are more
_ENDS = {
    "completed": "completed",
    "failed": "its program failed",
    "timeout": "met its time limit",
    "killed": "killed by the scheduler",
    "node_failed": "lost a node",
    "preempted": "stopped, to wait again",
    "running": "still running when the run stopped",
}


def answer(job: Explanation, width: int = 100) -> list[str]:
    """The lines of the answer, at most ``width`` columns wide where words allow it."""
    lines: list[str] = []
    for indent, text in _paragraphs(job):
        lines += wrap(text, width, initial_indent=indent, subsequent_indent=" " * len(indent)) if text else [""]
    return lines


def span(seconds: int) -> str:
    """A span of time in its two largest units."""
    if seconds < 60:
        return f"{seconds} s"
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3_600)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {rest // 60:02} min" if hours else f"{rest // 60} min"


def _paragraphs(job: Explanation) -> Iterator[tuple[str, str]]:
    """Indents and texts."""
    yield "", _headline(job)
    owner = ", ".join(f"{what} {who}" for what, who in (("user", job.user), ("project", job.project)) if who)
    queue = f"queue {job.queue}" if job.queue else ""
    if job.routed_to:
        queue = f"queue {job.routed_to}" + (f" (asked for {job.queue})" if job.queue else "")
    asked = f"It asked for {_needs(job)} for at most {span(job.walltime_s)}"
    yield "", "; ".join(filter(None, (asked, owner, queue))) + "."
    yield "", ""
    for second, what in _events(job):
        yield f"  {_moment(job, second)}  ", what
    yield from _waits(job)
    if job.waiting is not None:
        yield "", ""
        yield "", f"The wait for nodes, not over yet: {span(job.end_of_run_s - job.waiting.from_s)}"
        yield from _told(job, job.waiting, None)


def _waits(job: Explanation) -> Iterator[tuple[str, str]]:
    """The waits that are over: the first, and the longest of those that came after attempts."""
    over = [(_length(attempt.wait), number, attempt) for number, attempt in enumerate(job.attempts, 1)]
    again = [each for each in over[1:] if each[0]]
    told = over[:1] + ([max(again, key=lambda each: each[0])] if again else [])
    for waited, number, attempt in told:
        if waited:
            yield "", ""
            which = "" if number == 1 else f", the {_ordinal(number)} time"
            yield "", f"The wait for nodes{which}: {span(waited)}"
            yield from _told(job, attempt.wait, attempt)
    if len(again) > 1:
        yield "", ""
        others = [waited for waited, *_ in again if waited != told[-1][0]]
        if others:
            yield "", f"{_counted(len(others), 'more wait')}, at most {span(max(others))}."


def _length(wait: Wait) -> int:
    return 0 if wait.until_s is None else wait.until_s - wait.from_s


def _headline(job: Explanation) -> str:
    if job.rejected_by is not None:
        return f"{job.job_id} was rejected: {job.rejected_by}."
    if not job.attempts:
        waited = job.end_of_run_s - job.submit_s
        what = "for nodes" if job.waiting is not None else _held(job)
        return f"{job.job_id} had been waiting for {span(waited)} when the run stopped, {what}."
    first = job.attempts[0]
    waited = first.start_s - job.submit_s
    if waited <= 0:
        said = f"{job.job_id} started as soon as it was submitted."
    else:
        rules = (job.eligible_s or job.submit_s) - job.submit_s
        parts = [f"{span(rules)} {_held(job)}"] if rules else []
        if waited > rules:
            parts.append(f"{span(waited - rules)} for nodes")
        total = f"{span(waited)}: " if len(parts) > 1 else ""
        said = f"{job.job_id} waited {total}{', then '.join(parts)}."
    if len(job.attempts) > 1:
        said += f" It was put on the machine {len(job.attempts)} times."
    return said


def _held(job: Explanation) -> str:
    reasons = ["for a limit of its queue"] if job.held_by else []
    if job.after:
        reasons.append("for jobs that it follows")
    return " and ".join(reasons) or "before the run began"


def _events(job: Explanation) -> Iterator[tuple[int, str]]:
    held = f"; held back by the limit {job.held_by}" if job.held_by else ""
    after = f"; to run after {job.after}" if job.after else ""
    yield job.submit_s, f"submitted{held}{after}"
    if job.eligible_s is not None and job.eligible_s > job.submit_s:
        yield job.eligible_s, "may start from now on, given nodes"
    for attempt in job.attempts:
        where = f" on {_shortened(attempt.units)}" if attempt.units else ""
        yield attempt.start_s, f"started{where}: {attempt.why or 'the scheduler gave no reason'}"
        for second, speed, why in attempt.speeds:
            yield second, f"clock set to {speed:g}" + (f": {why}" if why else "")
        if attempt.end_s is not None:
            because = f": {attempt.because}" if attempt.because else ""
            ran = span(attempt.end_s - attempt.start_s)
            yield attempt.end_s, f"{_ENDS[attempt.state]}{because} (ran {ran})"
    if job.state in ("running", "waiting"):
        yield job.end_of_run_s, f"still {job.state} when the run stopped"


def _told(job: Explanation, wait: Wait, attempt: Attempt | None) -> Iterator[tuple[str, str]]:
    """What is known of a wait, in one point for each fact."""
    share = f"{wait.free_nodes:,} of {job.machine_nodes:,} nodes were free when it began, and it needed {_needs(job)}."
    if wait.jobs_running:
        jobs = _counted(wait.jobs_running, "job")
        share += f" {jobs} ran; the largest: {_list(job, wait.running, wait.jobs_running, until=True)}."
    yield "  - ", share
    if wait.down_nodes:
        were = "was" if wait.down_nodes == 1 else "were"
        yield "  - ", f"Up to {_counted(wait.down_nodes, 'node')} {were} out of service."
    for begins, ends in wait.maintenance:
        yield (
            "  - ",
            f"Maintenance from {_moment(job, begins)} to {_moment(job, ends)}: what could not end before it had to "
            "wait until after it.",
        )
    if wait.enough_free_s:
        yield (
            "  - ",
            f"By their number enough nodes were free for {span(wait.enough_free_s)} of it, but not for this job: kept "
            "for jobs ahead of it, exclusive to other queues, or not together in one place.",
        )
    if wait.ahead.jobs:
        yield "  - ", f"{_counted(wait.ahead.jobs, 'job')} submitted earlier started before it ({_hours(wait.ahead)})."
    if wait.overtook.jobs:
        group = wait.overtook
        yield (
            "  - ",
            f"{_counted(group.jobs, 'job')} submitted later overtook it ({_hours(group)}; {group.longest} ran "
            f"longest, {span(group.longest_s)}):",
        )
        for why, count in group.reasons.items():
            yield f"    {count:>6,}  ", why or "no reason given"
    for what, count in wait.levers.items():
        yield "  - ", f"Meanwhile the scheduler decided {_counted(count, 'time')} {what}."
    if attempt is not None:
        yield "  - ", _room(job, wait)


def _room(job: Explanation, wait: Wait) -> str:
    """What ended a wait."""
    made = []
    if wait.jobs_ended:
        freed = _counted(wait.ended_nodes, "node")
        made.append(f"{freed} became free: {_list(job, wait.made_room, wait.jobs_ended, until=False)}")
    if wait.repaired_nodes:
        made.append(f"{_counted(wait.repaired_nodes, 'node')} came back into service")
    if not made:
        return "No job ended in the second in which it was started."
    return f"In the second in which it was started {', and '.join(made)}."


def _list(job: Explanation, others: tuple[Other, ...], count: int, *, until: bool) -> str:
    """Some jobs by name, each with its nodes and when or how it ended, and how many more there are."""
    texts = []
    for other in others[:_NAMED]:
        how = other.state
        if until:
            how = "to the end" if other.end_s is None else f"until {_moment(job, other.end_s, '%Y-%m-%d %H:%M')}"
        texts.append(f"{other.job_id} ({_counted(other.nodes, 'node')}, {how})")
    if count > len(texts):
        texts.append(f"{count - len(texts):,} more")
    return ", ".join(texts[:-1]) + (" and " if len(texts) > 1 else "") + texts[-1]


def _needs(job: Explanation) -> str:
    return job.part or _counted(job.nodes, "node")


def _hours(group: Group) -> str:
    return f"{group.node_hours:,.1f} node-hours"


def _counted(count: int, thing: str) -> str:
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")


def _shortened(units: str) -> str:
    parts = units.split(",")
    what = "units " if len(parts) > 1 or "-" in units else "unit "
    return what + (units if len(parts) <= 4 else f"{', '.join(parts[:3])} and {len(parts) - 3} more runs of them")


def _moment(job: Explanation, second: int, shape: str = "%Y-%m-%d %H:%M:%S") -> str:
    """A second of the run: as a date in UTC, or as it is where the trace has no dates."""
    if not job.t0_utc:
        return f"{second:,} s"
    return time.strftime(shape, time.gmtime(job.t0_utc + second))
