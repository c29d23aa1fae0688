"""One scheduling pass as a network of AIMS sees it: which jobs can be chosen, and numbers about them and the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import cos, exp, log1p, pi, sin
from typing import Final

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import Job, Room, View
from hpcsim.schedulers.scales import LONGEST_S, scaled

from .beliefs import AHEAD_S, COLUMNS, Beliefs, node_hours
from .believed import CLOCK_M, PLACE_M, Costs, out_of_turn, until_started, urgency
from .shape import MODES, OF_ALL, OF_JOB, REST, VISIBLE

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]

_HOUR_S: Final = 3600.0
_RATE_S: Final = 3 * _HOUR_S  # over which arrivals are averaged
_HALF_DAY_S: Final = 12 * _HOUR_S
_USUAL_LOAD, _MOST_LOAD = 0.8, 0.9  # to begin with, and above which a queue would hardly ever drain
_NEARLY_FULL: Final = 0.995  # a clock as good as the full one
_JOB: Final = {name: place for place, name in enumerate(OF_JOB)}
_ALL: Final = {name: place for place, name in enumerate(OF_ALL)}
_KNOWN: Final = {name: place for place, name in enumerate(COLUMNS)}


class Rhythm:
    """How the last hours were: jobs and work that were submitted, and how congested the machine was.

    All are exponential means, of what came over three hours, of congestion over half a day.

    References
    ----------
    Cobham (1954), Priority assignment in waiting line problems (the factor 1 / (1 - load)).
    """

    def __init__(self) -> None:
        self._seen, self._at = -1, 0
        self._jobs = self._work = 0.0
        self._looked = -1
        self._mean: tuple[float, ...] = (0.0, 0.0)
        self._now = (0.0, 0.0)

    def congested(self, waited: float, busy: float, usual_h: float, now: int) -> float:
        """What a second of delay of the whole machine costs, when what waits has waited so many node-hours so far.

        Work that is added delays what waits now and all that comes until the queue has drained, 1 / (1 - load) of it
        in all. A job counts by its nodes times all that it will have waited: in the mean twice what it has waited so
        far. Both are means of half a day, beginning with what is usual; ``busy`` is the load now.
        """
        if self._looked < 0:
            self._mean, self._looked = (usual_h, _USUAL_LOAD), now
        fade = exp(-(now - self._looked) / _HALF_DAY_S)
        was = self._mean, self._now
        self._mean = tuple(fade * mean + (1.0 - fade) * held for mean, held in zip(*was, strict=True))
        self._looked, self._now = now, (waited, busy)
        mean_h, load = self._mean
        return 2.0 * mean_h / (1.0 - min(load, _MOST_LOAD))

    def follow(self, queue: Sequence[Job], known_JC: Floats, now: int) -> tuple[float, float]:
        """Jobs and node-hours an hour, after a look at the queue and what is believed of its jobs."""
        fade = exp(-(now - self._at) / _RATE_S)
        self._jobs, self._work, self._at = self._jobs * fade, self._work * fade, now
        for place in range(len(queue) - 1, -1, -1):
            if queue[place].id <= self._seen:
                break
            self._jobs += 1.0
            self._work += known_JC[place, _KNOWN["nodes"]] * known_JC[place, _KNOWN["runtime_s"]] / _HOUR_S
        if queue:
            self._seen = max(self._seen, queue[-1].id)
        hours = _RATE_S / _HOUR_S
        return self._jobs / hours, self._work / hours


class Pass:
    """The jobs that can be chosen in a pass, all numbers of ``OF_JOB`` and ``OF_ALL``, and what starts cost.

    ``jobs`` are at most ``VISIBLE`` of the queue: half of them the first, half those of the least area among the rest.
    What a choice changes, ``chosen`` and ``reserved`` are told of. ``speed_JC`` are the speeds of their clocks.
    """

    def __init__(
        self, view: View, room: Room, beliefs: Beliefs, rhythm: Rhythm, weights: Floats, hourly_O: Floats,
        *, sleeps: bool, speeds: bool, places: int, runtime_power: float,
    ) -> None:  # fmt: skip
        queue = view.queue
        known = beliefs.of_runtimes(queue, view)
        beliefs.look_at_machine(view)
        area = known[:, _KNOWN["nodes"]] * known[:, _KNOWN["runtime_s"]]
        rate, work_rate = rhythm.follow(queue, known, view.now)
        seen = _visible(area)
        self.jobs: list[Job] = [queue[place] for place in seen]
        self.names = [job.name for job in self.jobs]
        self._room, self._now = room, view.now
        known_as = dict(zip(COLUMNS, np.ascontiguousarray(beliefs.of(self.jobs, view).T), strict=True))
        self._costs = Costs(known_as, view, room, beliefs, hourly_O, sleeps=sleeps, places=places)
        self.speed_JC = self._costs.speed_JC
        slowed_J = (self.speed_JC[:, -1:] < _NEARLY_FULL) & speeds
        self._modes_JM = (slowed_J | (CLOCK_M == 0)) & (places > PLACE_M)
        self._total, self._nodes = max(view.up_nodes, 1), view.nodes
        busy = 1.0 - room.free / self._total
        self._usual_h = float(hourly_O[1]) / _HOUR_S
        self._waiting_h, self._waiting_J = node_hours(known), area[seen] / _HOUR_S
        self._nodes_J = known[seen, _KNOWN["nodes"]]
        waited = (view.now - known[:, _KNOWN["submit_s"]]) / _HOUR_S
        self._congested = rhythm.congested(float(known[:, _KNOWN["nodes"]] @ waited), busy, self._usual_h, view.now)
        self._waited_J = self._nodes_J * waited[seen]
        self._waited_s_J, self._in_turn_s_J = waited[seen] * _HOUR_S, known_as["in_turn_s"]
        urgent = urgency(waited, known[:, _KNOWN["runtime_s"]] / _HOUR_S, runtime_power)
        turn = np.argsort(-urgent, kind="stable")
        self._line_3K = np.array([known[:, _KNOWN["nodes"]], area / _HOUR_S, waited])[:, turn]  # the most urgent first
        self._in_line_J, self._urgency_J = np.argsort(turn)[seen], urgent[seen]
        self._walltime_J = known[seen, _KNOWN["walltime_s"]] + view.launch_latency
        self._other_J = np.array([bool(job.cores) or job.id in room.special for job in self.jobs], bool)
        self.open_J = np.ones(len(seen), bool)
        self._longest_s, self._extra, self._shadow_s = np.inf, np.inf, 0
        self._job_JF = self._about_jobs(view, known_as, area[seen], np.array(seen), len(queue), beliefs)
        self._all_G = np.zeros(len(OF_ALL), np.float32)
        self._about_all(view, area, weights, beliefs, rate, work_rate)
        self._started = 0
        self._starting: list[tuple[float, float]] = []  # runtime and nodes of what has begun since the last numbers

    def _about_jobs(
        self, view: View, known_as: Mapping[str, Floats], area: Floats, place: npt.NDArray[np.int64], queued: int,
        beliefs: Beliefs,
    ) -> Floats32:  # fmt: skip
        table = np.zeros((len(area), len(OF_JOB)), np.float32)
        if not len(area):
            return table
        column = {name: table[:, number] for name, number in _JOB.items()}
        waited, runtime = view.now - known_as["submit_s"], known_as["runtime_s"]
        column["nodes"][:] = np.log1p(self._nodes_J) / np.log1p(view.nodes)
        column["walltime"][:] = scaled(known_as["walltime_s"])
        column["waited"][:] = scaled(waited)
        column["runtime"][:] = scaled(runtime)
        column["runtime_doubt"][:] = np.minimum(known_as["runtime_doubt"], 2.0) / 2.0
        column["runtime_epistemic"][:] = np.minimum(known_as["runtime_epistemic"], 2.0) / 2.0
        column["area"][:] = np.log1p(area / _HOUR_S) / np.log1p(view.nodes * 24.0)
        order = np.empty(len(area))
        order[np.argsort(area, kind="stable")] = np.arange(len(area))
        column["rank_by_area"][:] = order / len(area)
        column["rank_by_submission"][:] = place / max(queued, 1)
        column["energy"][:] = np.log1p(known_as["energy_kwh"]) / 10.0
        column["energy_doubt"][:] = np.minimum(known_as["energy_doubt"], 2.0) / 2.0
        column["saved_when_slow"][:] = known_as["saved_when_slow"]
        column["fails"][:], column["fails_epistemic"][:] = (
            known_as["fails"],
            np.minimum(2 * known_as["fails_epistemic"], 1.0),
        )
        column["urgency"][:] = np.log1p(self._urgency_J) / 10.0
        if beliefs.risk_U.size:
            units = self._nodes_J / view.unit_nodes
            column["node_faults"][:] = np.minimum(units * beliefs.mean_risk * runtime / AHEAD_S, 1.0)
        column["warmth"][:] = known_as["warmth_k"] / 50.0
        column["may_outlast"][:] = 1.0
        column["first"][:] = place == 0
        return table

    def _about_all(
        self, view: View, area: Floats, weights: Floats, beliefs: Beliefs, rate: float, work_rate: float
    ) -> None:
        values = self._all_G
        now, nodes = view.now, view.nodes

        def put(name: str, value: float) -> None:
            values[_ALL[name]] = value

        put("waiting", log1p(len(area)) / log1p(1000.0))
        put("candidates", len(self.jobs) / VISIBLE)
        running = list(view.running.values())
        if running:
            start, expected = np.array([(each.start, each.expected_end) for each in running], float).T
            end = np.minimum(
                np.maximum(start + beliefs.runtime_s(running), now + 60.0), np.maximum(expected, now + 60.0)
            )
            self._comes_back(end - now, np.array([each.job.nodes for each in running], float))
        else:
            self._back_s = self._back_nodes = self._back = np.zeros(0)
        machine = view.machine
        if machine is not None:
            power = view.power
            full_w = nodes * (machine.power.idle_w + machine.power.cpu_dyn_w + machine.power.gpu_dyn_w)
            put("power", power.it_w / (full_w + machine.power.fixed_w))
            put("overhead", power.overhead)
            put("hottest", -beliefs.margin_k / 50.0)
            put("asleep", view.asleep_nodes / nodes)
            put("down", view.down_nodes / nodes)
            if beliefs.risk_U.size:
                put("faults_lately", min(beliefs.mean_risk * 100.0, 1.0))
        hour, day = view.utc_s / _HOUR_S % 24 / 24, view.utc_s / 86_400.0 % 7 / 7
        put("hour_sin", sin(2 * pi * hour))
        put("hour_cos", cos(2 * pi * hour))
        put("day_sin", sin(2 * pi * day))
        put("day_cos", cos(2 * pi * day))
        put("arriving", log1p(rate) / 8.0)
        put("arriving_work", min(work_rate / nodes, 4.0) / 2.0)
        put("oldest", float(scaled(np.asarray(now - view.queue[0].submit))) if view.queue else 0.0)
        values[-3:] = weights

    def _comes_back(self, back_s: Floats, nodes: Floats) -> None:
        """Learn in how many seconds running jobs give back how many nodes."""
        order = np.argsort(back_s)
        self._back_s, self._back_nodes = back_s[order], nodes[order]
        self._back = np.cumsum(self._back_nodes)
        for share in (10, 25, 50, 75, 90):
            at = min(int(np.searchsorted(self._back, self._back[-1] * share / 100.0)), len(order) - 1)
            self._all_G[_ALL[f"back_in_{share}"]] = scaled(self._back_s[at])

    # -- what a choice changes ------------------------------------------------------------------

    def reserved(self, shadow_s: int, extra: int, longest_s: int) -> None:
        """Nodes are kept for a job that starts at ``shadow_s`` at the latest, as far as they are not ``extra``."""
        self._shadow_s, self._extra, self._longest_s = shadow_s, extra, longest_s

    def chosen(self, place: int, mode: int | None, *, taken: int = 0) -> None:
        """The job in that place cannot be chosen any more. It starts in ``mode``, or not, if that is None.

        ``taken`` are nodes that it has beyond the shadow time.
        """
        self.open_J[place] = False
        self._extra -= taken
        if mode is not None:
            self._started += 1
            self._waiting_h = max(self._waiting_h - float(self._waiting_J[place]), 0.0)
            self._line_3K[:2, self._in_line_J[place]] = 0.0
            self._starting.append((float(self._costs.runtime_JC[place, MODES[mode][0]]), float(self._nodes_J[place])))

    def left_behind(self, patience_s: float, promise: float) -> int | None:
        """The place of the job that has waited longest beyond what it may, of those that are open; None: there is none.

        It may wait ``patience_s``, or ``promise`` times as long as it was to wait when it was first seen.
        """
        beyond_J = self._waited_s_J - np.maximum(promise * self._in_turn_s_J, patience_s)
        late = np.flatnonzero(self.open_J & (beyond_J > 0))
        return int(late[beyond_J[late].argmax()]) if len(late) else None

    @property
    def is_reserving(self) -> bool:
        """Whether nodes are kept for a job."""
        return bool(np.isfinite(self._longest_s))

    @property
    def longest_s(self) -> float:
        """What a job may last without delaying the one that nodes are kept for."""
        return self._longest_s

    @property
    def extra(self) -> float:
        """Nodes that jobs may have for longer."""
        return self._extra

    def fits(self) -> npt.NDArray[np.bool_]:
        """Which jobs may start now, as far as numbers tell: J of them."""
        fits = self.open_J & ((self._nodes_J <= self._room.free) | self._other_J)
        if self.is_reserving:
            fits &= (self._walltime_J <= self._longest_s) | (self._nodes_J <= self._extra) | self._other_J
        return np.asarray(fits, bool)

    def legal(self, fits_J: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Which modes of which jobs can be chosen, ``(J, M)``.

        A job that does not fit can be chosen as well, to keep nodes for it, in the first mode, while they are kept for
        none and another fits. A job that takes part of a node, or has nodes of its own, starts where it is placed.
        """
        legal = fits_J[:, None] & self._modes_JM
        legal[self._other_J, 1:] = False
        if not self.is_reserving and fits_J.any():
            legal[:, 0] |= self.open_J
        return np.asarray(legal, bool)

    def numbers(self, fits_J: npt.NDArray[np.bool_]) -> tuple[Floats32, Floats32, Floats32, Floats32]:
        """``OF_JOB`` of each job, ``OF_ALL``, what starts and what waits are believed to cost, as of now; copies."""
        if self._starting:
            back_s, nodes = np.array(self._starting).T
            self._comes_back(np.append(self._back_s, back_s), np.append(self._back_nodes, nodes))
            self._starting.clear()
        jobs, whole, room = self._job_JF.copy(), self._all_G.copy(), self._room
        if len(jobs):
            jobs[:, _JOB["fits"]] = fits_J
            missing = self._nodes_J - room.free
            at = np.searchsorted(self._back, missing)
            never = at >= len(self._back)
            back_s = np.append(self._back_s, LONGEST_S)[np.minimum(at, len(self._back_s))]
            jobs[:, _JOB["free_in"]] = np.where(missing <= 0, 0.0, np.where(never, 1.0, scaled(back_s)))
            if self.is_reserving:
                beyond = self._walltime_J - self._longest_s
                jobs[:, _JOB["beyond_shadow"]] = np.sign(beyond) * scaled(np.abs(beyond))
                jobs[:, _JOB["may_outlast"]] = self._nodes_J <= self._extra
        whole[_ALL["queued_work"]] = log1p(self._waiting_h / self._nodes) / 5.0
        whole[_ALL["idle"]] = room.free / self._total
        whole[_ALL["started"]] = log1p(self._started) / 5.0
        if self.is_reserving:
            whole[_ALL["reserved"]] = 1.0
            whole[_ALL["shadow_in"]] = scaled(np.asarray(max(self._shadow_s - self._now, 0)))
            whole[_ALL["extra"]] = max(min(self._extra, self._total), 0) / self._total
        nodes_K, area_K, waited_K = self._line_3K
        before_h = float(self._back_s @ self._back_nodes) / _HOUR_S + np.cumsum(area_K) - area_K
        ahead_h = until_started(nodes_K, waited_K, before_h / self._total)
        ahead_O = np.array([0.0, -ahead_h / self._usual_h, 0.0], np.float32)
        rival_J = fits_J if self.is_reserving else self.open_J
        turn_J = out_of_turn(self._urgency_J, self._waited_J, self._waiting_J, rival_J, self._total) / self._usual_h
        return jobs, whole, self._costs.while_waiting(self._congested, turn_J), ahead_O


def _visible(area: Floats) -> list[int]:
    """Places in the queue of the jobs that can be chosen."""
    if len(area) <= VISIBLE:
        return list(range(len(area)))
    half = VISIBLE // 2
    rest = np.argpartition(area[half:], VISIBLE - half)[: VISIBLE - half] + half
    return [*range(half), *sorted(rest.tolist())]


def legal_rest(*, sleeps: bool, may_end: bool) -> npt.NDArray[np.bool_]:
    """Which of ``REST`` can be chosen: one where nodes cannot sleep."""
    legal = np.zeros(len(REST), bool)
    legal[: len(REST) if sleeps else 1] = may_end
    return legal
