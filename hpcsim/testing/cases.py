"""The small simulations that the checks run: generated jobs on machines of several sizes, and the truth about them.

Everything is drawn from fixed seeds. There are jobs of one node up to all of them and a few larger ones, many in the
same second, some that take no time at all, some that run beyond their walltime, and a few that wait for others. What
only the trace would know stands apart as a ``Truth``, so that a case can be run again with another one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hpcsim.engine.sampling import sensors_for
from hpcsim.engine.scheduler import Scheduler
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.site import Site
from hpcsim.machine.cluster import Cluster
from hpcsim.machine.facility import Facility
from hpcsim.machine.failures import FailureProcess
from hpcsim.machine.queue_rules import Period, Pool, Queue
from hpcsim.machine.queues import Admission, QueueRules
from hpcsim.machine.series import StepSeries, default_carbon, default_price
from hpcsim.machine.service import Outage
from hpcsim.machine.shares import Shares, in_parts
from hpcsim.machine.solar import SolarPlant
from hpcsim.machine.spec import CoolingSpec, FailureSpec, MachineSpec, PowerSpec, ThermalSpec
from hpcsim.machine.telemetry import WatchedHeat
from hpcsim.streams import stream
from hpcsim.testing.stand_ins import STAND_INS
from hpcsim.workload.behaviour import Behaviour
from hpcsim.workload.job import COMPLETED, FAILED, Workload, workload_from_columns

Int64s = npt.NDArray[np.int64]
Int8s = npt.NDArray[np.int8]

HOUR_S = 3_600
_T0_UTC = 1_700_000_000
_TURN_S = 2 * HOUR_S  # when other queue rules come into force


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What no scheduler may know about J jobs, and about the failures to come.

    ``moved_from``: the machine's failures after this second come at other times than those that were drawn first.
    """

    runtime_J: Int64s  # s
    outcome_J: Int8s
    recorded_start_J: Int64s  # s
    behaviour: Behaviour
    moved_from: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A simulation to be made: its machine, its jobs and the truth about them.

    ``make_site`` is None where nodes are only counted. ``settings`` are of ``Simulation``.
    """

    name: str
    nodes: int
    workload: Workload
    truth: Truth
    make_site: Callable[[Workload, Truth], Site] | None = None
    queues: QueueRules | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def simulation(
        self, scheduler: Scheduler, truth: Truth | None = None, twins: Mapping[str, Any] | None = None
    ) -> Simulation:
        """The simulation under ``scheduler``, by default with the case's own truth and with twins that are simple."""
        truth = self.truth if truth is None else truth
        twins = STAND_INS if twins is None else twins
        workload = _told(self.workload, truth)
        site = None if self.make_site is None else self.make_site(workload, truth)
        if site is not None:
            site.sensors = sensors_for(twins, site.cluster, truth.behaviour, seed=7, start=0)
        return Simulation(
            workload,
            scheduler,
            nodes=self.nodes,
            seed=7,
            twins=twins,
            site=site,
            admission=None
            if self.queues is None
            else Admission(self.queues, _T0_UTC, nodes=self.nodes, over_limit="hold"),
            **self.settings,
        )


def _told(workload: Workload, truth: Truth) -> Workload:
    """The workload with this truth in its hidden columns."""
    table = workload.table
    for name, values in (
        ("runtime_s", truth.runtime_J),
        ("outcome", truth.outcome_J),
        ("recorded_start_s", truth.recorded_start_J),
    ):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), pa.array(values))
    return replace(workload, table=table)


# -- jobs -----------------------------------------------------------------------------------------


