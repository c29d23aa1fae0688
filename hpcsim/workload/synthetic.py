"""Synthetic workloads that look like a real machine's: sessions of users who repeat themselves.

Jobs come in sessions; a session belongs to a user, a user has applications (a node count), an
application has inputs (a walltime, and a typical share of it that is used). What an application or input
looks like is found by rank: jobs are ordered by the hidden taste of their application or input, and the
job at rank r of n gets the quantile (r + U) / n of the profile's table. So the tables hold in every single
month, not only in the mean of many, and yet the jobs of one user look alike.

As long as much submitted work is unfinished, sessions with little work go ahead of those with much. This is a
device to meet the daily variation of work and the waits of the real traces, in which busy days are not the heavy
ones; why that is so is not known (docs/calibration.md).

Times are local at UTC-6 (Chicago's standard time, all year); second 0 is a Monday's midnight there. The
profiles ``cooley`` and ``aurora`` rest on a few published quantiles only; their YAML files say which.

References: Zakay and Feitelson (2013), On identifying user session boundaries in parallel workload logs;
Lublin and Feitelson (2003), The workload on parallel supercomputers: modeling the characteristics of
rigid jobs.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hpcsim.errors import InputError
from hpcsim.streams import stream
from hpcsim.workload import toy
from hpcsim.workload.job import COMPLETED, FAILED, TIMEOUT, Workload, workload_from_columns
from hpcsim.workload.profile import Bools, Floats, Int64s, Profile, load_profile, profile_names

__all__ = ["known_names", "mean_jobs_per_day", "profile_names", "synthesise"]

T0_UTC = 1_704_088_800  # Monday 2024-01-01 00:00 at UTC-6
DAY_S = 86_400
HOUR_S = 3_600
EARLY_RATIO = 0.02  # a program that ends below this share of its walltime failed at its start


def synthesise(profile: str, *, seed: int, jobs: int | None = None, days: float | None = None) -> Workload:
    """A workload of exactly ``jobs`` jobs, or of ``days`` days (30 unless told), after ``profile``.

    Days have as many jobs as the profile's mean says, so months differ in their shape and not in their size.
    """
    per_day = mean_jobs_per_day(profile)
    if jobs is not None and days is not None:
        raise InputError("a synthetic workload takes jobs or days, not both")
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs: found {jobs}, but a synthetic workload needs at least 1 job")
    span_days = (30.0 if days is None else days) if jobs is None else jobs / per_day
    if not 0 < span_days < 36_525:
        raise InputError(f"days: found {span_days:g}, but a synthetic workload lasts more than 0 days, 36,524 at most")
    if jobs is None:
        jobs = max(1, round(per_day * span_days))
    if profile == toy.NAME:
        return toy.toy_workload(seed=seed, jobs=jobs)
    facts = load_profile(profile)
    hours = _hour_weights(facts, seed, span_days)
    return _workload(facts, seed, jobs, hours, round(span_days * DAY_S))


def known_names() -> list[str]:
    """All that jobs can be drawn from: the profiles of machines, and the toy cluster."""
    return [*profile_names(), toy.NAME]


def mean_jobs_per_day(profile: str) -> float:
    """How many jobs are submitted in a day, on average."""
    return toy.JOBS_PER_DAY if profile == toy.NAME else load_profile(profile).jobs_per_day


def _workload(facts: Profile, seed: int, jobs: int, hours: Floats, span_s: int) -> Workload:
    sessions = _sessions(facts, seed, jobs)
    habits = _habits(facts, seed, sessions)
    size, nodes = _nodes(facts, seed, habits)
    walltime_s = _walltimes(facts, seed, habits, size)
    runtime_s, early = _runtimes(facts, seed, habits, size, walltime_s)
    fails = stream(seed, "synthetic: failure").random(jobs) < np.where(early, *facts.failed)
    outcome = np.where(fails, FAILED, COMPLETED)
    outcome[runtime_s >= walltime_s] = TIMEOUT
    queue = _queues(facts, seed, habits, nodes, walltime_s)

    node_s = nodes * np.minimum(runtime_s, walltime_s)
    work_s = np.bincount(sessions.number, node_s / facts.machine_nodes).astype(np.float64)
    submit_s = _submissions(facts, seed, sessions, work_s, hours, span_s)
    order = np.argsort(submit_s, kind="stable")
    user = sessions.user[sessions.number[order]]
    users = len(facts.user_shares)
    project = np.floor(facts.projects * stream(seed, "synthetic: project").random(users) ** 1.5)
    return workload_from_columns(
        t0_utc=T0_UTC,
        source=f"synthetic {facts.name}, seed {seed}",
        name=[f"{number}.{facts.machine}" for number in range(1, jobs + 1)],
        submit_s=submit_s[order],
        nodes=nodes[order],
        walltime_s=walltime_s[order],
        runtime_s=runtime_s[order],
        user=_texts(user, _numbered("user", users)),
        project=_texts(project.astype(np.int64)[user], _numbered("project", facts.projects)),
        queue=_texts(queue[order], [one.name for one in facts.queues]),
        outcome=outcome[order],
        machine_nodes=facts.machine_nodes,
    )


@dataclass(frozen=True, slots=True)
class _Sessions:
    """S sessions in the order in which users mean to begin them: jobs and user; ``number`` is that of J jobs."""

    jobs: Int64s
    user: Int64s
    number: Int64s


@dataclass(frozen=True, slots=True)
class _Habits:
    """J jobs, session by session: whose application and input each is (numbers from 0)."""

    user: Int64s
    application: Int64s
    input: Int64s


def _hour_weights(facts: Profile, seed: int, span_days: float) -> Floats:
    """Relative job counts of each hour of the span, the last day's only as far as the span goes."""
    rng = stream(seed, "synthetic: days")
    days = int(np.ceil(span_days))
    busy = np.interp(_strata(days, rng), *facts.day_quantiles)
    busy *= facts.weekday_weights[np.arange(days) % 7]
    cycle = facts.hour_weights * np.exp(facts.hour_sd * rng.standard_normal((days, 24)))
    hours = (busy[:, None] * cycle * (24 / cycle.sum(axis=1, keepdims=True))).ravel()
    hours *= np.clip(span_days * 24 - np.arange(days * 24), 0, 1)
    open_hours: Floats = hours * ~_silent(facts, rng, days * 24)
    # a span of some hours may lie within a maintenance
    return open_hours if open_hours.any() else hours


