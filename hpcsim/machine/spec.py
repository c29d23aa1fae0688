"""The facts of a machine: plain frozen values, all physics is elsewhere.

A *unit* is what is allocated: one node on most machines, a midplane of 512 nodes on Blue Gene/Q. Watts are those
of one node at the rack input, conversion losses included, unless a name says otherwise. Values are made by
``hpcsim.machine.catalogue``, which also checks that they are physical; these classes check nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PowerSpec:
    """Power of one node: ``idle_w + cpu_dyn_w * u_cpu + gpu_dyn_w * u_gpu`` at full speed, in wall watts.

    ``fixed_w`` is drawn once per machine (switches, coolant distribution). Lower speed multiplies the dynamic part by
    ``speed ** speed_exponent``. The conversion chain of a node, to split losses off the wall watts: DC/DC of the node,
    in = (out + ``node_loss_w``) / ``node_efficiency``, behind one rectifier for ``nodes_per_rectifier`` nodes of the
    same form.
    """

    idle_w: float
    cpu_dyn_w: float
    gpu_dyn_w: float
    gpu_idle_w: float = 0.0  # one idle GPU, contained in idle_w
    fixed_w: float = 0.0
    speed_exponent: float = 2.0
    least_speed: float = 0.5
    sleep_w: float = 20.0
    sleep_s: int = 120
    wake_s: int = 450
    wake_w: float | None = None  # None: idle_w
    node_loss_w: float = 13.0
    node_efficiency: float = 0.98
    rectifier_loss_w: float = 17.0
    rectifier_efficiency: float = 0.96
    nodes_per_rectifier: int = 4


@dataclass(frozen=True, slots=True)
class ThermalSpec:
    """Heat of one node: resistance and capacity against its local inlet, and what differs between nodes."""

    supply_c: float  # mean over the year
    supply_season_k: float  # yearly amplitude
    supply_day_k: float  # daily amplitude
    node_k_per_w: float
    node_j_per_k: float
    gpu_k_per_w: float | None = None  # one GPU against the node's local inlet, per watt of one GPU
    gpu_tau_s: float | None = None
    coupling_w_per_k: float = 0.0  # conductance between neighbours in a rack, a chain
    recirculation: float = 0.0  # share of a rack's heat that returns to its own inlets
    node_spread: float = 0.10  # sigma of ln(resistance) between nodes
    rack_spread: float = 0.04  # sigma of ln(resistance) between racks
    cpu_throttle_c: float = 80.0
    gpu_throttle_c: float = 85.0
    margin_k: float = 3.0
    node_shutdown_c: float = 95.0
    gpu_shutdown_c: float = 92.0


@dataclass(frozen=True, slots=True)
class FailureSpec:
    """Hardware failures of the whole machine, whole-system outages, and scheduled maintenance."""

    mean_gap_h: float  # between hardware failures anywhere in the machine, at reference temperature
    weibull_shape: float
    repair_median_h: float
    repair_sigma: float
    recurrence: float = 0.25  # probability that a failure repeats at the same place
    recurrence_delay_d: float = 3.0  # mean
    blast: tuple[tuple[int, float], ...] = ((1, 1.0),)  # (neighbouring units that go down together, probability)
    q10: float = 1.2  # factor of the hazard for 10 K more
    hot_above_c: float = 50.0  # q10 applies above
    spatial_spread: float = 0.5  # sigma of ln(hidden proneness) between places
    outage_mean_gap_d: float | None = None  # whole-system outages; None: none
    outage_median_h: float = 2.6
    outage_sigma: float = 0.8
    maintenance_every_d: int | None = None  # None: none
    maintenance_weekday: int = 0  # 0 is Monday
    maintenance_start_utc_h: float = 14.0
    maintenance_median_h: float = 10.8
    maintenance_sigma: float = 0.3


@dataclass(frozen=True, slots=True)
class CoolingSpec:
    """The plant: ``kind`` is "air" (CRAC units) or "dlc" (direct liquid cooling, free cooling when it is cold)."""

    kind: str
    fixed_fraction: float = 0.03  # pumps, fans, lights, as a share of IT power
    modes: tuple[tuple[str, float], ...] = (("normal", 0.0), ("cold", -4.0), ("warm", 4.0))  # change of supply, K
    chiller_cop: float = 5.0
    free_cop: float = 20.0
    free_below_k: float = 6.0  # free cooling where wet bulb < supply - free_below_k
    wet_bulb_mean_c: float = 7.0
    wet_bulb_season_k: float = 12.0
    wet_bulb_day_k: float = 3.0


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """A machine. Units are numbered in the order of racks: unit u lies in rack ``u // units_per_rack``."""

    name: str
    nodes: int
    unit_nodes: int
    racks: int
    units_per_rack: int
    racks_per_group: int | None  # dragonfly groups; None: no groups
    cores_per_node: int
    gpus_per_node: int
    memory_gib: float  # per node
    power: PowerSpec
    thermal: ThermalSpec
    failures: FailureSpec
    cooling: CoolingSpec
    torus: tuple[int, int, int, int] | None = None  # units along A, B, C, D (Blue Gene/Q)
    block_units: tuple[int, ...] | None = None  # existing block sizes, in units
    queues: str | None = None  # name of the built-in queue rules
    class_spread: float = 0.02  # sigma of the hidden performance classes of nodes
    communication: float = 0.05  # worst slow-down of a job spread over the whole machine

    @property
    def units(self) -> int:
        """What can be allocated: ``nodes / unit_nodes``."""
        return self.nodes // self.unit_nodes
