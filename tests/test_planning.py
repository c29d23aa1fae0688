"""What a pass gives away around reservations: the same as a plan made job by job, without any shortcut."""

from types import SimpleNamespace

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hpcsim.engine.simulation import Simulation
from hpcsim.plugin import Start
from hpcsim.schedulers.centres import Eligible
from hpcsim.schedulers.planning import around_reservations
from hpcsim.workload.job import workload_from_columns

NODES = 16


class Around:
    name = "around"
    api = 1

    def __init__(self, serve, depth, window, resolution):
        self.serve, self.rules = serve, (depth, window, resolution)

    def schedule(self, view):
        yield from self.serve(view, view.room(), view.queue, *self.rules)


def plainly(view, room, queue, depth, window, resolution):
    """The rule as it stands in the docstring, step by step over every second at which anything changes."""
    profile = view.profile(room)
    reserved, waits = 0, False
    for job in queue:
        span = -(-job.walltime // resolution) * resolution
        if not waits and room.take(job):
            profile.reserve(view.now, job.walltime, job.nodes)
            yield Start(job)
            continue
        waits = True
        start = profile.earliest(job.nodes, span)
        if start == view.now and room.take(job):
            profile.reserve(start, span, job.nodes)
            yield Start(job)
        elif (depth is None or reserved < depth) and (window is None or start <= view.now + window):
            profile.reserve(start, span, job.nodes)
            reserved += 1


def starts(serve, rows, *rules):
    submit, runtime, extra, nodes = zip(*rows, strict=True)
    jobs = workload_from_columns(
        t0_utc=0, source="test", name=[f"j{i}" for i in range(len(rows))], submit_s=submit, nodes=nodes,
        walltime_s=np.add(runtime, extra), runtime_s=runtime,
    )  # fmt: skip
    simulation = Simulation(jobs, Around(serve, *rules), nodes=NODES)
    simulation.run()
    return dict(zip(simulation.attempts.job.tolist(), simulation.attempts.start.tolist(), strict=True))


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 200), st.integers(1, 90), st.sampled_from([0, 5, 60]), st.integers(1, NODES)),
        min_size=1, max_size=40,
    ).map(sorted),
    depth=st.sampled_from([None, 0, 1, 2, 5]),
    window=st.sampled_from([None, 0, 30, 200]),
    resolution=st.sampled_from([1, 7]),
)  # fmt: skip
@example(rows=[(0, 13, 0, 5), (1, 1, 0, 12), (1, 1, 0, 13), (13, 1, 0, 4)], depth=None, window=None, resolution=7)
def test_every_start_is_that_of_a_plan_without_shortcuts(rows, depth, window, resolution):
    rules = depth, window, resolution
    assert starts(around_reservations, rows, *rules) == starts(plainly, rows, *rules)


# -- eligible time -----------------------------------------------------------------------------------


class Clocks:
    """The clocks of ``Eligible`` one by one, as its docstring says."""

    def __init__(self, accruing):
        self.accruing, self.shows, self.runs, self.order = accruing, {}, set(), []

    def tick(self, seconds, waiting):
        for job_id in self.runs & waiting:
            self.shows[job_id] += seconds

    def settle(self, jobs, waiting, running):
        here = waiting | running
        self.runs &= here
        self.order += [number for number in sorted(waiting) if number not in self.shows]
        self.shows |= {number: 0 for number in waiting if number not in self.shows}
        for number in self.order:
            active = sum(jobs[each].project == jobs[number].project for each in self.runs)
            if number in here and number not in self.runs and active < self.accruing:
                self.runs.add(number)


@settings(max_examples=150, deadline=None)
@given(
    projects=st.lists(st.sampled_from("ab"), min_size=1, max_size=12),
    story=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 11), st.sampled_from("csbg")), max_size=40),
    accruing=st.integers(1, 3),
)
def test_clocks_show_what_each_would_by_itself(projects, story, accruing):
    jobs = [SimpleNamespace(id=number, project=project) for number, project in enumerate(projects)]
    eligible, plain = Eligible(accruing), Clocks(accruing)
    now, waiting, running, gone = 0, set(), set(), set()
    for passed, number, what in story:
        number %= len(jobs)
        plain.tick(passed, waiting)
        now += passed
        if what == "c" and number not in waiting | running | gone:  # it comes
            waiting.add(number)
        elif what == "b" and number in running:  # it is taken off the machine again
            running.remove(number)
            waiting.add(number)
        elif what == "g" and number in running | waiting:  # it ends, or is deleted
            running.discard(number)
            waiting.discard(number)
            gone.add(number)
        queue = [jobs[each] for each in sorted(waiting)]
        if not queue:
            continue  # no pass looks at clocks then
        plain.settle(jobs, waiting, running)
        view = SimpleNamespace(now=now, running=dict.fromkeys(running))
        shown = eligible.seconds(queue, np.array(sorted(waiting)), view)
        assert shown.tolist() == [plain.shows[each] for each in sorted(waiting)]
        if what == "s" and number in waiting:  # the pass starts it
            eligible.started([jobs[number]], now)
            waiting.remove(number)
            running.add(number)


def test_a_job_that_was_started_before_its_clock_began_has_none_while_it_runs():
    first, second = (SimpleNamespace(id=number, project="p") for number in (0, 1))
    clock, both = Eligible(1), np.array([0, 1])
    view = SimpleNamespace(now=0, running={})
    assert clock.seconds([first, second], both, view).tolist() == [0, 0]
    clock.started([second], 0)  # it fits before the first
    view = SimpleNamespace(now=10, running={1: None})
    clock.started([first], 10)
    third = SimpleNamespace(id=2, project="q")
    clock.seconds([third], np.array([2]), SimpleNamespace(now=20, running={1: None}))  # the first is gone
    assert clock.seconds([second, third], np.array([1, 2]), SimpleNamespace(now=100, running={})).tolist()[0] == 0
    assert clock.seconds([second], np.array([1]), SimpleNamespace(now=130, running={})).tolist() == [30]
