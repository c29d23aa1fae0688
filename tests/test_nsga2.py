"""The scheduler nsga2: plans against the profile and brute force, budgets, heads and their promises, and its levers."""

from collections import Counter
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hpcsim
from hpcsim.engine.availability import Profile
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.site import Site
from hpcsim.engine.twins import Prediction
from hpcsim.errors import InputError
from hpcsim.machine.catalogue import load_machine
from hpcsim.machine.cluster import Cluster
from hpcsim.machine.service import Outage
from hpcsim.results.tables import jobs_table
from hpcsim.schedulers.backfilling import EASY
from hpcsim.schedulers.evolution import evolve
from hpcsim.schedulers.nsga2 import NSGA2
from hpcsim.schedulers.nsga2_window import Beliefs, Window, list_schedule
from hpcsim.workload.behaviour import draw_behaviour
from hpcsim.workload.job import workload_from_columns
from hpcsim.workload.trace import read_trace

NODES = 12


def nsga2(**options):
    return NSGA2(NSGA2.Options(**options))


def workload(*jobs):
    """Jobs as (submit, runtime, nodes, walltime), in any order."""
    submit, runtime, nodes, walltime = zip(*sorted(jobs), strict=True)
    return workload_from_columns(
        t0_utc=0, source="test", name=[f"j{i}" for i in range(len(jobs))], submit_s=submit,
        nodes=nodes, walltime_s=walltime, runtime_s=runtime,
    )  # fmt: skip


def simulated(jobs, scheduler, nodes=NODES, **options):
    simulation = Simulation(jobs, scheduler, nodes=nodes, overrun="kill", **options)
    simulation.run()
    return simulation


def starts(simulation):
    start = np.full(len(simulation.workload), -1)
    start[np.array(simulation.attempts.job)] = np.array(simulation.attempts.start)
    return start.tolist()


def plain(nodes, waited, runtime):
    """Beliefs of J jobs of which nothing but their request is known."""
    runtime_J = np.array(runtime, np.float64)
    none_JL = np.zeros((len(nodes), 1))
    return Beliefs(np.array(nodes), np.array(waited), runtime_J, runtime_J[:, None], none_JL, none_JL, 1.0)


# -- plans ----------------------------------------------------------------------------------------

profiles = st.lists(st.tuples(st.integers(1, 30), st.integers(0, NODES)), max_size=10).map(
    lambda steps: ([0, *sorted({at for at, _ in steps})], [free for _, free in steps])
)


@st.composite
def placings(draw):
    times, free = draw(profiles)
    free = [draw(st.integers(0, NODES)) for _ in times[1:]] + [NODES]
    jobs = st.lists(st.tuples(st.integers(1, NODES), st.integers(1, 20)), min_size=4, max_size=4)
    return np.array(times), np.array(free), draw(st.lists(jobs, min_size=1, max_size=5))


@given(placings())
def test_all_individuals_get_the_places_that_the_profile_gives_one_after_the_other(placing):
    times, free, individuals = placing
    found_WP = list_schedule(times, free, *(np.array(individuals).transpose(2, 1, 0)))
    for individual, found in zip(individuals, found_WP.T.tolist(), strict=True):
        assert placed(times, free, individual) == found


def placed(times, free, jobs):
    """The starts of jobs as (nodes, span), by reservations in a profile."""
    profile = Profile(0, 0)
    profile._times, profile._free = times.tolist(), free.tolist()
    found = []
    for nodes, span in jobs:
        start = profile.earliest(int(nodes), int(span))
        profile.reserve(start, int(span), int(nodes))
        found.append(start)
    return found


