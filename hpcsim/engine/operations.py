"""What the operators of a machine see of its power: plain values of one moment, and what is known of the hours ahead.

Nothing in here knows a job: no utilisation, no sensitivity to the clock, no runtime, no failure to come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from hpcsim.machine.power import best_speed, break_even_s
from hpcsim.machine.spec import PowerSpec

if TYPE_CHECKING:
    from hpcsim.engine.site import Site
    from hpcsim.machine.series import StepSeries

SIGNALS: Final = ("carbon", "price", "solar", "supply")
"""What a scheduler may wake on: the first three change every hour, the supply of the cooling plant every six."""

DAY_AHEAD_S: Final = 24 * 3600  # how far ahead prices and carbon intensities are published


class Node(NamedTuple):
    """What one node of the machine has: cores, GPUs, GiB of memory; all nodes are alike."""

    cores: int
    gpus: int
    memory_gib: float


@dataclass(frozen=True, slots=True)
class Power:
    """What machine and facility draw now, and what they may draw.

    ``it_w`` is what all nodes and fixed loads draw at the wall, ``overhead`` the watts of cooling, pumps and fans for
    each watt of that, in the present weather and cooling mode. ``cap_w`` is the cap on the facility (infinite without
    one), ``throttle`` the factor on the speed of every job, in (0, 1], by which it is kept. ``cooling_modes`` says by
    how many K each mode changes the supply temperature ``supply_c``. ``node`` has the watts of one node, idle and
    asleep, its range of speeds, and how long sleeping and waking take.
    """

    it_w: float
    overhead: float
    cap_w: float
    throttle: float
    cooling_mode: str
    cooling_modes: Mapping[str, float]
    supply_c: float
    node: PowerSpec

    @property
    def facility_w(self) -> float:
        """What the facility draws: the machine with its cooling."""
        return self.it_w * (1.0 + self.overhead)

    @property
    def headroom_w(self) -> float:
        """What jobs may still add, at the wall of the nodes; negative where the cap cannot be kept."""
        return self.cap_w / (1.0 + self.overhead) - self.it_w

    @property
    def break_even_s(self) -> float:
        """From how long an idle time on a node takes less energy asleep than on; infinite if sleep saves none."""
        return break_even_s(self.node)

    def best_speed(self, dynamic_w: float, beta: float) -> float:
        """The speed at which work takes the least energy, if it were as the caller believes it to be.

        ``dynamic_w`` is what it draws on one node above idle at full speed, ``beta`` in [0, 1] how far its runtime
        follows the clock.
        """
        return best_speed(self.node, self.node.idle_w, dynamic_w, beta)


class Signal:
    """Something that changes from hour to hour: ``now`` is its present value."""

    __slots__ = ("_ahead", "now")

    def __init__(self, now: float, ahead: Callable[[int], StepSeries]) -> None:
        self.now: float = now
        self._ahead = ahead

    def forecast(self, horizon_s: int) -> StepSeries:
        """What is known or expected of it from now on, for so many seconds.

        Raises ValueError for a horizon that is not above 0, or that is further ahead than anything is published.
        """
        if horizon_s < 1:
            raise ValueError(f"found a horizon of {horizon_s} s, expected 1 or more")
        return self._ahead(horizon_s)


def power_of(site: Site, now: int) -> Power:
    """The power of a site's machine and facility at ``now``."""
    cluster, facility = site.cluster, site.facility
    return Power(
        it_w=cluster.meter.it_w,
        overhead=facility.overhead(now),
        cap_w=facility.cap_w,
        throttle=cluster.cap,
        cooling_mode=facility.cooling_mode,
        cooling_modes=MappingProxyType(dict(cluster.spec.cooling.modes)),
        supply_c=facility.supply_c(now),
        node=cluster.spec.power,
    )


def published(series: StepSeries, now: int) -> Signal:
    """A signal of the grid, which is published a day ahead."""

    def ahead(horizon_s: int) -> StepSeries:
        if horizon_s > DAY_AHEAD_S:
            raise ValueError(f"found a horizon of {horizon_s} s; it is published for {DAY_AHEAD_S} s ahead")
        return series.part(now, now + horizon_s)

    return Signal(float(series.at(now)), ahead)