def generated(
    seed: int, jobs: int, sizes: Int64s, *, span_s: int, queues: tuple[str, ...] = ("",), parts: bool = False
) -> tuple[Workload, Truth]:
    """So many jobs of these sizes (nodes), submitted within ``span_s`` seconds, and the truth about them."""
    rng = np.random.default_rng(seed)
    submit = np.sort(rng.integers(0, span_s, jobs))
    submit[1::3] = submit[0::3][: len(submit[1::3])]  # ties, many of them
    submit.sort()
    nodes = rng.choice(sizes, jobs)
    runtime = np.exp(rng.uniform(0.0, np.log(HOUR_S), jobs)).astype(np.int64)
    walltime = np.maximum(1, (runtime * rng.choice([1.0, 1.5, 4.0], jobs)).astype(np.int64))
    walltime[rng.random(jobs) < 0.2] = 900  # what is rounded by people
    runtime[rng.random(jobs) < 0.05] = 0
    over = rng.random(jobs) < 0.1
    runtime[over] = walltime[over] * 5 // 4
    asks: dict[str, Any] = {}
    if parts:
        shares = rng.random(jobs) < 0.6
        nodes = np.where(shares, 1, nodes)
        asks = {
            "cores": np.where(shares, rng.integers(1, 6, jobs), 0),
            "gpus": np.where(shares, rng.integers(0, 2, jobs), 0),
        }
    workload = workload_from_columns(
        t0_utc=_T0_UTC,
        source="generated for a check",
        name=[f"j{number}" for number in range(jobs)],
        submit_s=submit,
        nodes=nodes,
        walltime_s=walltime,
        runtime_s=runtime,
        user=[f"user{number}" for number in rng.integers(0, 6, jobs)],
        project=[f"project{number}" for number in rng.integers(0, 3, jobs)],
        queue=[queues[number] for number in rng.integers(0, len(queues), jobs)],
        after=[[int(rng.integers(0, i))] if i and rng.random() < 0.04 else None for i in range(jobs)],
        **asks,
    )
    truth = Truth(
        runtime_J=runtime,
        outcome_J=np.where(rng.random(jobs) < 0.2, FAILED, COMPLETED).astype(np.int8),
        recorded_start_J=np.where(rng.random(jobs) < 0.9, submit + rng.integers(0, HOUR_S, jobs), -1),
        behaviour=Behaviour(*(rng.random(jobs) for _ in range(4))),
    )
    return workload, truth