def small_window(rng, jobs, levels=1):
    """A window of random jobs, and what any plan of it costs, counted second by second."""
    times = np.array([0, *sorted(rng.choice(np.arange(1, 40), 3, replace=False))])
    free = np.array([*sorted(rng.integers(0, NODES, 3)), NODES])
    nodes, waited, walltime = rng.integers(1, NODES, jobs), rng.integers(0, 50, jobs), rng.integers(5, 40, jobs)
    speeds = np.array([1.0, 0.5])[:levels]
    spans = np.ceil(walltime[:, None] / speeds).astype(int)
    runtimes = walltime[:, None] * (1 + 0.5 * (1 / speeds - 1))
    active, loss = 3.0 * nodes[:, None] * runtimes * speeds**2, 0.01 * nodes[:, None] * runtimes**2
    beliefs = Beliefs(nodes, waited, walltime.astype(float), runtimes, active, loss, idle_w=0.5)

    def cost(order, level):
        at = placed(times, free, [(nodes[j], spans[j, level[j]]) for j in order])
        start = dict(zip(order, at, strict=True))
        run = {j: runtimes[j, level[j]] for j in order}
        slowdown = [max(1, (waited[j] + start[j] + run[j]) / max(walltime[j], 10)) for j in order]
        last = max(start[j] + run[j] for j in order)
        idle = sum(
            free[i] * max(0, min(last, end) - begin)
            for i, (begin, end) in enumerate(zip(times, [*times[1:], last], strict=True))
        ) - sum(nodes[j] * run[j] for j in order)
        values = [np.mean(slowdown), 0.5 * idle + sum(active[j, level[j]] for j in order)]
        return (*values, sum(loss[j, level[j]] for j in order)) if levels > 1 else tuple(values)

    return Window(times, free, spans, 0, beliefs), cost


