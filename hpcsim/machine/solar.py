"""The power of a solar plant at the site: sun, clouds, modules, inverter.

Modules face south, tilted by 20 degrees. The clear sky is Haurwitz's, clouds come from a seed, the sky's diffuse
light is the same from all sides, and the plant is that of NREL's PVWatts. The cloud model is set so that a kW gives
what plants near Chicago give in a year, about 1,250 kWh; no hour of it is a recorded one.

References: Michalsky 1988, The Astronomical Almanac's algorithm for approximate solar position (1950-2050); Haurwitz
1945, Insolation in relation to cloudiness and cloud density; Kasten and Czeplak 1980, Solar and terrestrial radiation
dependent on the amount and type of cloud; Erbs, Klein and Duffie 1982, Estimation of the diffuse radiation fraction
for hourly, daily and monthly-average global radiation; Dobos 2014, PVWatts version 5 manual.
"""

from __future__ import annotations

import numpy as np

from hpcsim.machine.cooling import DAY_S, YEAR_S, seasonal_c
from hpcsim.machine.power import Floats
from hpcsim.machine.series import HOUR_S, StepSeries
from hpcsim.streams import stream
from hpcsim.workload.job import Int64s

LATITUDE_DEG = 41.71
LONGITUDE_DEG = -87.98
TILT_DEG = 20.0

_J2000_UTC = 946_728_000  # 1 January 2000, 12 h
_PERIHELION_UTC = 946_900_800  # 3 January 2000, 12 h
_COLDEST_UTC = 947_894_400  # 15 January 2000
_SOLAR_CONSTANT_W_M2 = 1361.0
_GROUND_ALBEDO = 0.2
_LOWEST_COS_ZENITH = 1e-4

_AIR_C = (10.0, 13.5, 5.0)  # mean, yearly and daily amplitude near Chicago
_NOMINAL_CELL_C = 45.0  # at 800 W/m2 and 20 degrees
_LOSS_PER_K = 0.0047
_SYSTEM_LOSS = 0.14
_INVERTER_EFFICIENCY = 0.96

_SAMPLES_PER_HOUR = 6
_CLOUD_LOGIT, _CLOUD_SEASON, _CLOUD_SPREAD, _CLOUD_MEMORY_H = 0.75, 0.5, 2.3, 10.0


