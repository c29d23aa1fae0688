"""What the network is told at the beginning of a slot: numbers without units, alike for machines of any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import Job, MachineSpec, View

from .deferring import Deferring
from .green import BLOCKS_AHEAD, SLOTS_AHEAD, Green

Floats32 = npt.NDArray[np.float32]

_SLACKS_H: Final = (0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 9.5)  # between the eight bins of slack
_ENDS_H: Final = (1, 2, 4, 8)
_HOUR_S: Final = 3600
_DAY_S: Final = 24 * _HOUR_S
_YEAR_S: Final = 365.2425 * _DAY_S

FEATURES: Final = (
    "green now", *(f"green in slot {k + 1}" for k in range(SLOTS_AHEAD)),
    *(f"green in span {k + 1}" for k in range(BLOCKS_AHEAD)), "sun", "surplus",
    "power", "overhead", "supply", "margin", "coldest", "normal", "warmest",
    "busy", "asleep", "down", *(f"ends within {h} h" for h in _ENDS_H),
    *(f"held nodes, slack {k}" for k in range(8)), *(f"held work, slack {k}" for k in range(8)),
    "waiting nodes", "waiting work", "startable",
    "hour sin", "hour cos", "year sin", "year cos", "share", "slack",
)  # fmt: skip


class Plant(NamedTuple):
    """The machine and its cooling as the options and the view tell: watts at full load, modes from cold to warm."""

    peak_w: float
    coldest: str
    normal: str
    warmest: str

    @property
    def modes(self) -> tuple[str, str, str]:
        """In the order of ``network.COOLING``."""
        return self.coldest, self.normal, self.warmest


def plant_of(view: View, machine: MachineSpec) -> Plant:
    """The plant of the view's machine; ``normal`` is the mode that changes the supply temperature the least."""
    power = machine.power
    node_w = power.idle_w + power.cpu_dyn_w + power.gpu_dyn_w
    now = view.power
    modes = now.cooling_modes
    return Plant(
        (view.nodes * node_w + power.fixed_w) * (1.0 + now.overhead),
        min(modes, key=lambda name: modes[name]),
        min(modes, key=lambda name: abs(modes[name])),
        max(modes, key=lambda name: modes[name]),
    )


class Slot(NamedTuple):
    """What there is to be decided in a slot: jobs held back, most urgent first, of which some could start now."""

    held: Sequence[Job]
    startable: Sequence[Job]
    waiting: Sequence[Job]

    @property
    def demand(self) -> int:
        """Nodes of the deferrable jobs that could start now."""
        return sum(job.nodes for job in self.startable)


def numbers(
    view: View, plant: Plant, signal: Green, slot: Slot, deferring: Deferring, margin_k: float | None,
    share: float, slack_s: int,
) -> Floats32:  # fmt: skip
    """The values of ``FEATURES`` now; ``margin_k`` is how far the hottest node is from being too warm, if known."""
    now, nodes, power = view.now, view.nodes, view.power
    green = signal.ahead(view, plant.peak_w)
    drawn = power.facility_w / plant.peak_w
    sun = signal.source == "solar"
    far = 1.0 if margin_k is None else min(margin_k / 20.0, 1.0)
    running = list(view.running.values())
    size = np.array([each.job.nodes for each in running], float)
    left_h = (np.array([each.expected_end for each in running], float) - now) / _HOUR_S
    held_nodes, held_work = np.zeros(8), np.zeros(8)
    for job in slot.held:
        place = int(np.searchsorted(_SLACKS_H, (deferring.latest_s(job) - now) / _HOUR_S, side="right"))
        held_nodes[place] += job.nodes
        held_work[place] += job.nodes * job.walltime / _HOUR_S
    waiting_nodes = sum(job.nodes for job in slot.waiting)
    waiting_work = sum(job.nodes * job.walltime for job in slot.waiting) / _HOUR_S
    day, year = 2 * np.pi * view.utc_s / _DAY_S, 2 * np.pi * view.utc_s / _YEAR_S
    values = np.concatenate([
        green, [sun, green[0] - drawn if sun else 0.0],
        [drawn, power.overhead, power.supply_c / 30.0, far],
        [power.cooling_mode == mode for mode in plant.modes],
        np.array([size.sum(), view.asleep_nodes, view.down_nodes, *(size[left_h <= h].sum() for h in _ENDS_H)]) / nodes,
        _squeezed(held_nodes / nodes), _squeezed(held_work / nodes),
        _squeezed(np.array([waiting_nodes, waiting_work, slot.demand]) / nodes),
        [np.sin(day), np.cos(day), np.sin(year), np.cos(year), share, slack_s / (12.0 * _HOUR_S)],
    ])  # fmt: skip
    told_F: Floats32 = np.clip(values, -2.0, 2.0).astype(np.float32)
    return told_F


def _squeezed(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Between 0 and 2, however long the queue: 1 for as much as the machine has, or does in an hour."""
    return 2.0 * x / (1.0 + x)
