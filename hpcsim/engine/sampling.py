"""When telemetry is sampled: at the end of each of its seconds, as long as anything is to come."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import simpy

from hpcsim.machine.telemetry import Telemetry

if TYPE_CHECKING:
    from hpcsim.engine.simulation import Simulation

_LAST = simpy.events.EventPriority(4)  # within one second, after the scheduling pass (3)


class Sampling(simpy.Event):
    """The next sample of a simulation's telemetry; one object serves all of them.

    It changes nothing and asks for no pass. It comes no more when all jobs have ended, or when nothing else is to come
    that could change anything, so that it keeps no simulation going.
    """

    def __init__(self, simulation: Simulation, telemetry: Telemetry) -> None:
        super().__init__(simulation.env)
        self._ok = True
        self._value = None
        self._simulation = simulation
        self._telemetry = telemetry
        self._await()

    def _await(self) -> None:
        self.callbacks = [self._sample]
        self.env.schedule(self, _LAST, self._telemetry.next_s - self._simulation.env.now)

    def _sample(self, _event: simpy.Event) -> None:
        env = self._simulation.env
        if not self._simulation.is_over and env.peek() < inf:
            self._telemetry.sample(env.now)
            self._await()
