"""GreenDRL's slots as a Gymnasium environment: a choice every 15 minutes, paid by what the slot took from the grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box, MultiDiscrete

from hpcsim.engine.simulation import Simulation
from hpcsim.engine.view import View
from hpcsim.errors import InputError
from hpcsim.results.energy import power_curve
from hpcsim.schedulers.greendrl.greendrl import GreenDRL
from hpcsim.schedulers.greendrl.network import COOLING, LEVELS
from hpcsim.schedulers.greendrl.observing import FEATURES
from hpcsim.training.green_days import DAY_S, YEAR_DAYS, Year

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Step = tuple[Floats32, float, bool, bool, dict[str, Any]]

SLOT_S: Final = 900
_LONGER_S: Final = 5 * DAY_S  # than under EASY an episode may last
EASY: Final[Mapping[str, Any]] = {"scheduler.name": "easy", "levers.sleep_idle": "auto"}
"""EASY with idle nodes that sleep, without a look at what is green: what the reward is relative to."""


class Prices(NamedTuple):
    """What besides power from the grid is paid for, in units of the machine at full load for a slot.

    ``late`` is for all nodes of the machine that wait a slot too long, ``warm`` for a kelvin in a slot by which the
    hottest node is beyond its margin, ``switch`` for another mode of cooling.
    """

    late: float = 0.3
    warm: float = 0.05
    switch: float = 0.002


class Span(NamedTuple):
    """Days that can be played: of which year, from when on, how many, at which load, for which signal."""

    year: Year
    start_s: int
    days: float
    load: float
    signal: str

    def begin(self, overrides: Mapping[str, Any]) -> Simulation:
        """A simulation of them."""
        return self.year.begin(self.start_s, self.days, self.load, overrides)


def brown_j(simulation: Simulation, signal: str, edges_s: npt.NDArray[np.int64]) -> Floats:
    """Joules from the grid between each of ``edges_s`` (ascending) and the next, weighted by the signal.

    For the sun every joule counts as one; for ``carbon`` and ``price`` each by the grid's intensity or price then,
    relative to its mean over the year.
    """
    site = simulation.site
    if site is None:
        raise ValueError("a scenario without physics has no power")
    curve = power_curve(simulation, site)
    points = np.unique(np.concatenate([curve.time_s, edges_s]))
    watts = curve.grid_w[np.maximum(np.searchsorted(curve.time_s, points, side="right") - 1, 0)]
    watts[(points < curve.time_s[0]) | (points >= curve.end_s)] = 0.0
    lengths = np.diff(points, append=points[-1])
    if signal == "solar":
        joules = watts * lengths
    else:
        series = site.facility.carbon if signal == "carbon" else site.facility.price
        usual = series.integral(0, YEAR_DAYS * DAY_S) / (YEAR_DAYS * DAY_S)
        joules = watts * series.integral(points, points + lengths) / usual
    total = np.concatenate([[0.0], np.cumsum(joules)])
    return np.asarray(np.diff(total[np.searchsorted(points, edges_s)]))


class GreenSlots(gymnasium.Env[Floats32, npt.NDArray[np.int64]]):
    """The choices of ``greendrl`` on spans of days, one after the other by chance.

    The reward of a slot is what was taken from the grid, as a share of the machine at full load, and what ``prices``
    say, both negative and relative to the same slot of the same days under EASY with sleeping nodes. What EASY did
    hangs on no choice, so no policy becomes better or worse by it; it takes out what days and jobs differ by. An
    episode ends when the last job of its span has ended, so nothing is gained by what is left undone.
    """

    def __init__(
        self, spans: Sequence[Span], options: Mapping[str, Any] | None = None, prices: Prices | None = None
    ) -> None:
        self.observation_space = Box(-2.0, 2.0, (len(FEATURES),), np.float32)
        self.action_space = MultiDiscrete([LEVELS, len(COOLING)])
        self._spans, self._prices = spans, prices or Prices()
        self._overrides = {"scheduler.name": "greendrl", "scheduler.slot": SLOT_S} | {
            f"scheduler.{key}": value for key, value in (options or {}).items()
        }
        self._usual: dict[int, tuple[npt.NDArray[np.int64], Floats, Floats]] = {}
        self._options = GreenDRL.Options.model_validate(dict(options or {}))
        self._order: list[int] = []
        self._simulation: Simulation | None = None

    @property
    def count(self) -> int:
        """How many spans there are."""
        return len(self._spans)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats32, dict[str, Any]]:
        """Begin the next span in which there is a choice; all are played once before any is again.

        Raises InputError where all are over before the first whole slot.
        """
        super().reset(seed=seed)
        for _ in self._spans:
            self._begin_next()
            if self._view is not None:
                return self._observed(), {}
        raise InputError(f"all {len(self._spans)} spans are over before a slot of {SLOT_S} s begins: give more days")

    def _begin_next(self) -> None:
        if not self._order:
            self._order = self.np_random.permutation(len(self._spans)).tolist()
        place = self._order.pop()
        span = self._spans[place]
        self._span = span
        self._edges_s, self._easy_j, self._easy_late = self._usual_of(place)
        simulation = span.begin(self._overrides | {"scheduler.signal": span.signal})
        scheduler = simulation.scheduler
        if not isinstance(scheduler, GreenDRL):
            raise TypeError(f"found {scheduler!r}, expected the scheduler greendrl")
        self._simulation, self._scheduler = simulation, scheduler
        self._scale_j = 1000.0 * span.year.peak_kw * SLOT_S
        self._at = 0
        self._next_slot()

    def step(self, action: npt.NDArray[np.int64]) -> Step:
        """Choose for the slot that begins now, and go on to the next."""
        simulation, view = self._simulation, self._view
        if simulation is None or view is None:
            raise gymnasium.error.ResetNeeded("the episode is over, or none has begun: call reset()")
        mode = view.power.cooling_mode
        self._scheduler.choose = lambda _: (int(action[0]), int(action[1]))
        simulation.decide(self._scheduler.schedule(view))
        switched = view.power.cooling_mode != mode
        self._next_slot()
        place, prices = self._at, self._prices
        saved_j = self._easy_j[place] - brown_j(simulation, self._span.signal, self._edges_s[place : place + 2])[0]
        late = self._late() - self._easy_late[place]
        reward = saved_j / self._scale_j - prices.late * late - prices.switch * switched - prices.warm * self._warm()
        self._at += 1
        is_over = self._view is None
        return self._observed(), float(reward), is_over, not is_over and self._at + 1 >= len(self._edges_s), {}

    def _usual_of(self, place: int) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
        """The slots of a span, and of each what EASY takes from the grid and lets wait too long."""
        if place not in self._usual:
            span = self._spans[place]
            simulation = span.begin(EASY)
            simulation.run()
            edges_s = np.arange(simulation.start // SLOT_S + 1, (simulation.now + _LONGER_S) // SLOT_S) * SLOT_S
            late = self._late_under(simulation, edges_s)
            self._usual[place] = edges_s, brown_j(simulation, span.signal, edges_s), late
        return self._usual[place]

    def _late_under(self, simulation: Simulation, edges_s: npt.NDArray[np.int64]) -> Floats:
        """Node-slots by which deferrable jobs wait too long in each slot, as a share of the machine."""
        attempts = simulation.attempts
        taken_s = dict(zip(attempts.column("job").tolist(), attempts.column("taken").tolist(), strict=True))
        late, deferring = np.zeros(len(edges_s) - 1), GreenDRL(self._options).deferring
        for job in simulation.workload.jobs(0, len(simulation.workload)):
            from_s, to_s = deferring.latest_s(job), taken_s.get(job.id, int(edges_s[-1]))
            if job.submit < from_s < to_s:
                inside = np.minimum(edges_s[1:], to_s) - np.maximum(edges_s[:-1], from_s)
                late += job.nodes * np.maximum(inside, 0)
        return late / (simulation.nodes * SLOT_S)

    def _next_slot(self) -> None:
        """Go on to the pass in which the next choice is due; the first one is at the first whole slot."""
        simulation = self._simulation
        if simulation is None:
            raise RuntimeError("no episode has begun")
        scheduler = self._scheduler
        view = simulation.advance()
        while view is not None and (not scheduler.begins_slot(view) or view.now < self._edges_s[0]):
            if view.now < self._edges_s[0]:
                scheduler.choose = lambda _: (LEVELS - 1, 1)
            simulation.decide(scheduler.schedule(view))
            view = simulation.advance()
        self._view: View | None = view

    def _observed(self) -> Floats32:
        view = self._view
        return np.zeros(len(FEATURES), np.float32) if view is None else self._scheduler.look(view)[1]

    def _late(self) -> float:
        """Node-slots by which deferrable jobs waited too long in the last slot, as a share of the machine."""
        view = self._view
        if view is None:
            return 0.0
        latest_s = self._scheduler.deferring.latest_s
        late = sum(
            job.nodes * min(SLOT_S, view.now - latest_s(job))
            for job in view.queue
            if job.submit < latest_s(job) < view.now
        )
        return late / (view.nodes * SLOT_S)

    def _warm(self) -> float:
        """Kelvins of the hottest node beyond the margin to its throttle."""
        view = self._view
        margin_k = None if view is None else self._scheduler.margin_k(view)
        return 0.0 if margin_k is None else max(0.0, -margin_k)
