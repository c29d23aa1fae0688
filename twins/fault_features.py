"""What is known of the health of every unit from what its sensors have read: for training and for answers, one code.

``Health`` is told of one sample after another and keeps what it needs of them; nothing of a later sample enters. A
unit is described by a sequence, the last ``INTERVALS`` hours of it, and by slow features, which remember longer.

How warm a unit should be is learned while it is watched: a line in its own power and that of its neighbours, fitted by
least squares that forget, above what all units share (the supply). A unit that reads warmer than that, without having
got other work, may be one whose sensor drifts. Constants in capitals are chosen, not fitted.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import UNIT_STATES, Readings

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

SENSES_EVERY_S: Final = 1_200
PER_INTERVAL: Final = 3  # samples in an interval
INTERVALS: Final = 15
HOUR_S: Final = 3_600

SEQUENCE: Final = ("errors", "warmth_k", "settled", "load", "hot", "down")
"""Of each interval: ln(1 + corrected errors), kelvins warmer than it should be (0 if unknown), the share of the samples
that tell that, the power relative to the highest of the machine, tens of kelvins above 50 °C, and the share down."""

_DECAYS_H: Final = (3, 12, 48)
_LONG_H: Final = 30 * 24
SLOW: Final = (
    *(f"errors_{hours}h" for hours in _DECAYS_H),
    *(f"warmth_{hours}h" for hours in _DECAYS_H),
    "errors_base",
    "back_h",
    "failures",
    "down_now",
    "machine_12h",
    "machine_72h",
    "neighbours_72h",
    "neighbours_errors",
    "known_h",
)
"""Corrected errors and warmth with memories of so many hours; ln of the usual rate of errors; ln of the hours since the
unit came back from a failure; its failures, those of the whole machine and of its neighbours, with their memories; the
errors of its neighbours; ln of the hours that have been watched."""

_DOWN: Final = UNIT_STATES.index("down")
_STEADY: Final = 0.05  # relative change of power below which a unit has the same work
_SETTLED: Final = 2  # samples with the same power before this one
_FORGETS_S: Final = 10 * 24 * HOUR_S
_PRIOR: Final = 30.0  # samples that the fit of the whole machine counts for in that of a unit
_MOST_K: Final = 4.0  # that a sample may be off
_WHOLE: Final = 0.5  # of the machine that goes down at once: an outage, of which no unit is to blame
_NEIGHBOURS: Final = 4  # on each side
_NEVER_H: Final = 365.0 * 24


class Health:
    """The health of ``units`` units, of which nothing is known yet."""

    def __init__(self, units: int) -> None:
        self.units = units
        self.samples = 0
        self.first_s = self.last_s = 0
        self._sums = np.zeros((units, 3, 3))  # of the regressors of warmth: 1, own power, neighbours' power
        self._against = np.zeros((units, 3))
        self._line = np.zeros((units, 3))
        self._watts = np.zeros(units)
        self._steady = np.zeros(units, np.int64)
        self._most_w = 1.0
        self._was_down = np.zeros(units, bool)
        self._blamed = np.zeros(units, bool)  # down by itself
        self._back_h = np.full(units, _NEVER_H)
        self._failures = np.zeros(units)
        self._machine = np.zeros(2)
        self._near = np.zeros(units)
        self._errors = np.zeros((len(_DECAYS_H), units))
        self._warmth = np.zeros((2, len(_DECAYS_H), units))  # sums and counts
        self._base = np.array([[0.0], [0.0]]) * np.ones(units)  # errors and hours
        self._bin = np.zeros((len(SEQUENCE), units))
        self.slow_at_close = np.zeros((units, len(SLOW)), np.float32)  # the slow features when the last interval ended
        self._ring = np.zeros((INTERVALS, len(SEQUENCE), units), np.float32)

    @property
    def intervals(self) -> int:
        """How many intervals are complete."""
        return self.samples // PER_INTERVAL

    def tell(
        self, now: int, state: npt.NDArray[Any], watts: Floats, celsius: Floats | None, errors: npt.NDArray[Any] | None
    ) -> None:
        """Take in a sample of all units: the columns of ``Readings``."""
        hours = (now - self.last_s) / HOUR_S if self.samples else 0.0
        if not self.samples:
            self.first_s = now
        self.last_s = now
        down = state == _DOWN
        self._fade(hours)
        self._see_failures(down, hours)
        warm_k, settled = self._warm_k(hours * HOUR_S, np.asarray(watts, np.float64), celsius, down)
        found = np.zeros(self.units) if errors is None else np.asarray(errors, np.float64)
        self._errors += found
        self._base[0] += found
        self._base[1] += hours
        self._warmth[0] += warm_k
        self._warmth[1] += settled
        self._most_w = max(self._most_w, float(self._watts.max()))
        self._bin[0] += found
        self._bin[1] += warm_k
        self._bin[2] += settled
        self._bin[3] += self._watts / self._most_w
        self._bin[4] += 0.0 if celsius is None else np.where(down, 0.0, np.maximum(celsius - 50.0, 0.0) / 10.0)
        self._bin[5] += down
        self.samples += 1
        if self.samples % PER_INTERVAL == 0:
            self._close()

    def hear(self, readings: Readings) -> None:
        """Take in a sample as a twin is told it."""
        self.tell(int(readings.time_s[0]), readings.state, readings.node_w, readings.node_c, readings.corrected_errors)

    def sequence(self) -> Singles:
        """The last intervals of every unit, the latest last: (U, INTERVALS, len(SEQUENCE))."""
        last = self.intervals % INTERVALS
        return np.concatenate([self._ring[last:], self._ring[:last]]).transpose(2, 0, 1)

    def _slow(self) -> Singles:
        """The slow features of every unit: (U, len(SLOW))."""
        counts = np.maximum(self._warmth[1], 1.0)
        warmth = self._warmth[0] / np.sqrt(counts)  # as many standard deviations, whatever their number
        rate = np.log((self._base[0] + 0.5) / (self._base[1] + 10.0))
        near = self._nearby(self._errors[1]) - self._errors[1]
        columns = (
            *np.log1p(self._errors), *warmth, rate, np.log1p(self._back_h), self._failures, self._was_down,
            np.full(self.units, self._machine[0]), np.full(self.units, self._machine[1]),
            self._near, np.log1p(np.maximum(near, 0.0)),
            np.full(self.units, np.log1p((self.last_s - self.first_s) / HOUR_S)),
        )  # fmt: skip
        return np.stack(columns, axis=1).astype(np.float32)

    # -- one sample ---------------------------------------------------------------------------

    def _fade(self, hours: float) -> None:
        decays = np.exp(-hours / np.array(_DECAYS_H))[:, None]
        self._errors *= decays
        self._warmth *= decays
        self._base *= np.exp(-hours / _LONG_H)
        self._failures *= np.exp(-hours / _LONG_H)
        self._machine *= np.exp(-hours / np.array([12.0, 72.0]))
        self._near *= np.exp(-hours / 72.0)

    def _see_failures(self, down: Bools, hours: float) -> None:
        fell = down & ~self._was_down
        if np.count_nonzero(fell) > _WHOLE * self.units:
            fell = np.zeros_like(fell)  # the whole machine
        self._blamed |= fell
        back = self._was_down & ~down
        self._back_h = np.minimum(self._back_h + hours, _NEVER_H)
        self._back_h[back & self._blamed] = 0.0
        self._blamed &= down
        self._failures += fell
        self._machine += np.count_nonzero(fell[1:] & ~fell[:-1]) + int(fell[0])  # neighbours that fall are one
        self._near += self._nearby(fell.astype(np.float64)) - fell
        self._was_down = down.copy()

    def _warm_k(
        self, seconds: float, watts: Floats, celsius: Floats | None, down: Bools
    ) -> tuple[Floats, npt.NDArray[np.int64]]:
        """How much warmer than it should be each unit reads, and 1 where that can be told; 0 elsewhere."""
        same = np.abs(watts - self._watts) <= _STEADY * np.maximum(watts, self._watts)
        self._steady = np.where(same & ~down, self._steady + 1, 0)
        self._watts = watts
        settled = self._steady >= _SETTLED
        if celsius is None or not settled.any():
            return np.zeros(self.units), np.zeros(self.units, np.int64)
        x = np.stack([np.ones(self.units), watts / 1000.0, self._nearby(watts) / 1000.0 / (2 * _NEIGHBOURS + 1)], 1)
        off_k = celsius - (x * self._line).sum(1)
        off_k -= float(np.median(off_k[settled]))  # what all units share
        known = self.samples >= 4 * PER_INTERVAL * INTERVALS // 5
        warm_k = np.where(settled & known, np.clip(off_k, -_MOST_K, _MOST_K), 0.0)
        fade = np.exp(-seconds / _FORGETS_S)
        weight = settled.astype(np.float64)
        target = np.where(settled, (x * self._line).sum(1) + (np.clip(off_k, -_MOST_K, _MOST_K) if known else off_k), 0)
        if not known:
            target = np.where(settled, celsius - np.median(celsius[settled]), 0.0)
        self._sums = self._sums * fade + weight[:, None, None] * x[:, :, None] * x[:, None, :]
        self._against = self._against * fade + (weight * target)[:, None] * x
        return warm_k, settled.astype(np.int64) * known

    def _nearby(self, values: Floats) -> Floats:
        """The sum over each unit and its neighbours on both sides."""
        sums = np.append(0.0, np.cumsum(values))
        place = np.arange(self.units)
        return np.asarray(
            sums[np.minimum(place + _NEIGHBOURS + 1, self.units)] - sums[np.maximum(place - _NEIGHBOURS, 0)]
        )

    def _close(self) -> None:
        """Put away a complete interval."""
        told = np.maximum(self._bin[2], 1.0)
        self._bin[0] = np.log1p(self._bin[0])
        self._bin[1] /= told
        self._bin[2:] /= PER_INTERVAL
        self._ring[(self.intervals - 1) % INTERVALS] = self._bin
        self._bin[:] = 0.0
        self.slow_at_close = self._slow()
        whole, against = self._sums.mean(0), self._against.mean(0)
        count = max(float(whole[0, 0]), 1e-9)
        small = np.diag([1e-6, 1e-3, 1e-3])
        sums = self._sums + _PRIOR / count * whole + small
        self._line = np.linalg.solve(sums, (self._against + _PRIOR / count * against)[:, :, None])[:, :, 0]
