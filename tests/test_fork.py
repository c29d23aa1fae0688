"""A fork goes on exactly as its parent does, and neither sees what becomes of the other."""

import copy
import statistics
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.engine.agenda import Agenda
from hpcsim.engine.decisions import Hold, Kill, Preempt, SetCap, SetCooling, SetSpeed, Sleep, Wake
from hpcsim.engine.simulation import Simulation
from hpcsim.errors import SchedulerError
from hpcsim.machine.history import PAGE, History
from hpcsim.plugin.loader import load_plugins
from hpcsim.results.energy import energy_summary, power_curve, power_table
from hpcsim.results.tables import attempts_table, interrupts_table, jobs_table, timeline_table
from hpcsim.scenario import build, physics
from hpcsim.scenario.load import load_scenario
from hpcsim.schedulers.backfilling import EASY
from hpcsim.workload.job import workload_from_columns

PLUGINS = load_plugins()


class Restless(EASY):
    """EASY that pulls every lever now and then, as its random stream says, and remembers what it did."""

    name = "restless"

    def __init__(self, levers):
        super().__init__(EASY.Options())
        self.needs = {"preemption", "speed", "sleep", "power"} if levers else {"preemption"}
        self.levers = levers
        self.done = []

    def schedule(self, view):
        started = list(super().schedule(view))
        yield from started
        running = [each.job for each in view.running.values() if not view.preemptable(each.job)]
        chance = view.rng.random(8)
        if chance[0] < 0.05:
            yield Hold(view.now + 1 + int(3000 * chance[1]))
        if running and chance[2] < 0.08:
            job = running[int(chance[3] * len(running))]
            yield Preempt(job) if chance[2] < 0.05 else Kill(job)
        elif self.levers and running and chance[2] < 0.2:
            yield SetSpeed(running[int(chance[3] * len(running))], 0.6 + 0.4 * float(chance[4]))
        if self.levers and chance[5] < 0.05:
            yield SetCap(None if chance[6] < 0.3 else view.power.facility_w * (0.9 + 0.2 * float(chance[6])))
        if self.levers and chance[5] > 0.95:
            yield SetCooling(list(view.power.cooling_modes)[int(chance[6] * len(view.power.cooling_modes))])
        if self.levers and view.asleep_nodes and not view.running:
            yield Wake(view.asleep_nodes)  # the next job may need all of them
        elif self.levers and chance[7] < 0.1 and view.asleep_nodes:
            yield Wake(1)
        elif self.levers and chance[7] > 0.9 and view.free_nodes > 40 and not started:
            yield Sleep(1)
        self.done.append(view.now)


def simulation(name, overrides, scheduler=None, workload=None):
    """A simulation of a packaged scenario, not yet run, on a machine that fails all the time."""
    loaded = load_scenario(name, overrides, schedulers=PLUGINS.schedulers, twins=PLUGINS.twins)
    jobs = build.load_workload(loaded) if workload is None else workload
    spec = physics.machine_spec(loaded, PLUGINS.machines)
    nodes = loaded.scenario.machine.nodes
    if spec is not None:
        troubled = replace(spec.failures, mean_gap_h=2.0, outage_mean_gap_d=1.0, maintenance_every_d=1)
        spec = replace(spec, failures=replace(troubled, maintenance_median_h=2.0, hot_above_c=40.0))
        jobs = physics.in_places(jobs, spec, loaded.scenario.physics.processors)
    if scheduler is None:
        scheduler = build.make_scheduler(loaded, PLUGINS.schedulers[loaded.scenario.scheduler.name])
    twins = build.make_twins(loaded, PLUGINS.twins)
    return build.make_simulation(loaded, build.cut(loaded, jobs, nodes), nodes, scheduler, twins, spec)


def left_behind(sim):
    """All that results are made of, of a simulation as it is now."""
    made = [jobs_table(sim, np.ones(len(sim.workload), bool)), attempts_table(sim), timeline_table(sim)]
    if sim.site is not None:
        curve = power_curve(sim, sim.site)
        made += [interrupts_table(sim.site), power_table(curve)]
        made.append(energy_summary(sim, sim.site, curve, work_node_hours=1.0, ended=1))
    return [*made, sim.now, sim.ledger.busy_node_seconds, sim.scheduler_rng.bit_generator.state]


CASES = {
    "counted": ("polaris", {"physics": None, "jobs": 120}),
    "everything": ("polaris", {"jobs": 150}),
    "a tight cap": ("polaris", {"jobs": 120, "physics.cap_kw": 1100, "physics.queues": False}),
    "seldom passes": ("polaris", {"jobs": 120, "pass_interval": 600, "launch_latency": 20}),
    "lost jobs": ("polaris", {"jobs": 120, "physics.on_failure": "lose", "physics.checkpoint": None}),
    "coolest": ("cooley", {"jobs": 150, "physics.placement": "coolest"}),
    "torus": ("mira", {"jobs": 100, "physics.placement": "torus"}),
    "shared nodes": ("polaris", {"jobs": 150, "physics.processors": "cores", "physics.queues": False}),
    "conservative": ("theta", {"jobs": 100, "scheduler": "conservative"}),
}


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(sorted(CASES)), st.integers(1, 10**6), st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_a_fork_leaves_behind_the_bytes_of_the_uninterrupted_run(case, seed, part, later, restless):
    name, overrides = CASES[case]

    def make():
        levers = overrides.get("physics", True) is not None
        return simulation(name, overrides | {"seed": seed}, Restless(levers) if restless else None)

    whole = make()
    whole.run()
    parent = make()
    at = parent.start + round(part * (whole.now - parent.start))
    parent.run(at)
    before = left_behind(parent.fork())
    fork = parent.fork()
    fork.run(at + round(later * (whole.now - at)))
    second = fork.fork()
    second.run()
    fork.run()
    assert left_behind(parent.fork()) == before  # what became of the forks has not touched the parent
    parent.run()
    assert left_behind(second) == left_behind(fork) == left_behind(parent) == left_behind(whole)
    if restless:
        assert second.scheduler.done == whole.scheduler.done