class SolarPlant:
    """A plant of ``kw_dc`` kW of modules at the site; ``power`` is what it gives, in W, from simulated second 0."""

    def __init__(self, kw_dc: float, t0_utc: int, days: int, seed: int) -> None:
        self.power: StepSeries = solar_series(kw_dc, t0_utc, days, seed)
        self._kw_dc, self._t0_utc = kw_dc, t0_utc

    def forecast(self, now: int, horizon_s: int) -> StepSeries:
        """The watts that may be expected from ``now`` on, for ``horizon_s``, by what has been seen up to now.

        That is what it would give under a clear sky, times the share of that which it gave in the last 24 hours
        ("smart persistence"); all of it where there was no light yet.
        """
        begin, end = max(0, now - DAY_S), now + horizon_s
        hours = np.arange(begin // HOUR_S, -(-end // HOUR_S))
        clear = hourly_w(self._kw_dc, self._t0_utc, hours, np.ones(len(hours)))
        could_j = clear.integral(begin, now)
        share = self.power.integral(begin, now) / could_j if could_j > 0 else 1.0
        ahead = clear.part(now, end)
        return StepSeries(ahead.times_s, share * ahead.values, end_s=end)


def solar_series(kw_dc: float, t0_utc: int, days: int, seed: int) -> StepSeries:
    """Power in W of a plant with ``kw_dc`` kW of modules, mean of each hour from simulated second 0.

    The same seed gives the same hours however many days are asked for.
    """
    if kw_dc < 0 or days < 1:
        raise ValueError(f"found a plant of {kw_dc} kW for {days} days, expected 0 kW or more for at least 1")
    hours = 24 * days
    return hourly_w(kw_dc, t0_utc, np.arange(hours), clear_sky_share(t0_utc, hours, seed))


def hourly_w(kw_dc: float, t0_utc: int, hour_H: Int64s, clear_H: Floats) -> StepSeries:
    """Power in W in hours that follow each other, counted from second 0, with these shares of the clear sky's light."""
    start_s = HOUR_S * hour_H
    sample_s = (np.arange(_SAMPLES_PER_HOUR) + 0.5) * (HOUR_S / _SAMPLES_PER_HOUR)
    utc_HS = (t0_utc + start_s)[:, None] + sample_s
    output_HS = plant_share(utc_HS, clear_H[:, None])
    return StepSeries(start_s, 1000.0 * kw_dc * output_HS.mean(axis=1), end_s=int(start_s[-1]) + HOUR_S)


def plant_share(utc_s: Floats, clear: Floats) -> Floats:
    """Power of the plant as a share of its modules' rating, ``clear`` being the share of the clear sky's light."""
    light = tilted_w_m2(utc_s, clear)
    cell_c = seasonal_c(*_AIR_C, utc_s) + light * (_NOMINAL_CELL_C - 20.0) / 800.0
    warm = 1.0 - _LOSS_PER_K * (cell_c - 25.0)
    return light / 1000.0 * warm * (1.0 - _SYSTEM_LOSS) * _INVERTER_EFFICIENCY


def tilted_w_m2(utc_s: Floats, clear: Floats) -> Floats:
    """Light on the modules: the beam, half the sky and what the ground throws back."""
    declination, hour_angle = sun(utc_s)
    up = cos_zenith(declination, hour_angle, LATITUDE_DEG)
    # A module tilted to the south sees the sun as the ground does so many degrees further south.
    facing = np.maximum(cos_zenith(declination, hour_angle, LATITUDE_DEG - TILT_DEG), 0.0)
    day = up > _LOWEST_COS_ZENITH
    height = np.where(day, up, 1.0)
    ground = np.where(day, clear_sky_w_m2(height) * clear, 0.0)
    above_air = _SOLAR_CONSTANT_W_M2 * (1.0 + 0.033 * np.cos(2 * np.pi * (utc_s - _PERIHELION_UTC) / YEAR_S)) * height
    diffuse = ground * diffuse_share(ground / above_air)
    sees_sky = (1.0 + np.cos(np.radians(TILT_DEG))) / 2.0
    light: Floats = (ground - diffuse) * facing / height + diffuse * sees_sky + ground * _GROUND_ALBEDO * (1 - sees_sky)
    return light


def clear_sky_w_m2(cos_zenith: Floats) -> Floats:
    """Light on level ground under a clear sky, the sun being up (Haurwitz)."""
    light: Floats = 1098.0 * cos_zenith * np.exp(-0.057 / cos_zenith)
    return light


def diffuse_share(clearness: Floats) -> Floats:
    """The diffuse share of the light on level ground, from the share of the light above the air (Erbs et al.)."""
    middle = np.polynomial.polynomial.polyval(clearness, (0.9511, -0.1604, 4.388, -16.638, 12.336))
    return np.where(clearness <= 0.22, 1.0 - 0.09 * clearness, np.where(clearness <= 0.8, middle, 0.165))


def sun(utc_s: Floats) -> tuple[Floats, Floats]:
    """Declination and hour angle of the sun at the site, in radians, to about 0.01 degrees."""
    days = (utc_s - _J2000_UTC) / DAY_S
    anomaly = np.radians(357.528 + 0.9856003 * days)
    longitude = np.radians(280.460 + 0.9856474 * days + 1.915 * np.sin(anomaly) + 0.020 * np.sin(2 * anomaly))
    obliquity = np.radians(23.439 - 4e-7 * days)
    right_ascension = np.arctan2(np.cos(obliquity) * np.sin(longitude), np.cos(longitude))
    declination = np.arcsin(np.sin(obliquity) * np.sin(longitude))
    sidereal = np.radians(280.46062 + 360.98564737 * days + LONGITUDE_DEG)
    hour_angle = (sidereal - right_ascension + np.pi) % (2 * np.pi) - np.pi
    return declination, hour_angle


def cos_zenith(declination: Floats, hour_angle: Floats, latitude_deg: float) -> Floats:
    """Cosine of the sun's angle to the vertical: negative at night."""
    latitude = np.radians(latitude_deg)
    cosine: Floats = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(
        hour_angle
    )
    return cosine


def clear_sky_share(t0_utc: int, hours: int, seed: int) -> Floats:
    """What clouds leave of the clear sky's light, hour by hour: 0.25 when overcast, 1 without a cloud.

    Cloud cover is the logistic of a Gaussian AR(1) process with a memory of 10 hours, cloudier in winter.
    """
    keeps = np.exp(-1.0 / _CLOUD_MEMORY_H)
    fresh = stream(seed, "solar clouds").standard_normal(hours)
    fresh[1:] *= np.sqrt(1.0 - keeps**2)
    state = 0.0
    states = np.empty(hours)
    for hour, shock in enumerate(fresh.tolist()):
        state = keeps * state + shock
        states[hour] = state
    season = np.cos(2 * np.pi * (t0_utc + HOUR_S * np.arange(hours) - _COLDEST_UTC) / YEAR_S)
    cover = 1.0 / (1.0 + np.exp(-(_CLOUD_LOGIT + _CLOUD_SEASON * season + _CLOUD_SPREAD * states)))
    share: Floats = 1.0 - 0.75 * cover**3.4
    return share
