"""Laws that hold whatever happens: a simulation is played with, its nodes are renamed, or it begins later."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hpcsim.engine.attempts import FUTURE, REJECTED
from hpcsim.engine.decisions import Hold, Kill, Preempt, SetSpeed, Sleep, Start, Wake
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.site import Site
from hpcsim.machine.catalogue import load_machine
from hpcsim.machine.checkpoint import Checkpointing
from hpcsim.machine.cluster import Cluster
from hpcsim.machine.service import Outage
from hpcsim.plugin.loader import load_plugins
from hpcsim.results.check import check
from hpcsim.results.energy import power_curve, power_table
from hpcsim.results.tables import attempts_table, interrupts_table, jobs_table, timeline_table
from hpcsim.scenario import build
from hpcsim.scenario.load import load_scenario
from hpcsim.schedulers.backfilling import EASY, Conservative, Hybrid
from hpcsim.workload.behaviour import draw_behaviour
from hpcsim.workload.job import workload_from_columns

COOLEY = load_machine("cooley")
NODES = COOLEY.nodes
PLUGINS = load_plugins()


def workload(rows, after=None):
    """Jobs as (submit, runtime, nodes[, walltime])."""
    submit, runtime, nodes, walltime = zip(*[(*row, row[1])[:4] for row in rows], strict=True)
    return workload_from_columns(
        t0_utc=1_700_000_000, source="test", name=[f"j{i}" for i in range(len(rows))], submit_s=submit,
        nodes=nodes, walltime_s=walltime, runtime_s=runtime, after=after,
    )  # fmt: skip


def tables(simulation):
    jobs = jobs_table(simulation, np.ones(len(simulation.workload), bool))
    return jobs, attempts_table(simulation), timeline_table(simulation)


# -- a simulation that is played with -------------------------------------------------------------


class Finishing(EASY):
    """EASY that wakes all nodes as soon as anybody waits: it can go on from whatever others have made of a run."""

    name = "finishing"

    def __init__(self, levers):
        super().__init__(EASY.Options())
        self.needs = {"preemption", "speed", "sleep"} if levers else {"preemption"}
        self.levers = levers

    def schedule(self, view):
        if self.levers and view.asleep_nodes:
            yield Wake(view.asleep_nodes)
        yield from super().schedule(view)


@st.composite
def played(draw):
    """Jobs, some of which wait for others or are larger than the machine, and outages of part of it."""
    row = st.tuples(st.integers(0, 5000), st.integers(1, 4000), st.integers(1, NODES + 1), st.integers(1, 4000))
    rows = sorted(draw(st.lists(row, min_size=1, max_size=12)))
    after = [draw(st.none() | st.lists(st.integers(0, i - 1), max_size=2)) if i else None for i in range(len(rows))]
    outage = st.tuples(st.integers(1, 9000), st.integers(1, 2000), st.integers(1, NODES) | st.just(NODES))
    outages = [
        Outage(at, at + lasts, units, "outage") for at, lasts, units in sorted(draw(st.lists(outage, max_size=3)))
    ]
    return workload(rows, after), outages


class Played(RuleBasedStateMachine):
    """Starts, stops, slows and forks jobs, lets nodes sleep and time pass, as chance will, on nodes that fail."""

    @initialize(given=played(), placed=st.booleans(), saves=st.booleans(), latency_s=st.sampled_from([0, 7]))
    def begin(self, given, placed, saves, latency_s):
        jobs, outages = given
        site = None
        if placed:
            cluster = Cluster(COOLEY, draw_behaviour(jobs, 1), policy="packed", start=0, outages=outages)
            saving = Checkpointing(600, 60) if saves else None
            site = Site(cluster, jobs, overrun="trace", requeues=True, checkpointing=saving)
        self.sim = Simulation(jobs, Finishing(placed), nodes=NODES, site=site, launch_latency=latency_s)
        self.forks = []
        self.view = self.sim.advance()

    def decide(self, *decisions):
        self.sim.decide(decisions)

    def see_to_another_pass(self):
        """A pass that others have made is not the last while jobs wait."""
        if self.view is not None and self.view.queue:
            self.decide(Hold(self.view.now + 1))

    def one_of_running(self, number):
        running = [each.job for each in self.view.running.values()]
        return running[number % len(running)] if running else None

    in_a_pass = precondition(lambda self: self.view is not None)

    @in_a_pass
    @rule(number=st.integers(0, 99), speed=st.sampled_from([1.0, 1.0, 0.7]))
    def start(self, number, speed):
        fitting = [job for job in self.view.queue if job.nodes <= self.view.free_nodes]
        if fitting:
            job = fitting[number % len(fitting)]
            self.decide(Start(job) if self.sim.site is None else Start(job, speed=speed))

    @in_a_pass
    @rule(number=st.integers(0, 99), kind=st.sampled_from([Kill, Preempt, Preempt]))
    def stop(self, number, kind):
        job = self.one_of_running(number)
        if job is not None:
            self.decide(kind(job))

    @in_a_pass
    @rule(number=st.integers(0, 99), speed=st.sampled_from([0.6, 0.85, 1.0]))
    def slow(self, number, speed):
        job = self.one_of_running(number)
        if job is not None and self.sim.site is not None:
            self.decide(SetSpeed(job, speed))

    @in_a_pass
    @rule(share=st.floats(0.01, 1.0), wakes=st.booleans())
    def sleep(self, share, wakes):
        if self.sim.site is None:
            return
        nodes = int(share * (self.view.asleep_nodes if wakes else self.view.free_nodes))
        if nodes:
            self.decide(Wake(nodes) if wakes else Sleep(nodes))

    @in_a_pass
    @rule(seconds=st.integers(1, 3000))
    def leave_the_next_pass_open(self, seconds):
        if self.view.queue:
            self.decide(Hold(self.view.now + seconds))
        self.view = self.sim.advance()

    @rule(seconds=st.integers(1, 3000))
    def leave_it_to_the_scheduler(self, seconds):
        self.see_to_another_pass()
        self.view = None
        self.sim.run(self.sim.now + seconds)

    @precondition(lambda self: self.view is None and not self.sim.is_over)
    @rule()
    def take_over_again(self):
        self.view = self.sim.advance()

    @precondition(lambda self: len(self.forks) < 2)
    @rule()
    def fork(self):
        self.see_to_another_pass()
        at_once, kept = self.sim.fork(), self.sim.fork()
        at_once.run()
        self.forks.append((tables(at_once), kept))

    @invariant()
    def every_job_is_in_one_place(self):
        sim = self.sim
        waiting, running = {job.id for job in sim.waiting}, {*sim.running}
        assert not waiting & running
        open_jobs = {job_id for job_id in range(sim.arrived) if sim.state[job_id] >= FUTURE}
        assert waiting | running == open_jobs
        assert sim.ledger.jobs == len(open_jobs)

    @invariant()
    def every_node_has_one_job_at_most(self):
        sim = self.sim
        busy = sum(job.nodes for job, *_ in sim.running.values())
        assert sim.ledger.busy_nodes == busy
        assert all(start >= job.submit for job, start, _ in sim.running.values())
        if sim.site is None:
            assert sim.free_nodes == NODES - busy
            return
        units = [execution.units for execution in sim.site.cluster.executions.values()]
        held = np.concatenate([*units, np.zeros(0, np.int64)])
        assert np.unique(held).size == held.size == busy
        assert sum(sim.site.cluster.meter.nodes_in.values()) == NODES
        assert sim.free_nodes == sim.site.cluster.meter.nodes_in["idle"]

    def teardown(self):
        if not hasattr(self, "sim"):
            return
        self.see_to_another_pass()
        last = self.sim.fork()
        self.sim.run()
        last.run()
        made = tables(self.sim)
        assert made == tables(last)
        check(self.sim, *made)
        assert self.sim.is_over
        assert max(self.sim.state) <= REJECTED
        for at_once, kept in self.forks:
            kept.run()
            assert tables(kept) == at_once  # whatever became of its parent meanwhile
            check(kept, *tables(kept))


Played.TestCase.settings = settings(deadline=None, max_examples=40, stateful_step_count=25)
TestPlayed = Played.TestCase


# -- promises -------------------------------------------------------------------------------------


def placed_once(rows, nodes):
    """Where each job has its place in a plan to which jobs are added as they come, and in which none is ever moved."""
    plan, starts = [], []
    for submit, runtime, wanted in rows:
        for start in sorted({submit, *(end for _, end, _ in plan if end > submit)}):
            changes = {start, *(begin for begin, *_ in plan if start < begin < start + runtime)}
            taken = (sum(n for begin, end, n in plan if begin <= second < end) for second in changes)
            if max(taken) + wanted <= nodes:
                break
        plan.append((start, start + runtime, wanted))
        starts.append(start)
    return starts


exact_rows = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 40), st.integers(1, 16)), min_size=1, max_size=30
).map(sorted)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(
    exact_rows,
    st.sampled_from([lambda: Conservative(Conservative.Options()), lambda: Hybrid(Hybrid.Options(depth=99))]),
)
def test_with_exact_walltimes_conservative_starts_each_job_when_it_promised_it_at_its_submission(rows, scheduler):
    simulation = Simulation(workload(rows), scheduler(), nodes=16)
    simulation.run()
    starts = dict(zip(simulation.attempts.job.tolist(), simulation.attempts.start.tolist(), strict=True))
    assert [starts[i] for i in range(len(rows))] == placed_once(rows, 16)


# -- other names ----------------------------------------------------------------------------------


class OnUnits(EASY):
    """EASY on the free units that are first in an order of its own."""

    name = "on-units"
    needs = frozenset({"places"})

    def __init__(self, order_U):
        super().__init__(EASY.Options())
        self.order_U = order_U  # the unit at each place of the order
        self.place_U = np.argsort(order_U)

    def schedule(self, view):
        free = np.sort(self.place_U[view.free_units(view.room())])
        for start in super().schedule(view):
            mine, free = free[: start.job.nodes], free[start.job.nodes :]
            yield Start(start.job, start.why, 1.0, tuple(np.sort(self.order_U[mine]).tolist()))


machine_rows = st.lists(
    st.tuples(st.integers(0, 20_000), st.integers(1, 9000), st.integers(1, NODES), st.integers(1, 9000)),
    min_size=1, max_size=20,
).map(sorted)  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(machine_rows, st.permutations(range(NODES)), st.integers(0, 99))
def test_nodes_under_other_names_run_the_same_schedule(rows, order, seed):
    """Nodes differ in speed, and a scheduler chooses them; without racks and heat nobody minds how they are called."""
    jobs = workload(rows)
    slower = 1.0 + 0.1 * np.random.default_rng(seed).random(NODES)
    left = []
    for order_U in (np.arange(NODES), np.array(order)):
        class_U = np.empty(NODES)
        class_U[order_U] = slower  # the same nodes, called otherwise
        cluster = Cluster(COOLEY, draw_behaviour(jobs, 1), policy="packed", start=0, class_U=class_U)
        site = Site(cluster, jobs, overrun="trace", requeues=True, checkpointing=None)
        simulation = Simulation(jobs, OnUnits(order_U), nodes=NODES, site=site)
        simulation.run()
        made = tables(simulation)
        check(simulation, *made)
        units = [np.sort(np.argsort(order_U)[each]).tolist() for each in site.units]
        left.append(
            (made[0], made[1].drop_columns(["units"]), made[2], units, power_table(power_curve(simulation, site)))
        )
    assert left[0] == left[1]


# -- another time ---------------------------------------------------------------------------------


def later(jobs, shift_s):
    """The same jobs at the same hours, for a clock that was set to 0 earlier."""
    place = jobs.table.column_names.index("submit_s")
    submit_s = pa.array(jobs.column("submit_s") + shift_s)
    table = jobs.table.set_column(place, jobs.table.schema.field("submit_s"), submit_s)
    return replace(jobs, table=table, t0_utc=jobs.t0_utc - shift_s)


TIMES = ("submit_s", "eligible_s", "start_s", "end_s", "time_s", "until_s")


def earlier(table, shift_s):
    """A table whose seconds count from so much later."""
    columns = {}
    for name in table.column_names:
        column = table.column(name)
        columns[name] = pa.compute.subtract(column, shift_s) if name in TIMES else column
    return pa.table(columns)


@settings(deadline=None, max_examples=6)
@given(
    st.sampled_from(["polaris", "cooley", "mira"]),
    st.integers(1, 1000),
    st.integers(1, 400),  # simulated seconds count from 0
    st.sampled_from(["easy", "conservative"]),
)
def test_whole_days_later_is_the_same_run_later(machine, seed, days, scheduler):
    """Weather, prices and maintenance keep to their hours; all else knows no time but that since the start."""
    loaded = load_scenario(
        machine, {"jobs": 60, "seed": seed, "scheduler": scheduler}, schedulers=PLUGINS.schedulers, twins=PLUGINS.twins
    )
    jobs, spec, nodes = build.jobs_and_machine(loaded, (), PLUGINS.machines)
    spec = replace(spec, failures=replace(spec.failures, mean_gap_h=5.0, outage_mean_gap_d=2.0, maintenance_every_d=1))
    left = []
    for shift_s in (0, 86_400 * days):
        piece = build.cut(loaded, later(jobs, shift_s), nodes)
        simulation = build.make_simulation(
            loaded, piece, nodes, build.make_scheduler(loaded, PLUGINS.schedulers[scheduler]), {}, spec
        )
        simulation.run()
        made = tables(simulation)
        check(simulation, *made)
        made = *made, interrupts_table(simulation.site), power_table(power_curve(simulation, simulation.site))
        left.append([earlier(table, shift_s) for table in made])
    for before, after in zip(*left, strict=True):
        assert before == after
