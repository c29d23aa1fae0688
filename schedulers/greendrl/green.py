"""What is green and when: the sun where the site has a plant, else the grid's carbon intensity or price, on one scale."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import View

Floats = npt.NDArray[np.float64]
Source = Literal["solar", "carbon", "price"]

SLOTS_AHEAD: Final = 24
BLOCKS_AHEAD: Final = 6
HORIZON_S: Final = 24 * 3600


def ahead(view: View, source: Source, slot_s: int, peak_w: float) -> Floats:
    """Now, each of the next 24 slots, and six equal spans from then until a day ahead.

    The sun's watts are shares of ``peak_w``, what the facility draws with all nodes at full load; carbon intensity and
    price are how far below the mean of the next day they are, as a share of it (negative: above).
    """
    signal = {"solar": lambda: view.solar, "carbon": lambda: view.carbon, "price": lambda: view.price}[source]()
    series = signal.forecast(HORIZON_S)
    near_s = SLOTS_AHEAD * slot_s
    edges = np.concatenate([np.arange(SLOTS_AHEAD) * slot_s, np.linspace(near_s, HORIZON_S, BLOCKS_AHEAD + 1)])
    edges = view.now + edges
    mean = series.integral(edges[:-1], edges[1:]) / np.diff(edges)
    values = np.append(signal.now, mean)
    if source == "solar":
        return np.asarray(values / peak_w)
    day = series.integral(view.now, view.now + HORIZON_S) / HORIZON_S
    return np.asarray(1.0 - values / day if day > 0 else np.zeros_like(values))