class Diary(Agenda):
    """Writes down in which order things happen."""

    def _arrive(self, event):
        self._simulation.diary.append((self.env.now, "arrival"))
        super()._arrive(event)

    def _end(self, event):
        job_id, generation = event.value
        if self.ends.get(job_id, (0, 0, 0))[1] == generation:
            self._simulation.diary.append((self.env.now, job_id))
        super()._end(event)


def counted(rows, make=lambda: EASY(EASY.Options())):
    submit, runtime, nodes = zip(*rows, strict=True)
    jobs = workload_from_columns(
        t0_utc=0, source="test", name=[f"j{i}" for i in range(len(rows))], submit_s=submit, nodes=nodes,
        walltime_s=runtime, runtime_s=runtime,
    )  # fmt: skip
    return Simulation(jobs, make(), nodes=8)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9), st.integers(1, 4)), min_size=1, max_size=25),
    st.integers(1, 40),
    st.integers(1, 9),
)
def test_what_happens_in_one_second_happens_in_the_same_order_in_a_fork(rows, at, later):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hpcsim.engine.simulation.Agenda", Diary)
        parent = counted(sorted(rows))
    parent.diary = []
    parent.run(at)
    fork = parent.fork()
    fork.diary = parent.diary.copy()
    fork.run(at + later)
    second = fork.fork()
    second.diary = fork.diary.copy()
    for each in (parent, fork, second):
        each.run()
    assert parent.diary == fork.diary == second.diary
    assert [happened for _, happened in parent.diary].count("arrival") == len({row[0] for row in rows})
    assert len(parent.diary) == len({row[0] for row in rows}) + len(rows)


def test_a_copy_of_a_history_shares_pages_until_one_of_the_two_changes_them():
    history = History(number="q", what="O")

    def add(history, *rows):
        for row in rows:
            for column, value in zip(history.to_append(), row, strict=True):
                column.append(value)

    add(history, *((number, str(number)) for number in range(2 * PAGE + 5)))
    twin = copy.copy(history)
    add(history, (-1, "history"))
    add(twin, (-2, "twin"), (-3, "twin"))
    columns, at = twin.to_change(3)
    columns[0][at] = -4
    was = list(range(2 * PAGE + 5))
    assert history.column("number").tolist() == [*was, -1]
    assert twin.column("number").tolist() == [*was[:3], -4, *was[4:], -2, -3]
    assert twin.objects("what")[-3:] == [str(was[-1]), "twin", "twin"]
    assert (len(history), len(twin)) == (len(was) + 1, len(was) + 2)
    assert history._pages[1] is twin._pages[1]
    assert len({id(each._pages[0]) for each in (history, twin)}) == 2


@pytest.mark.parametrize("overrides", [{"physics": None}, {"physics.queues": False}])
def test_with_500_running_jobs_a_fork_goes_on_as_its_parent_does(overrides):
    jobs, rng = 900, np.random.default_rng(1)
    walltime_s = rng.integers(3600, 6 * 3600, jobs)
    busy = workload_from_columns(
        t0_utc=1_700_000_000,
        source="busy",
        name=[f"j{number}" for number in range(jobs)],
        submit_s=np.sort(rng.integers(0, 9000, jobs)),
        nodes=np.ones(jobs, np.int64),
        walltime_s=walltime_s,
        runtime_s=(walltime_s * rng.uniform(0.6, 1.0, jobs)).astype(np.int64),
    )
    sim = simulation("polaris", overrides, workload=busy)
    while len(sim.running) < 500:
        sim.run(sim.now + 60)
    twin = sim.fork()
    twin.run()
    made = left_behind(twin)
    sim.run()
    assert left_behind(sim) == made


def test_a_fork_costs_the_same_whatever_the_past():
    def cost_s(past):
        rows = [(0, 1, 1)] * past + [(past, 10_000, 1)] * 8
        sim = counted(rows)
        sim.run(past + 1)
        assert len(sim.attempts) == past + 8
        took = []
        for _ in range(25):
            began = time.process_time()
            sim.fork()
            took.append(time.process_time() - began)
        return statistics.median(took)

    assert cost_s(60_000) < 3 * cost_s(600)


def test_a_scheduler_is_copied_with_all_that_it_remembers_and_finds_the_forks_own_view():
    class Remembers(EASY):
        def __init__(self):
            super().__init__(EASY.Options())
            self.seen = {}

        def schedule(self, view):
            self.view, self.rng = view, view.rng
            self.seen[view.now] = len(view.queue)
            return super().schedule(view)

    parent = counted([(0, 5, 8), (1, 5, 8), (9, 5, 8)], Remembers)
    parent.run(3)
    fork = parent.fork()
    assert fork.scheduler.view is fork._view
    assert fork.scheduler.rng is fork.scheduler_rng is not parent.scheduler_rng
    fork.run()
    assert [*parent.scheduler.seen] == [0, 1]
    assert [*fork.scheduler.seen] == [0, 1, 5, 9, 10]


def test_a_scheduler_that_cannot_be_copied_is_named():
    parent = counted([(0, 5, 8), (1, 5, 8)])
    parent.scheduler.lock = threading.Lock()
    with pytest.raises(SchedulerError, match="easy cannot be copied for a fork: TypeError: cannot pickle"):
        parent.fork()
