"""What is believed of each node, or of its GPUs, while a run goes on: by how much its R is another, and how surely.

A Kalman filter corrects both with each reading, and intervals get wider or narrower so that 90 % hold.

Reference: Gibbs and Candès 2021, Adaptive conformal inference under distribution shift.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from .thermal_certainty import WITHIN

Float32s = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

_MOST_WRONG: Final = 4.0  # deviations by which a reading may correct what is believed
_PACE: Final = 0.05  # by which intervals get wider or narrower with each reading
_MISSED: Final = 0.1


class Belief(NamedTuple):
    """Of U units the factor of ln R and its variance; by how much intervals are stretched; how readings were foretold.

    ``foretold`` counts readings, ``error_k`` sums their errors, ``held`` counts those in intervals. ``compared`` says
    whether it is certain by now that these are the units that were learned, or others.
    """

    factor: Float32s
    variance: Float32s
    stretch: float = 1.0
    foretold: int = 0
    error_k: float = 0.0
    held: int = 0
    compared: bool = False

    def recognised(self, error_k: Float32s, factor_k: Float32s, spread: float) -> tuple[Belief, Float32s]:
        """What is believed in the light of the first readings, and their errors then.

        Where these would be smaller if all units were alike, it begins with such, as unsure as units differ.
        """
        if self.compared:
            return self, error_k
        alike_k = error_k + factor_k * self.factor
        if np.median(np.abs(alike_k)) >= np.median(np.abs(error_k)):
            return self._replace(compared=True), error_k
        nobody = np.zeros_like(self.factor), np.full_like(self.variance, spread**2)
        return Belief(*nobody, compared=True), alike_k

    def corrected(
        self, error_k: Float32s, factor_k: Float32s, layer_deviation_k: Float32s | float, noise_k: float, same: Bools
    ) -> Belief:
        """After readings that were so much above what was foretold; only units that did the ``same`` teach anything.

        ``factor_k`` is what the prediction changes by with the factor, ``layer_deviation_k`` its further deviation.
        """
        noise_k = noise_k * self.stretch
        variance_k2 = self.variance * factor_k**2 + layer_deviation_k**2 + noise_k**2
        gain = np.where(same, self.variance * factor_k / variance_k2, 0.0)
        most_k = _MOST_WRONG * np.sqrt(variance_k2)
        after = self._replace(
            factor=(self.factor + gain * np.clip(error_k, -most_k, most_k)).astype(np.float32),
            variance=(self.variance * (1.0 - gain * factor_k)).astype(np.float32),
        )
        if not same.any():
            return after
        held = np.abs(error_k[same]) <= WITHIN * np.sqrt(variance_k2[same])
        return after._replace(
            stretch=self.stretch * float(np.exp(_PACE * (1.0 - float(held.mean()) - _MISSED))),
            foretold=self.foretold + held.size,
            held=self.held + int(held.sum()),
            error_k=self.error_k + float(np.abs(error_k[same]).sum(dtype=np.float64)),
        )

    def report(self, prefix: str = "") -> dict[str, float | None]:
        """How readings were foretold, each name after a ``prefix``."""
        if not self.foretold:
            return {f"{prefix}foretold": 0, **dict.fromkeys((f"{prefix}{each}" for each in _TOLD), None)}
        told = self.error_k / self.foretold, self.held / self.foretold, self.stretch
        return {f"{prefix}foretold": self.foretold} | {
            f"{prefix}{name}": value for name, value in zip(_TOLD, told, strict=True)
        }


_TOLD: Final = ("mae_k", "held_90", "stretch")
