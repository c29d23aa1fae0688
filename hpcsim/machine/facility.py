"""What stands around the machine: the cooling plant in its mode, the cap on what both draw, and what feeds them.

The weather acts in steps of six hours, with the temperatures of their middles. So between two steps the facility
draws 1 + overhead times what the machine draws, and a cap on the facility is one on the machine. Modes and caps are
logged as they change; the books of energy are made up from these logs.
"""

from __future__ import annotations

import copy
from math import inf

import numpy as np

from hpcsim.errors import InputError
from hpcsim.machine.cooling import SUPPLY_STEP_S, YEAR_S, mode_change_k, overhead, supply_c
from hpcsim.machine.power import Floats, Number
from hpcsim.machine.series import StepSeries, default_carbon, default_price
from hpcsim.machine.solar import SolarPlant
from hpcsim.machine.spec import MachineSpec
from hpcsim.seconds import NEVER
from hpcsim.workload.job import Int64s


class Facility:
    """The surroundings of a machine of ``spec``, where second 0 is the Unix time ``t0_utc``.

    Parameters
    ----------
    cooling_mode : one of the machine's; None is its first.
    cap_w : what machine and cooling together may draw.
    carbon, price : of the grid, in g/kWh and USD/MWh; None for those of a stylised year.
    solar : a plant of the site's own, which the machine uses before the grid.

    Raises ``InputError`` for a mode that the machine does not have.
    """

    def __init__(
        self,
        spec: MachineSpec,
        t0_utc: int,
        *,
        cooling_mode: str | None = None,
        cap_w: float = inf,
        carbon: StepSeries | None = None,
        price: StepSeries | None = None,
        solar: SolarPlant | None = None,
    ) -> None:
        self.spec = spec
        self.cooling_mode: str = spec.cooling.modes[0][0] if cooling_mode is None else cooling_mode
        self.cap_w: float = cap_w
        self.carbon: StepSeries = default_carbon(t0_utc) if carbon is None else carbon
        self.price: StepSeries = default_price(t0_utc) if price is None else price
        self.solar = solar
        self._t0_utc = t0_utc
        self._mode_s, self._mode_k = [-NEVER], [mode_change_k(spec.cooling, self.cooling_mode)]
        self._cap_s, self._cap_w = [-NEVER], [cap_w]
        self._step: int | None = None
        self._supply_c = self._overhead = 0.0  # in that step and the present mode

    def __deepcopy__(self, memo: object) -> Facility:
        twin = copy.copy(self)
        for log in ("_mode_s", "_mode_k", "_cap_s", "_cap_w"):
            setattr(twin, log, getattr(self, log).copy())
        return twin

    # -- the levers ---------------------------------------------------------------------------

    def set_cooling(self, mode: str, now: int) -> None:
        """Run the plant in ``mode`` from ``now`` on. Raises ValueError for one that it does not have."""
        try:
            change_k = mode_change_k(self.spec.cooling, mode)
        except InputError as error:
            raise ValueError(str(error)) from None
        if mode != self.cooling_mode:
            self.cooling_mode = mode
            self._mode_s.append(now)
            self._mode_k.append(change_k)
            self._step = None

    def set_cap(self, watts: float | None, now: int) -> None:
        """Let machine and cooling draw ``watts`` at the most from ``now`` on; None: as much as they want."""
        try:
            is_one = watts is None or watts > 0
        except TypeError:
            is_one = False
        if not is_one:
            raise ValueError(f"a cap of {watts!r} W is none; it is above 0, or None")
        cap_w = inf if watts is None else float(watts)
        if cap_w != self.cap_w:
            self.cap_w = cap_w
            self._cap_s.append(now)
            self._cap_w.append(cap_w)

    # -- now ----------------------------------------------------------------------------------

    def supply_c(self, now: int) -> float:
        """Temperature of the air or liquid that the plant supplies."""
        self._look(now // SUPPLY_STEP_S)
        return self._supply_c

    def overhead(self, now: int) -> float:
        """Watts of the facility beyond IT for each watt of IT."""
        self._look(now // SUPPLY_STEP_S)
        return self._overhead

    def _look(self, step: int) -> None:
        """Look at season and weather of a step, unless they are those that were looked at last."""
        if step != self._step:
            self._step, utc_s = step, self._middle_utc(step)
            self._supply_c = float(supply_c(self.spec.thermal, utc_s)) + self._mode_k[-1]
            self._overhead = float(overhead(self.spec.cooling, self._supply_c, utc_s))

    def it_cap_w(self, now: int) -> float:
        """What the machine may draw, so that together with its cooling it keeps the cap."""
        return self.cap_w / (1.0 + self.overhead(now))

    def next_change_s(self, signal: str, now: int) -> int:
        """The second after ``now`` at which carbon, price, solar or supply next changes; a far one if it never does."""
        if signal == "supply":
            return now - now % SUPPLY_STEP_S + SUPPLY_STEP_S
        power = None if self.solar is None else self.solar.power
        series = {"carbon": self.carbon, "price": self.price, "solar": power}[signal]
        change_s = None if series is None else series.next_boundary(now)
        return NEVER if change_s is None else change_s

    # -- for the books ------------------------------------------------------------------------

    def changes_s(self, first: int, end: int) -> Int64s:
        """The seconds from ``first`` to before ``end`` at which the weather, the mode or the cap changed."""
        steps = np.arange(self.next_change_s("supply", first), end, SUPPLY_STEP_S)
        modes_s = np.array(self._mode_s)
        modes_s = modes_s[(modes_s >= first) & (modes_s < end)]
        changes: Int64s = np.concatenate((steps, modes_s, self.caps_s(first, end)))
        return changes

    def caps_s(self, first: int, end: int) -> Int64s:
        """The seconds from ``first`` to before ``end`` at which the cap changed."""
        caps_s: Int64s = np.array(self._cap_s)
        return caps_s[(caps_s >= first) & (caps_s < end)]

    def overhead_T(self, times_s: Int64s) -> Floats:
        """The overhead at each of these ascending seconds."""
        step_T = times_s // SUPPLY_STEP_S
        utc_W = self._middle_utc(np.arange(step_T[0], step_T[-1] + 1).astype(np.float64))
        supply_W = supply_c(self.spec.thermal, utc_W)
        mode_k_T = np.array(self._mode_k)[np.searchsorted(self._mode_s, times_s, side="right") - 1]
        found = np.zeros(len(times_s))
        for change_k in set(self._mode_k):
            in_mode = mode_k_T == change_k
            of_steps = overhead(self.spec.cooling, supply_W + change_k, utc_W)
            found[in_mode] = of_steps[step_T[in_mode] - step_T[0]]
        return found

    def cap_w_T(self, times_s: Int64s) -> Floats:
        """The cap at each of these seconds."""
        found: Floats = np.array(self._cap_w)[np.searchsorted(self._cap_s, times_s, side="right") - 1]
        return found

    def worst_overhead(self, start: int) -> float:
        """The highest overhead of the year from ``start`` on, in the present mode."""
        return float(self.overhead_T(np.arange(start, start + YEAR_S, SUPPLY_STEP_S)).max())

    def _middle_utc(self, step: Number) -> Number:
        middle: Number = (step + 0.5) * SUPPLY_STEP_S + self._t0_utc
        return middle