def _silent(facts: Profile, rng: np.random.Generator, hours: int) -> Bools:
    """The hours in which nobody can submit: maintenance every other Monday, and outages at random."""
    silence = facts.silence
    starts = np.arange(0, hours, 14 * 24) + silence.maintenance_hour
    silent = np.zeros(hours + 1, np.int64)
    np.add.at(silent, np.minimum(starts, hours), 1)
    np.add.at(silent, np.minimum(starts + silence.maintenance_hours, hours), -1)
    if silence.outage_every_days:
        outages = rng.integers(0, hours, int(hours / 24 / silence.outage_every_days + rng.random()))
        np.add.at(silent, outages, 1)
        np.add.at(silent, np.minimum(outages + silence.outage_hours, hours), -1)
    in_silence: Bools = np.cumsum(silent[:-1]) > 0
    return in_silence


def _sessions(facts: Profile, seed: int, jobs: int) -> _Sessions:
    """Sessions of together exactly ``jobs`` jobs, shared out among the users by their jobs."""
    rng = stream(seed, "synthetic: sessions")
    sizes = _session_sizes(facts, rng, jobs)
    user = np.searchsorted(facts.user_shares, _midpoints(sizes, rng), side="right")
    user = np.minimum(user, len(facts.user_shares) - 1)
    return _Sessions(sizes, user, np.repeat(np.arange(len(sizes)), sizes))


def _session_sizes(facts: Profile, rng: np.random.Generator, jobs: int) -> Int64s:
    """Jobs of each session, together exactly ``jobs``."""
    at, values = facts.session_quantiles
    mean = float(np.floor(_log_interp((np.arange(4096) + 0.5) / 4096, (at, values))).mean())
    count = int(np.ceil(jobs / mean)) + 1
    u = _strata(count, rng)
    sizes = np.maximum(np.floor(_log_interp(u, (at, values))), 1).astype(np.int64)
    total = np.cumsum(sizes)
    if total[-1] < jobs:
        sizes = np.append(sizes, jobs - total[-1])
    else:
        sizes = sizes[: np.searchsorted(total, jobs) + 1]
        sizes[-1] -= sizes.sum() - jobs
    return sizes


