"""A simulation that its caller steps is the simulation that runs by itself, to the last byte."""

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import blocks

import hpcsim
from hpcsim.engine.decisions import Start
from hpcsim.engine.simulation import Simulation
from hpcsim.errors import BadDecision, SchedulerError
from hpcsim.plugin.loader import load_plugins
from hpcsim.scenario import build
from hpcsim.scenario.load import load_scenario
from hpcsim.schedulers.backfilling import EASY
from tests.test_engine import NODES, Plan, fcfs, schedulers, tables, workload, workloads


def by_steps(simulation):
    assert all(view.now == simulation.now for view in simulation.instants())


def by_hand(simulation):
    """The scheduler decides, but it is its caller who asks it."""
    while (view := simulation.advance()) is not None:
        simulation.decide(simulation.scheduler.schedule(view))


def in_turns(simulation):
    """A pass by hand, an instant by steps, the hour after that in one go, and so on."""
    for way in itertools.cycle(range(3)):
        if simulation.is_over:
            return simulation.run()
        if way == 0 and (view := simulation.advance()) is not None:
            simulation.decide(simulation.scheduler.schedule(view))
        elif way == 1:
            simulation.run(simulation.now + 3600)
        elif way == 2:
            simulation.step()


def start_by_start(simulation):
    """Every decision by itself, in a pass that goes on."""
    while (view := simulation.advance()) is not None:
        for decision in list(simulation.scheduler.schedule(view)):
            simulation.decide([decision])


WAYS = [by_steps, by_hand, in_turns, start_by_start]


@pytest.mark.parametrize("way", WAYS)
@settings(deadline=None, max_examples=60)
@given(workloads(), schedulers, st.sampled_from([0, 7]), st.sampled_from([0, 2]))
def test_whoever_steps_makes_the_same_schedule(way, jobs, scheduler, pass_interval, launch_latency):
    options = {"nodes": NODES, "pass_interval": pass_interval, "launch_latency": launch_latency}
    whole, stepped = (Simulation(jobs, scheduler(), **options) for _ in range(2))
    whole.run()
    way(stepped)
    assert tables(stepped) == tables(whole)
    assert stepped.ledger.busy_node_seconds == whole.ledger.busy_node_seconds


def made(name, settings):
    plugins = load_plugins()
    loaded = load_scenario(name, settings, schedulers=plugins.schedulers)
    workload, spec, nodes = build.jobs_and_machine(loaded, (), plugins.machines)
    scheduler = build.make_scheduler(loaded, plugins.schedulers[loaded.scenario.scheduler.name])
    return build.make_simulation(loaded, build.cut(loaded, workload, nodes), nodes, scheduler, {}, spec)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("polaris", {"jobs": 1500, "physics.cap_kw": 700, "scheduler": {"name": "easy", "order": "wfp3"}}),
        ("mira", {"jobs": 400, "physics.placement": "torus"}),
    ],
)
def test_whoever_steps_makes_the_same_schedule_and_draws_the_same_power(way, name, settings):
    whole, stepped = made(name, settings), made(name, settings)
    whole.run()
    way(stepped)
    assert tables(stepped) == tables(whole)
    logs = [[each.tolist() for each in simulation.site.cluster.meter.power_log] for simulation in (whole, stepped)]
    assert logs[0] == logs[1]


def test_instants_are_the_seconds_at_which_something_happens():
    simulation = Simulation(workload((0, 5, 10), (1, 5, 10), (20, 1, 1)), fcfs(), nodes=10)
    seen = [(view.now, len(view.queue), len(view.running)) for view in simulation.instants()]
    assert seen == [(0, 0, 1), (1, 1, 1), (5, 0, 1), (10, 0, 0), (20, 0, 1), (21, 0, 0)]


def test_between_two_decisions_of_a_pass_the_view_shows_the_first():
    simulation = Simulation(workload((0, 5, 4), (0, 5, 4)), fcfs(), nodes=10)
    view = simulation.advance()
    for left in (6, 2):
        simulation.decide([Start(next(iter(view.queue)))])
        assert view.free_nodes == left
    assert not view.queue


def test_a_pass_without_a_decision_decides_nothing():
    simulation = Simulation(workload((0, 5, 4), (3, 5, 4)), fcfs(), nodes=10)
    seconds = [simulation.advance().now, simulation.advance().now]
    assert seconds == [0, 3]
    assert not simulation.running
    with pytest.raises(SchedulerError, match="left jobs waiting with nothing left to happen: j0, j1"):
        simulation.advance()


def test_a_decision_by_hand_is_checked_as_that_of_a_scheduler():
    simulation = Simulation(workload((0, 5, 8), (0, 5, 8)), fcfs(), nodes=10)
    view = simulation.advance()
    with pytest.raises(BadDecision, match="on 8 nodes, but only 2 are free"):
        simulation.decide(Start(job) for job in view.queue)


@pytest.mark.parametrize("bring", [lambda s: None, lambda s: s.step(), lambda s: s.advance() and s.run(1)])
def test_decisions_are_refused_where_no_pass_is_left_to_the_caller(bring):
    simulation = Simulation(workload((0, 5, 4), (3, 5, 4)), fcfs(), nodes=10)
    bring(simulation)
    with pytest.raises(RuntimeError, match=r"^t=0: decide\(\) is for the pass|^t=1: decide"):
        simulation.decide([])


def test_the_scheduler_is_not_asked_in_a_pass_by_hand():
    def never(view):
        raise AssertionError(view.now)

    simulation = Simulation(workload((0, 5, 4), (3, 5, 4)), Plan(never), nodes=10)
    while (view := simulation.advance()) is not None:
        simulation.decide([Start(job) for job in view.queue])
    assert simulation.is_over
    assert list(simulation.attempts.start) == [0, 3]


def test_a_fork_in_the_middle_of_a_pass_goes_on_as_its_parent_does():
    jobs = workload((0, 5, 4), (0, 9, 4), (2, 5, 4), (3, 5, 8))
    parent = Simulation(jobs, EASY(EASY.Options()), nodes=10)
    view = parent.advance()
    parent.decide([Start(next(iter(view.queue)))])
    fork = parent.fork()
    for simulation in (fork, parent):
        simulation.decide([Start(job) for job in list(view.queue)])
        simulation.run()
        view = parent._view
    assert tables(fork) == tables(parent)


def test_the_docs_snippets_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for snippet in blocks("docs/library.md", "python"):
        exec(snippet, {})
    out = capsys.readouterr().out
    assert re.fullmatch(
        r"\d+ jobs waited at once, the last ended at t=\d+ s\nthe mean job held [\d.]+ node-hours\n"
        r"both ended at t=\d+ s: True\n",
        out,
    )


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("mira", {"jobs": 200, "scheduler": {"name": "easy", "order": "sjf"}}),
        ("cooley", {"jobs": 100, "levers": {"sleep_idle": 300, "speed": 0.8}}),
    ],
)
def test_what_begins_is_what_simulate_runs(name, settings):
    simulation = hpcsim.begin(name, settings)
    simulation.run()
    run = hpcsim.simulate(name, settings)
    assert list(tables(simulation)) == [run.tables[name] for name in ("jobs", "attempts", "timeline")]
