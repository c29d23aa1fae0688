"""How much warmer than they should be units read: what a sensor that drifts away shows.

How warm a unit should be is a line in its own power and that of its neighbours on both sides, above what all units
share (the supply). Each unit's line is fitted while it is watched, by least squares that forget, with that of the whole
machine as prior. Power is the mean of what was read since the work of the unit last changed, so that its noise, which
as heat is as large as that of the thermometer, averages out; and it is felt with delay, as by a thermal mass. A unit is
judged only once it has settled: neither its work has changed for a while, nor has its temperature jumped, as it does
where work came and went between two readings. Constants in capitals are chosen, not fitted.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import UNIT_STATES

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_DOWN: Final = UNIT_STATES.index("down")
_STEADY: Final = 0.05  # relative change of power below which a unit has the same work
_AVERAGED: Final = 8  # readings of power, about
_JUMP_K: Final = 2.0  # between two readings
_SETTLED_S: Final = 1_200
_FELT_S: Final = 400.0  # time constant with which power is felt
_BESIDE: Final = ((1, 1), (2, 3), (4, 8))  # places to one side whose powers are summed up
_COLUMNS: Final = 2 + 2 * len(_BESIDE)  # 1, own power, neighbours'; kilowatts
_FORGETS_S: Final = 30 * 86_400
_PRIOR: Final = (0.1, 0.1, 10.0, 10.0, *(_COLUMNS - 4) * [100.0])
"""Readings that the fit of the whole machine counts for in each column: units differ most by themselves."""
_FEWEST: Final = 20  # settled units that tell what all share
_SHARED_AFTER_S: Final = 1.5 * 86_400  # before, no line is good enough to tell what all units share
_CLIPPED_AFTER_S: Final = 5 * 86_400
_MOST_K: Final = 2.0  # off its line that a reading bends it by
_SOLVED_EVERY: Final = 4  # calls of ``tell``


class Warmth:
    """The thermometers of ``units`` units that are read every ``every_s`` seconds."""

    def __init__(self, units: int, every_s: int) -> None:
        self.units = units
        self._every_s = every_s
        self._settled = _SETTLED_S // every_s  # readings
        self._seen = 0  # readings
        self._told = 0
        self._job = np.full(units, -2, np.int64)
        self._state = np.full(units, -1, np.int8)
        self._celsius = np.full(units, np.inf)
        self._watts = np.zeros(units)  # mean since the work changed
        self._felt_w = np.zeros(units)
        self._left = np.exp(-every_s / _FELT_S)
        self._same = np.zeros(units, np.int64)  # readings since
        self._calm = np.zeros(units, np.int64)  # readings since the temperature jumped
        self._sums = np.zeros((units, _COLUMNS, _COLUMNS))
        self._against = np.zeros((units, _COLUMNS))
        self._line = np.zeros((units, _COLUMNS))

    def tell(
        self, state: npt.NDArray[Any], job: npt.NDArray[Any], watts: npt.NDArray[Any], celsius: npt.NDArray[Any]
    ) -> tuple[Floats, Bools]:
        """Take in some samples, each (samples, U) as in ``Readings``: how warm each reads, and where that is known.

        Kelvins above what it should be, (samples, U); 0 where it is not known.
        """
        samples = len(watts)
        power, settled = np.zeros((samples, self.units)), np.zeros((samples, self.units), bool)
        for sample in range(samples):
            settled[sample] = self._follow(state[sample], job[sample], watts[sample], celsius[sample])
            self._felt_w += (1.0 - self._left) * (self._watts - self._felt_w)
            power[sample] = self._felt_w
        x = self._regressors(power / 1000.0)
        should_c = (x * self._line[:, None]).sum(2).T
        off_k = celsius - should_c
        settled &= (settled.sum(1) >= _FEWEST)[:, None]
        begun_s = self._every_s * (self._seen - samples)
        known = settled & (begun_s >= _SHARED_AFTER_S)
        for sample in np.flatnonzero(known.any(1)).tolist():
            off_k[sample] -= np.median(off_k[sample, known[sample]])
        most_k = _MOST_K if begun_s >= _CLIPPED_AFTER_S else np.inf
        self._learn(x, settled, should_c + np.clip(off_k, -most_k, most_k))
        return np.where(known, off_k, 0.0), known

    def _follow(self, state: Any, job: Any, watts: Any, celsius: Any) -> Bools:
        """Take in one sample; which units have settled."""
        apart = np.abs(watts - self._watts) > _STEADY * np.maximum(watts, self._watts)
        other = apart | (job != self._job) | (state != self._state)
        self._same = np.where(other, 1, self._same + 1)
        self._watts = np.where(other, watts, self._watts + (watts - self._watts) / np.minimum(self._same, _AVERAGED))
        self._calm = np.where(np.abs(celsius - self._celsius) > _JUMP_K, 0, self._calm + 1)
        self._job, self._state, self._celsius = job.copy(), state.copy(), celsius.copy()  # the caller's are used again
        self._seen += 1
        return np.asarray((np.minimum(self._same - 1, self._calm) >= self._settled) & (state != _DOWN))

    def _regressors(self, kilowatts: Floats) -> Floats:
        """Of each unit and sample 1, its power, and the sums of neighbours' on both sides, (U, samples, _COLUMNS)."""
        sums = np.zeros((self.units + 1, len(kilowatts)))
        np.cumsum(kilowatts.T, 0, out=sums[1:])
        place = np.arange(self.units)
        columns = [np.ones_like(sums[1:]), kilowatts.T]
        for near, far in _BESIDE:
            for first, last in ((-far, -near), (near, far)):
                begin, end = (np.clip(place + each, 0, self.units) for each in (first, last + 1))
                columns.append(sums[end] - sums[begin])
        return np.stack(columns, 2)

    def _learn(self, x: Floats, settled: Bools, target_c: Floats) -> None:
        weighted = x * settled.T[:, :, None]
        fade = np.exp(-self._every_s * len(settled) / _FORGETS_S)
        self._sums = fade * self._sums + weighted.transpose(0, 2, 1) @ x
        self._against = fade * self._against + (weighted * target_c.T[:, :, None]).sum(1)
        self._told += 1
        if self._told % _SOLVED_EVERY == 0:
            whole = np.linalg.solve(self._sums.mean(0) + 1e-6 * np.eye(_COLUMNS), self._against.mean(0))
            own = np.linalg.solve(self._sums + np.diag(_PRIOR), (self._against - self._sums @ whole)[:, :, None])
            self._line = whole + own[:, :, 0]