def _submissions(facts: Profile, seed: int, sessions: _Sessions, work_s: Floats, hours: Floats, span_s: int) -> Int64s:
    """Submit time (s) of each job: sessions spread over days by number, the gaps inside from a table."""
    rng = stream(seed, "synthetic: submissions")
    sizes, count = sessions.jobs, len(sessions.jobs)
    by_day = hours.reshape(-1, 24).sum(axis=1).cumsum()
    # by number, not by jobs: a bulk submission comes on top of the other traffic, not instead of it
    day = np.searchsorted(by_day, _strata(count, rng) * by_day[-1], side="right")
    day = np.minimum(day, len(by_day) - 1)
    cdf = np.concatenate([[0.0], hours.cumsum()])
    first, last = cdf[day * 24], cdf[day * 24 + 24]
    hour = first + _strata(count, rng) * (last - first)
    start_s = np.sort(np.interp(hour, cdf, np.arange(len(cdf)) * HOUR_S))
    start_s = start_s[_turns(facts, work_s, start_s)]

    head = np.cumsum(sizes) - sizes
    gap_s = np.zeros(len(sessions.number))
    inner = np.setdiff1d(np.arange(len(gap_s)), head, assume_unique=True)
    # a script submits many jobs in a row, a person few: the larger a session, the shorter its gaps
    pace = rng.standard_normal(count) - np.log(sizes)
    score = pace[sessions.number[inner]] + rng.standard_normal(len(inner))
    gap_s[inner] = _log_interp(_ranks(np.zeros(len(inner), np.int64), score, rng), facts.gap_quantiles)
    elapsed_s = np.cumsum(np.floor(gap_s))
    elapsed_s -= elapsed_s[head][sessions.number]
    length_s = elapsed_s[head + sizes - 1]
    # the hour drawn is that of the session's middle: from its start on, long sessions would delay the cycle
    start_s = np.maximum(np.minimum(start_s - length_s / 2, span_s - 1 - length_s), 0)
    submit_s: Int64s = np.minimum(start_s[sessions.number] + elapsed_s, span_s - 1).astype(np.int64)
    return submit_s


def _turns(facts: Profile, work_s: Floats, start_s: Floats) -> Int64s:
    """Which of the ascending times each session takes, from its work in seconds of the whole machine.

    Of so many sessions at hand, the one with the least work begins while the backlog is above the profile's
    patience, otherwise the one with the most.
    """
    at_hand, patience_s = facts.patience.sessions, facts.patience.backlog_h * HOUR_S
    turns = np.empty(len(work_s), np.int64)
    works = work_s.tolist()
    waiting = sorted((work, session) for session, work in enumerate(works[: at_hand - 1]))
    backlog_s = before_s = 0.0
    for turn, now_s in enumerate(start_s.tolist()):
        backlog_s = max(backlog_s - (now_s - before_s), 0.0)
        before_s = now_s
        coming = turn + at_hand - 1
        if coming < len(works):
            insort(waiting, (works[coming], coming))
        work, session = waiting.pop(0 if backlog_s > patience_s else -1)
        turns[session] = turn
        backlog_s += work
    return turns


def _strata(count: int, rng: np.random.Generator) -> Floats:
    """One draw from each of ``count`` equal parts of 0 to 1, in random order."""
    drawn: Floats = (rng.permutation(count) + rng.random(count)) / count
    return drawn


def _midpoints(sizes: Int64s, rng: np.random.Generator) -> Floats:
    """Where each session's middle job lies (0 to 1) when the sessions are laid end to end in random order."""
    order = rng.permutation(len(sizes))
    laid = sizes[order]
    middle = np.empty(len(sizes))
    middle[order] = (np.cumsum(laid) - laid / 2) / laid.sum()
    return middle


def _habits(facts: Profile, seed: int, sessions: _Sessions) -> _Habits:
    """The application and input of each job: a user's chain that now and then leaves the last one."""
    rng = stream(seed, "synthetic: habits")
    habits = facts.habits
    user_of_job = sessions.user[sessions.number]
    order = np.argsort(user_of_job, kind="stable")
    user, session = user_of_job[order], sessions.number[order]
    new_user = np.append(True, user[1:] != user[:-1])
    fresh = np.append(True, session[1:] != session[:-1])

    leaves = rng.random(len(user)) < np.where(fresh, *habits.leave_application[::-1])
    stays = np.cumsum(new_user | leaves) - 1  # the number of the stay with one application
    of_user = user[new_user | leaves]
    known = np.ceil(np.bincount(of_user, minlength=len(facts.user_shares)) ** habits.applications)
    choice = np.floor(known[of_user] * rng.random(len(of_user)) ** 2)
    application = ((np.cumsum(known) - known)[of_user] + choice).astype(np.int64)[stays]

    leaves = rng.random(len(user)) < np.where(fresh, *habits.leave_input[::-1])
    starts = np.append(True, application[1:] != application[:-1]) | leaves
    choice = np.floor(habits.inputs * rng.random(int(starts.sum())) ** 2).astype(np.int64)
    inputs = application * habits.inputs + choice[np.cumsum(starts) - 1]

    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return _Habits(user_of_job, application[back], inputs[back])


