"""What is green and when: the sun where the site has a plant, else the grid's carbon intensity or price."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import Signal, View

Floats = npt.NDArray[np.float64]
Source = Literal["solar", "carbon", "price"]

SLOTS_AHEAD: Final = 24
BLOCKS_AHEAD: Final = 6
DAY_S: Final = 24 * 3600
_HOUR_S: Final = 3600


class Green:
    """The signal of one ``source``, with its forecast, which is asked for once an hour: so often does it change."""

    def __init__(self, source: Source, slot_s: int) -> None:
        self.source = source
        near_s = SLOTS_AHEAD * slot_s
        spans_s = np.linspace(near_s, max(DAY_S, near_s + BLOCKS_AHEAD * slot_s), BLOCKS_AHEAD + 1)
        self._edges_s = np.concatenate([np.arange(SLOTS_AHEAD) * slot_s, spans_s])
        self._hour = -1

    def ahead(self, view: View, peak_w: float) -> Floats:
        """Now, each of the next 24 slots, and six equal spans from then until a day ahead.

        The sun's watts are shares of ``peak_w``, what the facility draws with all nodes at full load; carbon intensity
        and price are how far below the mean of the next day they are, as a share of it (negative: above).
        """
        now, signal = view.now, self._signal(view)
        if now // _HOUR_S != self._hour:
            self._hour, self._series = now // _HOUR_S, signal.forecast(DAY_S)
        edges = now + self._edges_s
        mean = self._series.integral(edges[:-1], edges[1:]) / np.diff(edges)
        values = np.append(signal.now, mean)
        if self.source == "solar":
            return np.asarray(values / peak_w)
        day = self._series.integral(now, now + DAY_S) / DAY_S
        return np.asarray(1.0 - values / day if day > 0 else np.zeros_like(values))

    def _signal(self, view: View) -> Signal:
        if self.source == "solar":
            return view.solar
        return view.carbon if self.source == "carbon" else view.price
