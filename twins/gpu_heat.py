"""The heat of GPUs: what part of a node's power one of them draws, and how much warmer than its inlet that makes it.

One of the GPUs of a node is at the node's inlet (``rack_heat.inlet_k``) plus a lag q, which relaxes on its own:

    dq/dt = (R w - q) / tau

with w watts of the GPU. Sensors read what a node draws and how busy its CPUs and GPUs are; the catalogue tells what
these draw at full load. A clock slows both alike, so of the watts above idle the GPUs' part follows from how busy both
are, whatever the clock. All GPUs of a node are taken to be alike; of a node that jobs share it is their mean.

References: Incropera and DeWitt 2002, Fundamentals of heat and mass transfer (lumped capacitance). Hsu and Feng 2005, A
power-aware run-time system for high-performance computing (utilisation and clock).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import MachineSpec

Floats = npt.NDArray[np.float64]

_UNIFORM: Final = 12.0**-0.5  # the deviation of what lies anywhere within a range, of the range


class Gpus(NamedTuple):
    """What is known of a machine's GPUs: R and tau, each unit's factor of R, and the noise of readings by their looks.

    ``noise_k`` goes with the model's ``looks_s``.
    """

    ln_k_per_w: float
    ln_tau_s: float
    factor: npt.NDArray[np.float32]
    factor_deviation: npt.NDArray[np.float32]
    noise_k: npt.NDArray[np.float32]


def full_share(machine: MachineSpec) -> float:
    """The GPUs' part of the watts above idle of a node whose CPUs and GPUs are equally busy."""
    full_w = machine.power.cpu_dyn_w + machine.power.gpu_dyn_w
    return machine.power.gpu_dyn_w / full_w if full_w else 0.0


def share(machine: MachineSpec, cpu_util: npt.NDArray[Any], gpu_util: npt.NDArray[Any]) -> Floats:
    """The GPUs' part of the watts above idle of nodes that are so busy; NaN where nothing is."""
    gpu_w = machine.power.gpu_dyn_w * np.asarray(gpu_util, np.float64)
    busy_w = machine.power.cpu_dyn_w * np.asarray(cpu_util, np.float64) + gpu_w
    return np.asarray(np.divide(gpu_w, busy_w, out=np.full(busy_w.shape, np.nan), where=busy_w > 0.0))


def one_w(machine: MachineSpec, node_w: npt.NDArray[Any], share: npt.NDArray[Any]) -> Floats:
    """Watts of one GPU of nodes that draw ``node_w``; where ``share`` is NaN it is that of full load."""
    power = machine.power
    part = np.where(np.isnan(share), full_share(machine), share)
    above_w = np.maximum(node_w - power.idle_w, 0.0)
    asleep = np.minimum(node_w / power.idle_w, 1.0)  # what draws less than an idle node has no GPUs that idle
    return np.asarray(power.gpu_idle_w * asleep + part * above_w / machine.gpus_per_node)


def unsure_w(machine: MachineSpec, node_w: npt.NDArray[Any]) -> Floats:
    """The deviation of what one GPU draws, where nobody knows how busy it is.

    The GPUs draw at least what the CPUs cannot, and at most what they can; between the two nothing is more likely.
    """
    power = machine.power
    above_w = np.maximum(node_w - power.idle_w, 0.0)
    least_w, most_w = np.maximum(above_w - power.cpu_dyn_w, 0.0), np.minimum(above_w, power.gpu_dyn_w)
    return np.asarray(np.maximum(most_w - least_w, 0.0) * _UNIFORM / machine.gpus_per_node)


def k_per_w(gpus: Gpus, factor: npt.NDArray[Any]) -> Floats:
    """R of units with these factors."""
    return np.asarray(np.exp(gpus.ln_k_per_w + factor.astype(np.float64)))


def left_of(gpus: Gpus, after_s: float | npt.NDArray[Any]) -> Any:
    """The share of a lag that is left after so many seconds."""
    return np.exp(-after_s / np.exp(gpus.ln_tau_s))


def published(machine: MachineSpec, spread: float, looks: int, noise_k: float) -> Gpus | None:
    """What is published of a machine's GPUs, all alike but for a deviation of ``spread`` of ln R; None without any."""
    thermal, units = machine.thermal, machine.units
    if thermal.gpu_k_per_w is None or thermal.gpu_tau_s is None:
        return None
    return Gpus(
        float(np.log(thermal.gpu_k_per_w)), float(np.log(thermal.gpu_tau_s)), np.zeros(units, np.float32),
        np.full(units, spread, np.float32), np.full(looks, noise_k, np.float32),
    )  # fmt: skip
