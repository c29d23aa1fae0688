"""The jobs of a window as a problem: in which order they get their places, at which speed, and what comes of it.

A genome is an order of the J jobs of the window, J places, and for each job (and for the head of the queue, if that
starts now) the number of its speed. All P individuals of a population are decoded at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product
from math import factorial

import numpy as np
import numpy.typing as npt

from .evolution import Genomes, inversion, order_crossover
from .pareto import Floats, Ints

CROSSOVER = 0.9  # how many children are made of two parents
MUTATION = 0.2  # how many children have a stretch of their order turned around; of clones all
SHORT_S = 10  # slowdowns are those of jobs that run at least so long
NEVER = 2**31 - 1  # after all seconds of a plan
FAR_S = 2**29  # when nodes come back that are not expected at all
_ALL_SPANS_S = 2**30  # the seconds of all jobs of a window together, at most


def list_schedule(times_S: Ints, free_S: Ints, nodes_WP: Ints, span_WP: Ints) -> npt.NDArray[np.int32]:
    """When each of W jobs, placed one after the other into a profile, can start; of P individuals at once.

    The profile has S steps: from ``times_S`` on ``free_S`` nodes are free. Job w of individual p takes ``nodes_WP``
    nodes for ``span_WP`` seconds from the first second at which so many stay free, also before jobs that were placed
    earlier. Every job has to fit into the last step. All is int32, and no sum of seconds may exceed it.
    """
    jobs, count = nodes_WP.shape
    steps = len(times_S)
    times, free, new_times, new_free, until, spare = (np.empty((steps + jobs, count), np.int32) for _ in range(6))
    mask = np.empty((steps + jobs, count), bool)
    times[:steps], free[:steps] = times_S[:, None], free_S[:, None]
    start_WP = np.empty((jobs, count), np.int32)
    each = np.arange(count)
    for job, (nodes_P, span_P) in enumerate(zip(nodes_WP.astype(np.int32), span_WP.astype(np.int32), strict=True)):
        size = steps + job
        now_SP, free_SP, mask_SP = times[:size], free[:size], mask[:size]
        until_SP, spare_SP = until[:size], spare[:size]  # until when enough nodes stay free from the step on
        until_SP.fill(NEVER)
        np.copyto(until_SP, now_SP, where=np.less(free_SP, nodes_P, out=mask_SP))
        ahead = 1
        while ahead < size:  # the least of twice as many steps ahead each time: much faster than np.minimum.accumulate
            np.minimum(until_SP[:-ahead], until_SP[ahead:], out=spare_SP[:-ahead])
            spare_SP[-ahead:] = until_SP[-ahead:]
            until_SP, spare_SP = spare_SP, until_SP
            ahead *= 2
        np.subtract(until_SP, now_SP, out=until_SP)
        first_P = np.greater_equal(until_SP, span_P, out=mask_SP).argmax(axis=0)
        start_WP[job] = start_P = now_SP[first_P, each]
        end_P = start_P + span_P
        # A step is put in that begins with the end of the job, with what was free before it: later ones move by one.
        np.less(now_SP, end_P, out=mask_SP)
        np.minimum(now_SP, end_P, out=new_times[:size])
        new_times[size] = end_P
        np.maximum(new_times[1 : size + 1], now_SP, out=new_times[1 : size + 1])
        new_free[1 : size + 1] = free_SP
        np.copyto(new_free[:size], free_SP, where=mask_SP)
        np.subtract(free_SP, nodes_P, out=spare_SP)
        mask_SP &= now_SP >= start_P
        np.copyto(new_free[:size], spare_SP, where=mask_SP)
        # Where a step began at that second already, the new one has no length, and must not look scarcer than it is.
        empty_SP = new_times[:size] == new_times[1 : size + 1]
        np.maximum(new_free[:size], new_free[1 : size + 1], out=new_free[:size], where=empty_SP)
        times, free, new_times, new_free = new_times, new_free, times, free
    return np.asarray(start_WP, np.int64)


@dataclass(frozen=True, slots=True)
class Beliefs:
    """What is believed of J jobs at L speeds, and of the machine: all that the objectives are made of.

    ``waited_J`` are the seconds since each was submitted until it would run if it started now, ``runtime_J`` those that
    it runs at full speed, ``runtime_JL`` at each speed. ``active_JL`` are the joules that its nodes draw while it runs,
    ``loss_JL`` the node-seconds that failures are expected to cost it. An idle node draws ``idle_w`` watts; where no
    power is known ``idle_w`` is 1 and ``active_JL`` 0, and energy is idle node-seconds.
    """

    nodes_J: Ints
    waited_J: Ints
    runtime_J: Floats
    runtime_JL: Floats
    active_JL: Floats
    loss_JL: Floats
    idle_w: float


class Window:
    """J jobs that get their places in a profile one after the other; ``span_JL`` is how long each keeps its nodes.

    The last ``fixed`` of the jobs in ``beliefs`` start now whatever the order; only their speeds are free.
    """

    def __init__(
        self, times_S: Ints, free_S: Ints, span_JL: Ints, latency_s: int, beliefs: Beliefs, fixed: int = 0
    ) -> None:
        self._times_S = np.minimum(times_S - times_S[0], FAR_S)
        self._free_S = free_S
        self._span_JL = np.minimum(span_JL, _ALL_SPANS_S // len(span_JL))
        self._latency_s = latency_s
        self._beliefs = beliefs
        self._fixed = fixed
        self.jobs = len(beliefs.nodes_J) - fixed
        self.levels = int(span_JL.shape[1])
        self._has_speeds = self.levels > 1
        self._genes = self.jobs + fixed if self._has_speeds else 0  # of speed
        self._idle_S = np.concatenate([[0], np.cumsum(free_S[:-1] * np.diff(self._times_S))]).astype(np.float64)

    @property
    def size(self) -> int:
        """How many genomes there are."""
        return factorial(self.jobs) * int(self.levels**self._genes)

    def every_genome(self) -> Genomes:
        """All of them."""
        orders = np.array([*permutations(range(self.jobs))], np.int64).reshape(factorial(self.jobs), self.jobs)
        speeds = np.array([*product(range(self.levels), repeat=self._genes)], np.int64)
        speeds = speeds.reshape(self.levels**self._genes, self._genes)
        return np.hstack([np.repeat(orders, len(speeds), axis=0), np.tile(speeds, (len(orders), 1))])

    def genome(self, order: list[int], levels: list[int]) -> Ints:
        """The genome of an order of the J jobs and of the speed of each, that of fixed ones last."""
        return np.array([*order, *levels] if self._has_speeds else order, np.int64)

    def some_genomes(self, count: int, rng: np.random.Generator) -> Genomes:
        """So many random ones."""
        orders = rng.permuted(np.tile(np.arange(self.jobs), (count, 1)), axis=1)
        if not self._has_speeds:
            return orders
        return np.hstack([orders, rng.integers(self.levels, size=(count, self._genes))])

    def order_of(self, genome: Ints) -> list[int]:
        """The order of the J jobs."""
        return [int(job) for job in genome[: self.jobs]]

    def levels_of(self, genome: Ints) -> list[int]:
        """The speed of each job, those of fixed ones last."""
        if not self._has_speeds:
            return [0] * (self.jobs + self._fixed)
        return [int(level) for level in genome[self.jobs :]]

    def starts(self, genomes_PG: Genomes) -> Ints:
        """When each of J jobs starts in each of P plans, seconds from now."""
        order_JP = genomes_PG[:, : self.jobs].T
        levels_JP = self._levels(genomes_PG)
        each = np.arange(len(genomes_PG))
        span_JP = self._span_JL[order_JP, levels_JP[order_JP, each]]
        start_JP = np.empty_like(order_JP)
        start_JP[order_JP, each] = list_schedule(self._times_S, self._free_S, self._beliefs.nodes_J[order_JP], span_JP)
        return start_JP

    def evaluate(self, genomes_PG: Genomes) -> Floats:
        """Mean bounded slowdown, energy, and (where jobs can have several speeds) expected loss of each of P plans.

        The energy is that of the jobs, and of all nodes that are idle until the last of them has ended. What failures
        are expected to cost is the same in every order, and no objective where speeds are not chosen.
        """
        beliefs, count = self._beliefs, len(genomes_PG)
        jobs = np.arange(self.jobs + self._fixed)[:, None]
        levels_JP = self._levels(genomes_PG)
        start_JP = np.zeros((self.jobs + self._fixed, count), np.int64)
        start_JP[: self.jobs] = self.starts(genomes_PG)
        runtime_JP = beliefs.runtime_JL[jobs, levels_JP]
        slowdown_JP = (beliefs.waited_J[:, None] + start_JP + runtime_JP) / np.maximum(
            beliefs.runtime_J[:, None], SHORT_S
        )
        end_P = (start_JP + self._latency_s + runtime_JP).max(axis=0)
        at_P = self._times_S.searchsorted(end_P, side="right") - 1
        idle_P = self._idle_S[at_P] + self._free_S[at_P] * (end_P - self._times_S[at_P])
        idle_P -= beliefs.nodes_J[: self.jobs] @ runtime_JP[: self.jobs]
        energy_P = beliefs.idle_w * idle_P + beliefs.active_JL[jobs, levels_JP].sum(axis=0)
        values = [np.maximum(slowdown_JP, 1.0).mean(axis=0), energy_P]
        if self._has_speeds:
            values.append(beliefs.loss_JL[jobs, levels_JP].sum(axis=0))
        return np.column_stack(values)

    def vary(self, parents_PG: Genomes, mates_PG: Genomes, rng: np.random.Generator) -> Genomes:
        """Children of P parents and their mates: orders crossed and turned around, speeds mixed and changed."""
        count, jobs = len(parents_PG), self.jobs
        mixed_P = rng.random(count)[:, None] < CROSSOVER
        turned_P = rng.random(count)[:, None] < MUTATION
        orders = parents_PG[:, :jobs]
        if jobs > 1:
            crossed = np.where(mixed_P, order_crossover(orders, mates_PG[:, :jobs], rng), orders)
            turned_P |= (crossed == orders).all(axis=1, keepdims=True)  # a clone would teach nothing
            orders = np.where(turned_P, inversion(crossed, rng), crossed)
        if not self._has_speeds:
            return orders
        speeds_PG, other_PG = parents_PG[:, jobs:], mates_PG[:, jobs:]
        shape = speeds_PG.shape
        speeds_PG = np.where(mixed_P & (rng.random(shape) < 0.5), other_PG, speeds_PG)
        changed_PG = rng.random(shape) < 1.0 / shape[1]
        speeds_PG = np.where(changed_PG, rng.integers(self.levels, size=shape), speeds_PG)
        return np.hstack([orders, speeds_PG])

    def _levels(self, genomes_PG: Genomes) -> Ints:
        if not self._has_speeds:
            return np.zeros((self.jobs + self._fixed, len(genomes_PG)), np.int64)
        levels_JP: npt.NDArray[np.int64] = genomes_PG[:, self.jobs :].T
        return levels_JP
