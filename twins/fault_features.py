"""What is known of the health of every unit from what its sensors have read: for training and for answers, one code.

``Health`` is told of one sample after another and puts it aside; at the end of each hour it takes in all of that hour.
Nothing of a later sample enters. A unit is described by a sequence, the last ``INTERVALS`` hours of it, by slow
features, which remember longer, and by the signs of a fault that the last ``fault_signs.HOURS`` hours show.

How warm a unit should be is learned while it is watched (``fault_warmth``). Constants in capitals are chosen, not
fitted.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import UNIT_STATES, Readings

from .fault_signs import HOURS, SIGNS, Seen, Signs, told
from .fault_warmth import Warmth

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

SENSES_EVERY_S: Final = 300
PER_INTERVAL: Final = 12  # samples in an interval
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
    "machine_rate",
    "neighbours_72h",
    "neighbours_errors",
    "known_h",
)
"""Corrected errors and warmth with memories of so many hours; ln of the errors in a usual hour; ln of the hours since
the unit came back from a failure; its failures, and those of the whole machine, with their memories; ln of how often a
unit of the machine has failed in an hour so far; the failures of neighbours, and their errors; ln of the hours that
have been watched."""

DESCRIBED: Final = SLOW + SIGNS
"""What describes a unit beside its sequence."""

_DOWN: Final = UNIT_STATES.index("down")
_WHOLE: Final = 0.5  # of the machine that goes down at once: an outage, of which no unit is to blame
_NEIGHBOURS: Final = 4  # on each side
_NEVER_S: Final = -365 * 24 * HOUR_S
_LIFE_H: Final = 4 * 365 * 24.0  # in which a unit fails once, as long as nothing else is known
_RISES_K: Final = 1.0
_ERRORS, _WARMTH, _SETTLED, _DOWN_SHARE = (SEQUENCE.index(name) for name in ("errors", "warmth_k", "settled", "down"))
_BASE, _RATE = SLOW.index("errors_base"), SLOW.index("machine_rate")


class Health:
    """The health of ``units`` units, of which nothing is known yet."""

    def __init__(self, units: int) -> None:
        self.units = units
        self.samples = 0
        self.first_s = self.last_s = 0
        shape = (PER_INTERVAL, units)
        self._state, self._job = np.zeros(shape, np.int8), np.zeros(shape, np.int64)
        self._watts, self._celsius, self._found = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self._times = np.zeros(PER_INTERVAL, np.int64)
        self._warmth = Warmth(units, SENSES_EVERY_S)
        self._most_w = 1.0
        self._was_down = np.zeros(units, bool)
        self._blamed = np.zeros(units, bool)  # down by itself
        self._back_s = np.full(units, _NEVER_S)
        self._failures = np.zeros(units)
        self._machine = np.zeros(2)
        self._ever = 0.0  # failures of the machine, neighbours that fall being one
        self._near = np.zeros(units)
        self._errors = np.zeros((len(_DECAYS_H), units))
        self._warm = np.zeros((2, len(_DECAYS_H), units))  # sums and counts
        self._noisy = np.zeros((2, units))  # hours with errors, and all
        self.slow = np.zeros((units, len(SLOW)), np.float32)  # the slow features when the last interval ended
        self._ring = np.zeros((HOURS, len(SEQUENCE), units), np.float32)

    @property
    def intervals(self) -> int:
        """How many intervals are complete."""
        return self.samples // PER_INTERVAL

    def tell(
        self, now: int, state: npt.NDArray[Any], job: npt.NDArray[Any], watts: npt.NDArray[Any],
        celsius: npt.NDArray[Any] | None, errors: npt.NDArray[Any] | None,
    ) -> None:  # fmt: skip
        """Take in a sample of all units: the columns of ``Readings``."""
        if not self.samples:
            self.first_s = now
        at = self.samples % PER_INTERVAL
        self._times[at] = self.last_s = now
        self._state[at], self._job[at], self._watts[at] = state, job, watts
        self._celsius[at] = np.nan if celsius is None else celsius
        self._found[at] = 0.0 if errors is None else errors
        self.samples += 1
        if self.samples % PER_INTERVAL == 0:
            self._close()

    def hear(self, readings: Readings) -> None:
        """Take in a sample as a twin is told it."""
        self.tell(int(readings.time_s[0]), readings.state, readings.job, readings.node_w, readings.node_c,
                  readings.corrected_errors)  # fmt: skip

    def sequence(self) -> Singles:
        """The last intervals of every unit, the latest last, in half precision: (U, INTERVALS, len(SEQUENCE))."""
        return self._last(INTERVALS)

    def described(self, signs: Signs) -> Singles:
        """``DESCRIBED`` of every unit: (U, len(DESCRIBED))."""
        slow = self.slow.astype(np.float16)
        return np.concatenate([slow, told(signs, seen(self._last(HOURS), slow))], 1)

    def _last(self, intervals: int) -> Singles:
        which = (self.intervals - intervals + np.arange(intervals)) % HOURS
        return self._ring[which].transpose(2, 0, 1)

    # -- one interval -------------------------------------------------------------------------

    def _close(self) -> None:
        """Take in a complete interval, and put it away."""
        hours = PER_INTERVAL * SENSES_EVERY_S / HOUR_S
        down = self._state == _DOWN
        errors = self._found.sum(0)
        self._fade(hours)
        self._see_failures(down)
        if np.isnan(self._celsius[-1, 0]):
            warm_k = settled = np.zeros(self.units)
        else:
            warm, known = self._warmth.tell(self._state, self._job, self._watts, self._celsius)
            warm_k, settled = warm.sum(0), known.sum(0)
        self._errors += errors
        up = ~down[-1]
        self._noisy += np.stack([(errors > 0) & up, up])
        self._warm[0] += warm_k
        self._warm[1] += settled
        self._most_w = max(self._most_w, float(self._watts.max()))
        hot = np.where(down, 0.0, np.maximum(np.nan_to_num(self._celsius) - 50.0, 0.0) / 10.0)
        hour = (
            np.log1p(errors), warm_k / np.maximum(settled, 1.0), settled / PER_INTERVAL,
            self._watts.mean(0) / self._most_w, hot.mean(0), down.mean(0),
        )  # fmt: skip
        self._ring[(self.intervals - 1) % HOURS] = np.array(hour, np.float32).astype(np.float16)
        self.slow = self._slow()

    def _fade(self, hours: float) -> None:
        decays = np.exp(-hours / np.array(_DECAYS_H))[:, None]
        self._errors *= decays
        self._warm *= decays
        self._noisy *= np.exp(-hours / _LONG_H)
        self._failures *= np.exp(-hours / _LONG_H)
        self._machine *= np.exp(-hours / np.array([12.0, 72.0]))
        self._near *= np.exp(-hours / 72.0)

    def _see_failures(self, down: Bools) -> None:
        for time, now in zip(self._times.tolist(), down, strict=True):
            changed = now != self._was_down
            if not changed.any():
                continue
            fell = changed & now
            if np.count_nonzero(fell) > _WHOLE * self.units:
                fell = np.zeros_like(fell)  # the whole machine
            self._back_s[changed & self._blamed & ~now] = time
            self._blamed = (self._blamed | fell) & now
            self._failures += fell
            failures = np.count_nonzero(fell[1:] & ~fell[:-1]) + int(fell[0])  # neighbours that fall are one
            self._machine += failures
            self._ever += failures
            self._near += _nearby(fell.astype(np.float64)) - fell
            self._was_down = now.copy()

    def _slow(self) -> Singles:
        """The slow features of every unit: (U, len(SLOW))."""
        warmth = self._warm[0] / np.sqrt(np.maximum(self._warm[1], 1.0))  # in deviations, whatever their number
        noisy, hours = self._noisy
        usual = (noisy.sum() + 0.5) / (hours.sum() + 5.0)
        share = np.minimum((noisy + 0.5) / (hours + 0.5 / usual), 0.95)  # of hours with errors
        near = _nearby(self._errors[1]) - self._errors[1]
        watched_h = (self.last_s - self.first_s) / HOUR_S
        rate = (self._ever + 1.0) / (self.units * watched_h + _LIFE_H)
        back_h = (self.last_s - self._back_s) / HOUR_S
        columns = (
            *np.log1p(self._errors), *warmth, np.log(-np.log1p(-share)), np.log1p(back_h), self._failures,
            self._was_down, *(np.full(self.units, each) for each in (*self._machine, np.log(rate))),
            self._near, np.log1p(np.maximum(near, 0.0)), np.full(self.units, np.log1p(watched_h)),
        )  # fmt: skip
        return np.stack(columns, axis=1).astype(np.float32)


def seen(sequence: npt.NDArray[Any], slow: npt.NDArray[Any]) -> Seen:
    """What shows signs: of N unit-hours the last ``HOURS`` intervals (N, HOURS, len(SEQUENCE)), and the slow features.

    Where nothing was watched yet, nothing was seen. What came before a repair is over with it. Warmth that rises by
    more than ``_RISES_K`` an hour is cut off there: work came and went between two readings.
    """
    each = sequence.astype(np.float32, copy=False)
    down = each[..., _DOWN_SHARE] > 0
    over = np.logical_or.accumulate(down[:, ::-1], 1)[:, ::-1]
    errors = np.where(over, np.float32(0), np.rint(np.expm1(each[..., _ERRORS])))
    readings = np.where(over, np.float32(0), np.rint(PER_INTERVAL * each[..., _SETTLED]))
    warm_k = each[..., _WARMTH].copy("K")
    is_read = readings > 0
    most = np.zeros(len(warm_k), np.float32)
    for hour in range(warm_k.shape[1]):
        most += np.float32(_RISES_K)
        cut_k = warm_k[:, hour]
        np.minimum(cut_k, most, out=cut_k)
        np.copyto(most, np.maximum(cut_k, 0), where=is_read[:, hour])
    base, rate = (np.exp(slow[:, column].astype(np.float64)) for column in (_BASE, _RATE))
    return Seen(errors, warm_k, readings, base, rate)


def _nearby(values: Floats) -> Floats:
    """The sum over each unit and its neighbours on both sides."""
    units = len(values)
    sums = np.append(0.0, np.cumsum(values))
    place = np.arange(units)
    return np.asarray(sums[np.minimum(place + _NEIGHBOURS + 1, units)] - sums[np.maximum(place - _NEIGHBOURS, 0)])
