"""When telemetry is sampled: at the end of each of its seconds, as long as anything is to come."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

import simpy

from hpcsim.engine.twins import broken
from hpcsim.machine.cluster import Cluster
from hpcsim.machine.readings import Readings
from hpcsim.machine.telemetry import Telemetry, Watch
from hpcsim.workload.behaviour import Behaviour

if TYPE_CHECKING:
    from hpcsim.engine.simulation import Simulation

_LAST = simpy.events.EventPriority(4)  # within one second, after the scheduling pass (3)


class Sampling(simpy.Event):
    """The next sample of any telemetry of a simulation; one object serves all of them.

    It changes nothing and asks for no pass. It comes no more when all jobs have ended, or when nothing else is to come
    that could change anything, so that it keeps no simulation going.
    """

    def __init__(self, simulation: Simulation, sensors: Sequence[Telemetry]) -> None:
        super().__init__(simulation.agenda.env)
        self._ok = True
        self._value = None
        self._simulation = simulation
        self._sensors = sensors
        self._await()

    def _await(self) -> None:
        self.callbacks = [self._sample]
        next_s = min(each.next_s for each in self._sensors)
        self.env.schedule(self, _LAST, next_s - self._simulation.agenda.env.now)

    def _sample(self, _event: simpy.Event) -> None:
        env = self._simulation.agenda.env
        if not self._simulation.is_over and env.peek() < inf:
            for each in self._sensors:
                if each.next_s == env.now:
                    each.sample(env.now)
            self._await()


def sensors_for(
    twins: Mapping[str, Any], cluster: Cluster, behaviour: Behaviour, *, seed: int, start: int
) -> dict[str, Telemetry]:
    """The sensors of those of ``twins`` (by question) that want to be told of them: all units, with noise.

    The readings have no taker yet: see ``telling``. Those of one interval share what they watch.
    """
    watches: dict[int, Watch] = {}
    for twin in twins.values():
        if hasattr(twin, "senses_every_s") and twin.senses_every_s not in watches:
            watches[twin.senses_every_s] = Watch(cluster)
    return {
        question: Telemetry(
            cluster,
            behaviour,
            interval_s=twin.senses_every_s,
            units=None,
            noise=True,
            seed=seed,
            start=start,
            take=_to_nobody,
            rows=1,
            name=f"telemetry of twins.{question}",
            watch=watches[twin.senses_every_s],
        )
        for question, twin in twins.items()
        if hasattr(twin, "senses_every_s")
    }


def telling(simulation: Simulation, twin: Any) -> Callable[[Readings], None]:
    """What takes readings for a twin of ``simulation``: it tells the twin."""

    def tell(readings: Readings) -> None:
        try:
            twin.sensed(readings)
        except Exception as error:
            raise broken(twin, int(readings.time_s[0]), error) from error

    return tell


def _to_nobody(_readings: Readings) -> None:
    raise RuntimeError("a twin's sensors were read before its simulation was there")