def _nodes(facts: Profile, seed: int, habits: _Habits) -> tuple[Int64s, Int64s]:
    """Size class and node count of each job, by the rank of its application's taste."""
    rng = stream(seed, "synthetic: nodes")
    taste = _taste(rng, facts.habits.user_nodes, habits.user, habits.application)
    u = _ranks(np.zeros(len(taste), np.int64), taste, rng)
    nodes = facts.nodes.at(u)
    return facts.size_of_value[np.searchsorted(facts.nodes.values, nodes)], nodes


def _walltimes(facts: Profile, seed: int, habits: _Habits, size: Int64s) -> Int64s:
    """Walltime (s) of each job, by the rank of its input's taste among the jobs of its size class."""
    rng = stream(seed, "synthetic: walltime")
    u = _ranks(size, _taste(rng, facts.habits.user_walltime, habits.user, habits.input), rng)
    walltime_s = np.empty(len(size), np.int64)
    for number, size_class in enumerate(facts.sizes):
        here = np.flatnonzero(size == number)
        walltime_s[here] = size_class.walltimes.at(u[here])
    return walltime_s


def _runtimes(facts: Profile, seed: int, habits: _Habits, size: Int64s, walltime_s: Int64s) -> tuple[Int64s, Bools]:
    """Runtime (s) of each job, by the rank of its input's pace; and whether it ended early."""
    rng = stream(seed, "synthetic: runtime")
    pace = _taste(rng, 0.5, habits.application, habits.input)
    steady = facts.habits.steadiness
    pace = np.sqrt(steady) * pace + np.sqrt(1 - steady) * rng.standard_normal(len(pace))
    bands = [band for size_class in facts.sizes for band in size_class.bands]
    cell = np.empty(len(size), np.int64)
    first = 0
    for number, size_class in enumerate(facts.sizes):
        here = np.flatnonzero(size == number)
        cell[here] = first + np.searchsorted([band.up_to_s for band in size_class.bands], walltime_s[here])
        first += len(size_class.bands)

    u = _ranks(cell, pace, rng)
    ratio = np.empty(len(size))
    for number, band in enumerate(bands):
        here = np.flatnonzero(cell == number)
        below = 1 - band.at_limit
        over = np.interp((u[here] - below) / max(band.at_limit, 1e-9), *facts.limit_quantiles)
        ratio[here] = np.where(u[here] < below, np.exp(np.interp(u[here] / max(below, 1e-9), *band.log_ratio)), over)
    return np.maximum(np.rint(ratio * walltime_s), 1).astype(np.int64), ratio < EARLY_RATIO


def _queues(facts: Profile, seed: int, habits: _Habits, nodes: Int64s, walltime_s: Int64s) -> Int64s:
    """The queue (its number) of each job among those whose limits it keeps; an application keeps to its queue."""
    weights = np.zeros((len(facts.queues), len(nodes)))
    for row, queue in zip(weights, facts.queues, strict=True):
        fits = (nodes >= queue.nodes[0]) & (nodes <= queue.nodes[1])
        fits &= (walltime_s >= queue.walltime_s[0]) & (walltime_s <= queue.walltime_s[1])
        row[fits] = queue.weight
    cumulated = np.cumsum(weights, axis=0)
    rng = stream(seed, "synthetic: queue")
    u = rng.random(int(habits.application.max()) + 1)[habits.application]
    chosen: Int64s = (cumulated <= u * cumulated[-1]).sum(axis=0)
    return chosen


def _taste(rng: np.random.Generator, of_user: float, user: Int64s, thing: Int64s) -> Floats:
    """A normal score for each job that jobs of one thing share and jobs of one user resemble."""
    users = rng.standard_normal(int(user.max()) + 1)
    things = rng.standard_normal(int(thing.max()) + 1)
    score: Floats = np.sqrt(of_user) * users[user] + np.sqrt(1 - of_user) * things[thing]
    return score


def _ranks(cell: Int64s, score: Floats, rng: np.random.Generator) -> Floats:
    """The place (0 to 1) of each job among the jobs of its cell, by score; equal scores by time."""
    order = np.lexsort((score, cell))
    counts = np.bincount(cell)
    rank = np.arange(len(cell)) - np.repeat(np.cumsum(counts) - counts, counts)
    u = np.empty(len(cell))
    u[order] = (rank + rng.random(len(cell))) / np.repeat(counts, counts)
    return u


def _log_interp(u: Floats, quantiles: tuple[Floats, Floats]) -> Floats:
    """Quantiles of a table, interpolated in the logarithm of 1 + value."""
    at, values = quantiles
    found: Floats = np.expm1(np.interp(u, at, np.log1p(values)))
    return found


def _texts(codes: Int64s, names: list[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(names))


def _numbered(kind: str, count: int) -> list[str]:
    return [f"{kind}{number:04d}" for number in range(1, count + 1)]