@pytest.mark.parametrize(("jobs", "levels"), [(2, 1), (4, 1), (5, 1), (6, 1), (3, 2)])
def test_the_front_of_a_small_window_is_the_true_one(jobs, levels):
    """Brute force over all orders and speeds, job by job, knows it; the search finds a part of it, and its ends."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        window, cost = small_window(rng, jobs, levels)
        choices = product(permutations(range(jobs)), product(range(levels), repeat=jobs))
        values = np.array(sorted({tuple(np.round(cost(*choice), 6)) for choice in choices}))
        better = (values[:, None] <= values).all(axis=2) & (values[:, None] < values).any(axis=2)
        true_front = {tuple(row) for row in values[~better.any(axis=0)]}
        every = np.round(window.evaluate(window.every_genome()), 6)
        assert {tuple(row) for row in every} == {tuple(row) for row in values}
        found = evolve(window.evaluate, window.some_genomes(40, rng), window.vary, 2000, rng).values_PM
        found = {tuple(row) for row in np.round(found, 6)}
        assert found <= true_front
        assert np.min([*found], axis=0).tolist() == values.min(axis=0).tolist()


def test_children_are_orders_and_speeds_again():
    rng = np.random.default_rng(1)
    window, _ = small_window(rng, 5, levels=2)
    parents = window.some_genomes(200, rng)
    children = window.vary(parents, window.some_genomes(200, rng), rng)
    assert (np.sort(children[:, :5], axis=1) == np.arange(5)).all()
    assert set(np.unique(children[:, 5:])) == {0, 1}
    assert not (children == parents).all()


# -- whole simulations ----------------------------------------------------------------------------


@pytest.mark.parametrize("trace", ["sdsc5k", "kth", "lublin256", "syn-ties", "syn-exact-ties", "syn-load"])
def test_without_evaluations_it_is_easy(data, trace):
    jobs = read_trace(data / "oracles" / f"{trace}.swf.gz").first(2000)
    for order in ("fcfs", "saf"):
        easy = EASY(EASY.Options(order=order))
        schedulers = (nsga2(evaluations=0, order=order), easy)
        mine, other = (Simulation(jobs, each, nodes=jobs.machine_nodes) for each in schedulers)
        mine.run()
        other.run()
        assert starts(mine) == starts(other)


generated = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 40), st.integers(1, NODES), st.integers(0, 20)).map(
        lambda row: (row[0], row[1], row[2], row[1] + row[3])
    ),
    min_size=2,
    max_size=25,
)


class Promising(NSGA2):
    """Notes what the first job of the queue was promised."""

    def __init__(self, **options):
        super().__init__(NSGA2.Options(**options))
        self.promised = []

    def schedule(self, view):
        first, room = view.queue[0], view.room()
        if not room.take(first):
            self.promised.append((first.id, view.shadow(first, room).time))
        return super().schedule(view)


@settings(deadline=None, max_examples=80)
@given(generated, st.sampled_from([0, 60]), st.sampled_from([3, 32]), st.sampled_from([0, 30, 10**6]))
def test_the_first_job_starts_no_later_than_it_was_ever_promised(rows, interval, window, pin_after):
    scheduler = Promising(interval=interval, window=window, pin_after=pin_after, evaluations=200)
    started = starts(simulated(workload(*rows), scheduler))
    assert all(started[job_id] <= promise for job_id, promise in scheduler.promised)


midplanes = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(1, 4000), st.sampled_from([1, 1, 2, 4, 8, 16, 32, 64, 96])).map(
        lambda row: (row[0], row[1], row[2] * 512, row[1] + 500)
    ),
    min_size=2,
    max_size=30,
)


@settings(deadline=None, max_examples=40)
@given(midplanes)
def test_on_a_torus_the_first_job_gets_its_block_no_later_than_it_was_promised(rows):
    jobs = workload(*rows)
    mira = load_machine("mira")
    cluster = Cluster(mira, draw_behaviour(jobs, 1), policy="torus", start=0)
    site = Site(cluster, jobs, overrun="kill", requeues=True, checkpointing=None)
    scheduler = Promising(interval=0, evaluations=100)
    started = starts(simulated(jobs, scheduler, mira.nodes, site=site))
    assert all(started[job_id] <= promise for job_id, promise in scheduler.promised)


@settings(deadline=None, max_examples=40)
@given(generated)
def test_a_run_repeats_itself(rows):
    one, other = (starts(simulated(workload(*rows), nsga2(interval=0, evaluations=120))) for _ in range(2))
    assert one == other


class Counted:
    """Counts how many plans each pass evaluates, by the second of the pass."""

    def __init__(self, monkeypatch):
        self.evaluated = Counter()
        self.now = None
        evaluate, schedule = Window.evaluate, NSGA2.schedule

        def counting(window, genomes):
            self.evaluated[self.now] += len(genomes)
            return evaluate(window, genomes)

        def at(scheduler, view):
            self.now = view.now
            return schedule(scheduler, view)

        monkeypatch.setattr(Window, "evaluate", counting)
        monkeypatch.setattr(NSGA2, "schedule", at)


def crowd(jobs, seed=1, nodes=NODES, last_submit=400):
    rng = np.random.default_rng(seed)
    runtime = rng.integers(5, 200, jobs)
    return workload(
        *zip(
            rng.integers(0, last_submit, jobs).tolist(), runtime.tolist(), rng.integers(1, nodes, jobs).tolist(),
            (runtime + rng.integers(0, 100, jobs)).tolist(), strict=True,
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "most"), [({}, 2000), ({"evaluations": 300}, 300), ({"preset": "full"}, 3600)], ids=str
)
def test_no_pass_looks_at_more_plans_than_its_budget(monkeypatch, options, most):
    counted = Counted(monkeypatch)
    simulated(crowd(60), nsga2(**options))
    assert 0.9 * most <= max(counted.evaluated.values()) <= most


def test_the_full_preset_evolves_60_plans_for_60_generations():
    full = NSGA2.Options(preset="full")
    assert (full.population, full.evaluations, full.patience) == (60, 3600, None)
    assert NSGA2.Options(preset="full", population=20).population == 20


def test_two_optimisations_are_at_least_an_interval_apart(monkeypatch):
    counted = Counted(monkeypatch)
    simulated(crowd(60), nsga2())
    seconds = sorted(counted.evaluated)
    assert len(seconds) > 5
    assert min(np.diff(seconds)) >= 60


def test_nothing_is_evaluated_while_nothing_could_start_or_all_can(monkeypatch):
    counted = Counted(monkeypatch)
    blocked = [(0, 1000, NODES, 1000), *((at, 10, 3, 10) for at in range(100, 900, 80))]
    simulated(workload(*blocked), nsga2())
    assert min(counted.evaluated, default=1000) >= 1000
    counted.evaluated.clear()
    simulated(workload((0, 50, 2, 50), (0, 20, 3, 20), (0, 30, 4, 30)), nsga2())
    assert not counted.evaluated


def test_jobs_that_have_waited_for_too_long_come_before_younger_ones():
    """Behind a head that waits for the whole machine, a large job is overtaken by short ones, unless it is pinned."""
    long, blockers, head, large = (0, 1000, 1, 1000), (0, 100, 11, 100), (1, 10, NODES, 10), (2, 50, 11, 50)
    jobs = workload(long, blockers, head, large, *((11 + at, 45, 6, 45) for at in range(20)))
    younger_first = starts(simulated(jobs, nsga2(weights=(1, 0, 0))))
    pinned = starts(simulated(jobs, nsga2(weights=(1, 0, 0), pin_after=90)))
    assert younger_first[2] == pinned[2] == 1000
    assert younger_first[3] > 500
    assert pinned[3] == 100


def test_the_first_job_starts_when_it_fits_and_the_others_in_a_better_order():
    """At second 10 the second job starts; of the three behind, on what it leaves, the shortest is best for all."""
    jobs = workload((0, 10, 12, 10), (1, 25, 4, 25), (2, 1000, 8, 1000), (3, 20, 8, 20), (4, 1000, 10, 1000))
    assert starts(simulated(jobs, EASY(EASY.Options()))) == [0, 10, 10, 1010, 1030]
    assert starts(simulated(jobs, nsga2(weights=(1, 0, 0)))) == [0, 10, 30, 10, 1030]


@pytest.mark.parametrize("scenario", ["polaris", "mira", "theta", "cooley"])
def test_the_laws_hold_on_every_machine_with_its_queues_and_maintenance(scenario):
    quick = {"days": 2, "scheduler": {"name": "nsga2", "speeds": [1, 0.8], "evaluations": 200}}
    hpcsim.simulate(scenario, quick, check=True)


# -- levers and beliefs ---------------------------------------------------------------------------

SPEC = replace(
    load_machine("cooley"), name="tiny", nodes=NODES, racks=3, units_per_rack=4, class_spread=0.0, communication=0.0
)


def on_a_machine(jobs, scheduler, twins=None, outages=()):
    cluster = Cluster(SPEC, draw_behaviour(jobs, 1), policy="packed", start=0, outages=outages)
    site = Site(cluster, jobs, overrun="kill", requeues=True, checkpointing=None)
    simulation = Simulation(jobs, scheduler, nodes=NODES, overrun="kill", site=site, twins=twins or {})
    simulation.run()
    return simulation


SPEEDS = (1.0, 0.8, 0.6)


def runtimes(simulation):
    return np.array(simulation.attempts.end) - np.array(simulation.attempts.start)


def test_speeds_are_chosen_by_weights():
    jobs = crowd(40)
    fast = on_a_machine(jobs, nsga2(speeds=SPEEDS, weights=(1, 0, 0)))
    frugal = on_a_machine(jobs, nsga2(speeds=SPEEDS, weights=(0, 1, 0), beta=0.1))
    safe = on_a_machine(jobs, nsga2(speeds=SPEEDS, weights=(0, 0, 1)))
    assert sum(frugal.site.joules) < sum(fast.site.joules)
    assert runtimes(frugal).sum() > runtimes(fast).sum()
    assert runtimes(safe).sum() <= runtimes(fast).sum()  # to be exposed for the shortest time


def test_speeds_are_a_need_and_one_speed_is_none(tmp_path):
    assert nsga2().needs == frozenset()
    assert nsga2(speeds=SPEEDS).needs == {"speed"}
    slow = {"scheduler": {"name": "nsga2", "speeds": [1, 0.8]}, "profile": "polaris", "machine.nodes": 560, "jobs": 5}
    with pytest.raises(InputError, match="speed"):
        hpcsim.simulate("bare", slow)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"speeds": (0.8, 1.0)}, "begin with 1"), ({"weights": (0, 0, 0)}, "not all 0"), ({"weights": (1, -1, 0)}, "not")],
)
def test_options_that_make_no_sense_are_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        NSGA2.Options(**wrong)


class Says:
    """A twin that says what it is told to."""

    api = 1

    def __init__(self, answers, say):
        self.name, self.answers, self.asked = f"says-{answers}", answers, 0
        setattr(self, answers, self.answer)
        self.say = say

    def answer(self, about, *more):
        self.asked += 1
        mean = np.array([float(self.say(each, *more)) for each in about])
        return Prediction(mean, np.zeros(len(mean)), np.zeros(len(mean)))


def test_twins_are_asked_and_believed():
    """Two jobs of equal walltime, of which a twin knows which is the short one; slow is dear if a twin says so."""
    jobs = workload((0, 10, 12, 10), (1, 10, 4, 10), (2, 90, 8, 100), (3, 5, 8, 100))
    assert starts(simulated(jobs, nsga2(weights=(1, 0, 0)))) == [0, 10, 10, 100]
    knows = Says("performance", lambda job, view: 5 if job.id == 3 else 90)
    assert starts(simulated(jobs, nsga2(weights=(1, 0, 0)), twins={"performance": knows})) == [0, 10, 15, 10]
    crowded = crowd(30)
    dear = Says("energy", lambda job, speeds, view: job.nodes * job.walltime / min(speeds) ** 4)
    thrifty = nsga2(speeds=SPEEDS, weights=(0, 1, 0), beta=0.1)
    slow = on_a_machine(crowded, thrifty)
    fast = on_a_machine(crowded, nsga2(speeds=SPEEDS, weights=(0, 1, 0), beta=0.1), {"energy": dear})
    assert dear.asked
    assert runtimes(fast).sum() < runtimes(slow).sum()
    doomed = Says("fault", lambda unit, horizon_s, view: 0.5)
    on_a_machine(crowded, nsga2(speeds=SPEEDS), {"fault": doomed})
    assert doomed.asked


def test_no_job_is_slowed_into_maintenance():
    """At half speed a job of 100 s takes up to 200: it starts at full speed where only 150 are left."""
    jobs = workload(*[(0, 100, 6, 100)] * 4)
    frugal = {"speeds": (1.0, 0.5), "weights": (0, 1, 0), "beta": 0.0}
    free = on_a_machine(jobs, nsga2(**frugal))
    assert runtimes(free).max() > 100
    pressed = on_a_machine(jobs, nsga2(**frugal), outages=[Outage(150, 250, NODES, "maintenance")])
    assert runtimes(pressed)[:2].tolist() == [100, 100]
    assert starts(pressed)[:2] == [0, 0]
    assert min(starts(pressed)[2:]) >= 250
    assert jobs_table(pressed, np.ones(4, bool))["state"].to_pylist() == ["completed"] * 4


def test_plain_beliefs_are_enough():
    window = Window(np.array([0]), np.array([4]), np.array([[10], [20]]), 0, plain([4, 4], [0, 0], [10, 20]))
    assert window.evaluate(window.every_genome()).tolist() == [[1.25, 0.0], [2.0, 0.0]]
