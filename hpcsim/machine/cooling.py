"""Cooling: the supply temperature through the year, and the watts that a machine's heat costs its hall.

The power of the plant is linear in IT power, with a factor that depends on the supply temperature and the weather
alone; so between two steps of the clock at which these are looked up, facility power changes only with IT power.

References: Moore, Chase, Ranganathan and Sharma 2005, Making scheduling "cool": temperature-aware workload
placement in data centers (COP of chilled-water CRAC units).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hpcsim.errors import InputError
from hpcsim.machine.power import Number
from hpcsim.machine.spec import CoolingSpec, ThermalSpec

YEAR_S = 31_556_952  # of the Gregorian calendar on average, 365.2425 days
DAY_S = 86_400
SUPPLY_STEP_S = 6 * 3600  # weather and supply temperature are followed in steps of this length

_WARMEST_DAY_UTC = 963_662_400  # 15 July 2000, noon
_WARMEST_HOUR_S = 21 * 3600  # 15 h at UTC-6
_CHILLER_RATED_C = 25.0
_CHILLER_LOSS_PER_K = 0.1


def seasonal_c(mean_c: float, season_k: float, day_k: float, utc_s: Number) -> Number:
    """A temperature with a yearly wave that peaks in mid July and a daily one that peaks at 15 h, UTC-6.

    ``season_k`` and ``day_k`` are amplitudes, ``utc_s`` is Unix time.
    """
    season = season_k * np.cos(2 * np.pi * (utc_s - _WARMEST_DAY_UTC) / YEAR_S)
    day = day_k * np.cos(2 * np.pi * ((utc_s - _WARMEST_HOUR_S) % DAY_S) / DAY_S)
    celsius: Number = mean_c + season + day
    return celsius


def supply_c(thermal: ThermalSpec, utc_s: Number) -> Number:
    """Temperature of the air or liquid that the plant supplies in a cooling mode that does not change it."""
    return seasonal_c(thermal.supply_c, thermal.supply_season_k, thermal.supply_day_k, utc_s)


def wet_bulb_c(cooling: CoolingSpec, utc_s: Number) -> Number:
    """Wet-bulb temperature outside, what a cooling tower can come close to."""
    return seasonal_c(cooling.wet_bulb_mean_c, cooling.wet_bulb_season_k, cooling.wet_bulb_day_k, utc_s)


def mode_change_k(cooling: CoolingSpec, mode: str) -> float:
    """By how much a cooling mode changes the supply temperature. Raises ``InputError`` for an unknown mode."""
    for name, change_k in cooling.modes:
        if name == mode:
            return change_k
    raise InputError(f"found the cooling mode {mode!r}, expected one of {', '.join(name for name, _ in cooling.modes)}")


def crac_cop(supply_c: Number) -> Number:
    """Heat moved per watt by chilled-water CRAC units: the warmer the supply, the less work.

    A fit to one hall between about 10 and 30 degrees; below 0 it is held.
    """
    supply: Number = np.maximum(supply_c, 0.0)
    return 0.0068 * supply**2 + 0.0008 * supply + 0.458


def liquid_cop(cooling: CoolingSpec, supply_c: Number, utc_s: Number) -> Number:
    """Heat moved per watt by a plant of direct liquid cooling.

    Towers alone do it while the wet bulb is ``free_below_k`` below the supply. Else a chiller works, whose COP falls
    by 0.1 for each K of wet bulb above 25 degrees, to 1 at the least.
    """
    wet_bulb: Number = wet_bulb_c(cooling, utc_s)
    chiller = cooling.chiller_cop - _CHILLER_LOSS_PER_K * np.maximum(wet_bulb - _CHILLER_RATED_C, 0.0)
    free = wet_bulb < supply_c - cooling.free_below_k
    cop: Any = np.where(free, cooling.free_cop, np.maximum(chiller, 1.0))[()]  # [()] makes a number of a 0-d array
    found: Number = cop
    return found


def overhead(cooling: CoolingSpec, supply_c: Number, utc_s: Number) -> Number:
    """Watts of the facility beyond IT for each watt of IT: the plant's work, and what always runs.

    1 + overhead is the power usage effectiveness (PUE) of the moment.
    """
    cop: Number = crac_cop(supply_c) if cooling.kind == "air" else liquid_cop(cooling, supply_c, utc_s)
    return 1.0 / cop + cooling.fixed_fraction