def _sizes(nodes: int) -> Int64s:
    """Small jobs mostly, up to all nodes, and now and then one that no machine of this size can hold."""
    small = np.arange(1, nodes + 1)
    return np.concatenate([np.repeat(small[: max(1, nodes // 4)], 4), small, [nodes, nodes, nodes + 1]])


# -- machines -------------------------------------------------------------------------------------

NODES = 16

MACHINE = MachineSpec(
    name="the machine of the checks",
    nodes=NODES,
    unit_nodes=1,
    racks=4,
    units_per_rack=4,
    racks_per_group=2,
    cores_per_node=8,
    gpus_per_node=2,
    memory_gib=64.0,
    power=PowerSpec(idle_w=300.0, cpu_dyn_w=200.0, gpu_dyn_w=600.0, gpu_idle_w=50.0, sleep_s=60, wake_s=120),
    thermal=ThermalSpec(
        supply_c=24.0, supply_season_k=2.0, supply_day_k=1.0, node_k_per_w=0.03, node_j_per_k=17_500.0,
        gpu_k_per_w=0.1, gpu_tau_s=45.0, coupling_w_per_k=2.0, recirculation=0.07,
    ),
    failures=FailureSpec(
        mean_gap_h=0.4, weibull_shape=0.8, repair_median_h=0.25, repair_sigma=0.5, recurrence_delay_d=0.1,
        blast=((1, 0.7), (4, 0.3)),
    ),
    cooling=CoolingSpec(kind="air"),
)  # fmt: skip

TORUS = replace(MACHINE, nodes=NODES * 32, unit_nodes=32, torus=(2, 2, 2, 2), block_units=(1, 2, 4, 8, 16))


@cache
def _surroundings() -> tuple[StepSeries, StepSeries, SolarPlant]:
    """What facilities share: the grid's carbon and price, and a plant of the site's own."""
    return default_carbon(_T0_UTC), default_price(_T0_UTC), SolarPlant(2.0, _T0_UTC, 10, 3)


def _site(workload: Workload, truth: Truth, spec: MachineSpec = MACHINE, **more: Any) -> Site:
    """A machine with all that can be seen and controlled."""
    carbon, price, solar = _surroundings()
    heat = WatchedHeat(
        spec.thermal,
        units=spec.units,
        units_per_rack=spec.units_per_rack,
        now=0,
        supply_c=spec.thermal.supply_c,
        node_w=spec.power.idle_w,
        gpu_w=spec.power.gpu_idle_w,
        rng=stream(3, "heat: resistances"),
    )
    cluster = Cluster(
        spec,
        truth.behaviour,
        policy="packed" if spec.torus is None else "torus",
        start=0,
        heat=heat,
        supply_c=lambda now: spec.thermal.supply_c,
        shares=Shares.of(workload, spec),
        **more,
    )
    facility = Facility(spec, _T0_UTC, carbon=carbon, price=price, solar=solar)
    return Site(cluster, workload, overrun="trace", requeues=True, checkpointing=None, facility=facility)


@cache
def _failures() -> FailureProcess:
    failures = MACHINE.failures
    return FailureProcess(failures, units=MACHINE.units, units_per_rack=MACHINE.units_per_rack, seed=3, start=0)


def _failing(workload: Workload, truth: Truth) -> Site:
    """Nodes fail every half an hour or so; after ``truth.moved_from`` at other times than were drawn first."""
    failures, second = copy.deepcopy(_failures()), truth.moved_from
    if second is not None:
        rng = np.random.default_rng(second % 2**32)
        drawn, failures._coming = sorted(failures._coming), []
        for each in drawn:
            later_s = each.time - second
            moved_s = later_s if later_s <= 0 else 1 + int(later_s * rng.uniform(0.1, 3.0))
            failures._push(each._replace(time=second + moved_s))
    return _site(workload, truth, failures=failures)


def _maintained(workload: Workload, truth: Truth) -> Site:
    """Maintenance twice, an hour and then half an hour, which schedulers are told of."""
    windows = [(2 * HOUR_S, 3 * HOUR_S), (5 * HOUR_S, 11 * HOUR_S // 2)]
    return _site(workload, truth, outages=[Outage(*window, MACHINE.units, "maintenance") for window in windows])


def _on_torus(workload: Workload, truth: Truth) -> Site:
    return _site(workload, truth, TORUS)


def _queue(name: str, most: int, **more: Any) -> Queue:
    return Queue(name, (1, most), (0, 24 * HOUR_S), **more)


_QUEUES = ("all", "debug", "spare", "urgent")


def _rules() -> QueueRules:
    """A queue with nodes of its own, one whose jobs may be stopped, one whose jobs may stop them; other pools later."""

    def period(start_s: int, pool: Pool) -> Period:
        queues = (
            _queue("all", NODES - 4),
            _queue("debug", 4, pool=pool),
            _queue("spare", 6, preemptable=True),
            _queue("urgent", 6, may_preempt=("spare",)),
        )
        return Period(_T0_UTC + start_s, {queue.name: queue for queue in queues}, ("all",))

    return QueueRules("of the checks", (period(0, Pool(2, 2)), period(_TURN_S, Pool(4, 0))))


# -- the cases ------------------------------------------------------------------------------------


@cache
def counted_cases() -> tuple[Case, ...]:
    """Machines that only count nodes."""
    made = []
    sizes: tuple[tuple[int, int, dict[str, Any]], ...] = (
        (1, 40, {}),
        (5, 100, {"overrun": "kill"}),
        (16, 150, {"launch_latency": 5}),
        (64, 240, {"pass_interval": 30}),
    )
    for seed, (nodes, jobs, settings) in enumerate(sizes):
        workload, truth = generated(seed, jobs, _sizes(nodes), span_s=3 * HOUR_S)
        made.append(Case(f"a machine of {nodes} node{'s' * (nodes > 1)}", nodes, workload, truth, settings=settings))
    return tuple(made)


@cache
def failing_case() -> Case:
    """Nodes fail and are repaired."""
    workload, truth = generated(11, 100, _sizes(NODES), span_s=4 * HOUR_S)
    return Case("a machine whose nodes fail", NODES, workload, truth, _failing)


@cache
def maintained_case() -> Case:
    """Maintenance is scheduled."""
    workload, truth = generated(12, 110, _sizes(NODES), span_s=5 * HOUR_S)
    return Case("a machine with maintenance", NODES, workload, truth, _maintained)


@cache
def pooled_case() -> Case:
    """Queues have nodes and rights of their own."""
    workload, truth = generated(13, 150, np.arange(1, 7), span_s=4 * HOUR_S, queues=_QUEUES)
    return Case("a machine with node pools", NODES, workload, truth, _site, _rules())


@cache
def torus_case() -> Case:
    """A job needs a free block of the torus."""
    sizes = TORUS.unit_nodes * np.array([1, 1, 1, 2, 2, 4, 4, 8, 16])
    workload, truth = generated(14, 140, sizes, span_s=4 * HOUR_S)
    return Case("a torus", TORUS.nodes, workload, truth, _on_torus)


@cache
def shared_case() -> Case:
    """Jobs share nodes."""
    workload, truth = generated(15, 160, np.array([1, 1, 2, 4, 8]), span_s=2 * HOUR_S, parts=True)
    return Case("a machine whose nodes are shared", NODES, in_parts(workload, MACHINE), truth, _site)


def machine_cases() -> tuple[Case, ...]:
    """Machines with places, each with one more thing to heed."""
    return failing_case(), maintained_case(), pooled_case(), torus_case(), shared_case()


@cache
def stream_case() -> Case:
    """More one-node jobs than a machine of 8 nodes can keep up with, for hours; among them a wide and a long one."""
    jobs = 900
    submit = 10 * np.arange(jobs)
    nodes, walltime = np.ones(jobs, np.int64), np.full(jobs, 100)
    nodes[WIDE], walltime[LONG] = 8, 1_000
    start = _served(submit, nodes, walltime)
    workload = workload_from_columns(
        t0_utc=_T0_UTC,
        source="generated for a check",
        name=[{WIDE: "the wide job", LONG: "the long job"}.get(number, f"j{number}") for number in range(jobs)],
        submit_s=submit,
        nodes=nodes,
        walltime_s=walltime,
        runtime_s=walltime,
        user=[f"user{number % 7}" for number in range(jobs)],
    )
    still = Behaviour(*(np.full(jobs, 0.5) for _ in range(4)))
    truth = Truth(walltime, np.full(jobs, COMPLETED, np.int8), start, still)
    return Case("a stream of short jobs", 8, workload, truth)


def _served(submit: Int64s, nodes: Int64s, walltime: Int64s) -> Int64s:
    """When each job starts on 8 nodes if they are served strictly in their order: a record that can be followed."""
    free_from, before, start = [0] * 8, 0, []
    for at, count, length in zip(submit.tolist(), nodes.tolist(), walltime.tolist(), strict=True):
        free_from.sort()
        before = max(at, before, free_from[count - 1])
        free_from[:count] = [before + length] * count
        start.append(before)
    return np.array(start, np.int64)


WIDE, LONG = 20, 40  # their ids in ``stream_case``


def crowd(jobs: int) -> Case:
    """So many jobs that all wait from the first second on, on a machine of 513 nodes.

    Each needs an even number of them, so that one node is always free, and no scheduler is done at once.
    """
    rng = np.random.default_rng(5)
    workload = workload_from_columns(
        t0_utc=_T0_UTC,
        source="generated for a check",
        name=[f"j{number}" for number in range(jobs)],
        submit_s=np.zeros(jobs, np.int64),
        nodes=2 * np.exp(rng.uniform(0.0, np.log(256.0), jobs)).astype(np.int64),
        walltime_s=rng.integers(60, 24 * HOUR_S, jobs),
        runtime_s=rng.integers(60, 24 * HOUR_S, jobs),
        user=[f"user{number}" for number in rng.integers(0, 50, jobs)],
    )
    still = Behaviour(*(np.full(jobs, 0.5) for _ in range(4)))
    truth = Truth(workload.column("runtime_s"), np.full(jobs, COMPLETED, np.int8), np.full(jobs, -1), still)
    return Case(f"{jobs:,} waiting jobs", 513, workload, truth)


def on_machine(case: Case) -> Case:
    """The same jobs on a machine with places and power, as many nodes as before."""
    spec = replace(MACHINE, nodes=case.nodes, racks=-(-case.nodes // MACHINE.units_per_rack))
    return replace(case, make_site=lambda workload, truth: _site(workload, truth, spec))
