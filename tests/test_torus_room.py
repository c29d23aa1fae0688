"""A pass on a torus: the head of the queue is promised a block and gets one by then, whatever backfills meanwhile."""

import copy
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.engine.simulation import Simulation
from hpcsim.engine.site import Site
from hpcsim.engine.view import View
from hpcsim.machine.catalogue import load_machine
from hpcsim.machine.cluster import Cluster
from hpcsim.machine.service import Outage
from hpcsim.machine.torus import TorusBlocks
from hpcsim.plugin import Start
from hpcsim.results.check import check
from hpcsim.results.tables import attempts_table, jobs_table, timeline_table
from hpcsim.schedulers.backfilling import EASY, Hybrid
from hpcsim.schedulers.flux import Flux
from hpcsim.workload.behaviour import draw_behaviour
from hpcsim.workload.job import workload_from_columns

MIRA = load_machine("mira")


def workload(*jobs):
    """Jobs as (submit, runtime, midplanes, walltime)."""
    submit, runtime, midplanes, walltime = zip(*sorted(jobs), strict=True)
    return workload_from_columns(
        t0_utc=1_600_000_000, source="test", name=[f"j{i}" for i in range(len(jobs))], submit_s=submit,
        nodes=np.array(midplanes) * 512, walltime_s=walltime, runtime_s=runtime,
    )  # fmt: skip


def simulation(jobs, scheduler, **options):
    cluster = Cluster(MIRA, draw_behaviour(jobs, 1), policy="torus", start=0, **options)
    site = Site(cluster, jobs, overrun="kill", requeues=True, checkpointing=None)
    return Simulation(jobs, scheduler, nodes=49_152, site=site)


class Promises(EASY):
    """EASY that remembers what its heads were promised."""

    def __init__(self):
        super().__init__(EASY.Options())
        self.promised = {}

    def schedule(self, view):
        return super().schedule(Listening(view, self.promised))


class Listening:
    def __init__(self, view, promised):
        self._view, self._promised = view, promised

    def __getattr__(self, name):
        return getattr(self._view, name)

    def shadow(self, job, room):
        shadow = self._view.shadow(job, room)
        assert shadow.time >= self._view.now
        self._promised.setdefault(job.id, []).append(shadow.time)
        return shadow


sizes = st.sampled_from([1, 1, 1, 2, 4, 8, 16, 32, 48, 64, 96])
generated = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(1, 4000), sizes, st.integers(0, 3000)).map(
        lambda row: (row[0], row[1], row[2], row[1] + row[3])
    ),
    min_size=2,
    max_size=40,
)


@settings(deadline=None, max_examples=60)
@given(generated)
def test_the_head_starts_no_later_than_it_was_promised_and_promises_only_improve(rows):
    scheduler = Promises()
    sim = simulation(workload(*rows), scheduler)
    sim.run()
    tables = jobs_table(sim, np.ones(len(rows), bool)), attempts_table(sim)
    check(sim, *tables, timeline_table(sim))
    start_s = tables[0]["start_s"].to_pylist()
    for job_id, times in scheduler.promised.items():
        assert start_s[job_id] <= min(times)


def test_a_job_that_outlasts_the_promise_keeps_away_from_the_block_and_a_short_one_need_not():
    """One half runs to second 1000, and the other half's midplane rows to 500; the head needs all of a row."""
    machine = (0, 1000, 48, 1000)
    head = (1, 100, 64, 100)  # fits only when the first has ended
    short, long = (2, 900, 16, 900), (2, 2000, 16, 2000)
    for other, expected in ((short, 2), (long, 1000)):
        scheduler = Promises()
        sim = simulation(workload(machine, head, other), scheduler)
        sim.run()
        start_s = jobs_table(sim, np.ones(3, bool))["start_s"].to_pylist()
        assert start_s[1] == 1000
        assert scheduler.promised[1][0] == 1000
        if other is short:
            assert start_s[2] == expected
        else:  # either beside the promised block at once, or after the head has its block
            table = sim.site.cluster.places.blocks.table
            at = {row["job_id"]: row["units"] for row in attempts_table(sim).to_pylist()}
            blocks = {name: units_of(text) for name, text in at.items()}
            numbers = {name: table.number[np.array(units).tobytes()] for name, units in blocks.items()}
            assert start_s[2] >= 1000 or not table.conflict_BB[numbers["j1"], numbers["j2"]]


def units_of(text):
    ends = [part.split("-") for part in text.split(",")]
    return [unit for part in ends for unit in range(int(part[0]), int(part[-1]) + 1)]


def test_a_block_with_a_midplane_in_repair_is_promised_for_when_it_is_back():
    scheduler = Promises()
    jobs = workload((0, 10, 1, 10), (100, 50, 96, 50), (100, 90, 2, 90))
    sim = simulation(jobs, scheduler, outages=[Outage(50, 700, 1, "outage")])
    sim.run()
    assert scheduler.promised[1][0] == 700
    assert jobs_table(sim, np.ones(3, bool))["start_s"].to_pylist()[1:] == [700, 100]


class Takes:
    name = "takes"
    api = 1
    told: ClassVar = {}

    def schedule(self, view: View):
        room = view.room()
        for job in view.queue:
            if room.take(job):
                self.told[job.id] = room.chosen[job.id]
                yield Start(job)


def test_jobs_start_where_the_room_said():
    jobs = workload(*[(i // 3, 50 + 7 * i, size, 400) for i, size in enumerate([1, 16, 4, 32, 2, 8, 1, 24, 4, 16])])
    sim = simulation(jobs, Takes())
    sim.run()
    for row, units in zip(attempts_table(sim).to_pylist(), sim.site.units, strict=True):
        assert tuple(units.tolist()) == Takes.told[int(row["job_id"][1:])]


@settings(deadline=None, max_examples=30)
@given(st.lists(sizes, max_size=12), st.integers(0, 95), sizes)
def test_the_least_blocking_block_beside_one_that_is_kept_does_not_exclude_it(running, closed, wanted):
    blocks = TorusBlocks(MIRA.torus, MIRA.block_units)
    blocks.close(closed)
    for size in running:
        if (free := blocks.free_blocks(size)).size:
            blocks.start(int(free[0]))
    for kept in range(0, len(blocks.table.units), 37):
        found = blocks.least_blocking_beside(wanted, kept)
        allowed = [int(b) for b in blocks.free_blocks(wanted) if not blocks.table.conflict_BB[b, kept]]
        assert (found in allowed) if allowed else found == -1
    if blocks.free_blocks(wanted).size:
        assert blocks.least_blocking(wanted) == blocks.least_blocking_beside(wanted, -1)
    else:
        with pytest.raises(ValueError, match="free"):
            blocks.least_blocking(wanted)
    held = {unit for block in blocks.running for unit in blocks.table.units[block].tolist()} | {closed}
    assert set(np.flatnonzero(~blocks.open_U).tolist()) == held
    twin = copy.deepcopy(blocks)
    for block in list(twin.running):
        twin.end(block)
    assert set(np.flatnonzero(~blocks.open_U).tolist()) == held


@settings(deadline=None, max_examples=60)
@given(generated)
def test_one_reservation_is_easy_on_a_torus_as_well(rows):
    starts = []
    for scheduler in (
        EASY(EASY.Options()),
        Hybrid(Hybrid.Options(depth=1)),
        Flux(Flux.Options(queue_policy="easy", queue_depth=1000)),
    ):
        sim = simulation(workload(*rows), scheduler)
        sim.run()
        starts.append(jobs_table(sim, np.ones(len(rows), bool))["start_s"].to_pylist())
    assert starts[0] == starts[1] == starts[2]
