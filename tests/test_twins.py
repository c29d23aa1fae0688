"""Twins answer what schedulers ask, from what has happened and nothing else."""

from copy import deepcopy
from math import sqrt
from textwrap import dedent

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hpcsim
from hpcsim.cli import _exit_code
from hpcsim.engine.simulation import Simulation
from hpcsim.errors import InputError, SchedulerError, TwinError
from hpcsim.plugin import Ended, Hold, Job, Kill, Prediction, Preempt, Start
from hpcsim.plugin.loader import load_plugins
from hpcsim.scenario.load import load_scenario
from hpcsim.twins.performance import LastTwo, Walltime
from hpcsim.workload.job import workload_from_columns

SMALL = {"profile": "cooley", "jobs": 60, "machine.nodes": 126}


def job(number=0, user="ann", walltime=100):
    return Job(number, f"j{number}", 0, 1, walltime, user, "", "")


def workload(rows):
    submit, nodes, walltime, runtime, user = zip(*sorted(rows), strict=True)
    return workload_from_columns(
        t0_utc=0, source="test", name=[f"j{i}" for i in range(len(rows))], submit_s=submit, nodes=nodes,
        walltime_s=walltime, runtime_s=runtime, user=list(user),
    )  # fmt: skip


class Asking:
    """First come, first served; asks how long the waiting jobs would run, and keeps the answers."""

    name = "asking"
    api = 1
    needs = frozenset({"preemption"})

    def __init__(self, deed=None):
        self.answers = []
        self.deed = deed

    def schedule(self, view):
        prediction = view.twins.performance(view.queue)
        self.answers += zip([view.now] * len(view.queue), view.queue, prediction.mean.tolist(), strict=True)
        for each in view.running.values():
            if self.deed is not None and view.now == each.start + 3:
                yield from (self.deed(each.job), Hold(view.now + 1))
        room = view.room()
        for waiting in view.queue:
            if room.take(waiting):
                yield Start(waiting)


rows = st.lists(
    st.tuples(st.integers(0, 300), st.integers(1, 4), st.integers(1, 90), st.integers(1, 99), st.sampled_from("abc ")),
    min_size=1, max_size=40,
)  # fmt: skip


class Told(LastTwo):
    """Last-two that keeps what it was told."""

    def __init__(self):
        super().__init__()
        self.log = []

    def ended(self, end):
        self.log.append(end)
        super().ended(end)


def simulated(some, deed=None):
    scheduler, twin = Asking(deed), Told()
    sim = Simulation(workload(some), scheduler, nodes=4, overrun="kill", twins={"performance": twin})
    sim.run()
    return sim, scheduler, twin


@settings(deadline=None, max_examples=60)
@given(rows, st.sampled_from([None, Kill, Preempt]))
def test_a_twin_is_told_of_every_end_for_good_when_it_has_come_and_of_no_other(some, deed):
    sim, _, twin = simulated(some, deed)
    last = {}
    for i, job_id in enumerate(sim.attempts.job):
        start, end = sim.attempts.start[i], sim.attempts.end[i]
        last[job_id] = (end - start, end)
    assert {end.job.id: (end.runtime_s, end.now) for end in twin.log} == last
    assert len(twin.log) == len(last)
    assert [end.now for end in twin.log] == sorted(end.now for end in twin.log)
    runtime, walltime = (sim.workload.column(name) for name in ("runtime_s", "walltime_s"))
    for job, runtime_s, state, _, energy_j, speed in twin.log:
        assert energy_j is None
        assert speed == 1.0
        assert state in ("timeout", "completed", *(["killed"] if deed is Kill else []))
        assert state == "killed" or runtime_s == min(runtime[job.id], walltime[job.id])


@settings(deadline=None, max_examples=100)
@given(rows)
def test_last_two_is_the_mean_of_the_users_last_two_ends_and_at_most_the_walltime(some):
    _, scheduler, twin = simulated([(*row[:4], row[4].strip()) for row in some])
    assert len(scheduler.answers) >= len(some)
    for now, asked, answer in scheduler.answers:
        seen = [end.runtime_s for end in twin.log if end.now <= now and end.job.user == asked.user != ""]
        assert answer == min(np.mean(seen[-2:]) if seen else np.inf, asked.walltime)


@pytest.mark.parametrize("state", ["killed", "node_failed"])
def test_last_two_learns_nothing_from_a_job_that_something_else_ended(state):
    twin = LastTwo()
    twin.ended(Ended(job(), 5, state, 5, None))
    assert twin.performance([job()], None).mean.tolist() == [100.0]


def test_the_deviations_of_last_two_are_those_of_what_it_has_seen():
    twin, asked = LastTwo(), [job(), job(user="bob", walltime=60)]
    before = twin.performance(asked, None)
    assert before == tuple(map(pytest.approx, Walltime().performance(asked, None)))
    errors = []
    for runtime, predicted in ((40, None), (60, 40), (50, 50), (100, 55)):
        twin.ended(Ended(job(), runtime, "completed", 0, None))
        errors += [] if predicted is None else [(runtime - predicted) / 100]
    square = sum(error**2 for error in errors)
    deviation = 100 * sqrt((square + square / 3) / 4)
    mean, aleatoric, epistemic = twin.performance(asked, None)
    assert mean.tolist() == [75.0, 60.0]
    assert aleatoric == pytest.approx([deviation, 0.0])
    assert epistemic == pytest.approx([deviation / sqrt(2), 60 / sqrt(3)])


def test_a_copy_of_last_two_learns_by_itself():
    twin = LastTwo()
    twin.ended(Ended(job(), 40, "completed", 0, None))
    copy = deepcopy(twin)
    copy.ended(Ended(job(), 80, "completed", 0, None))
    assert [each.performance([job()], None).mean.tolist() for each in (twin, copy)] == [[40.0], [60.0]]


@settings(deadline=None, max_examples=30)
@given(rows, st.integers(0, 400))
def test_a_fork_asks_twins_of_its_own(some, at):
    whole, _, _ = simulated(some)
    parent = Simulation(workload(some), Asking(), nodes=4, overrun="kill", twins={"performance": LastTwo()})
    parent.run(at)
    fork = parent.fork()
    for each in (fork, parent):
        each.run()
        assert each.scheduler.answers == whole.scheduler.answers


def test_a_scenario_has_the_users_request_as_its_twin_and_another_where_it_names_one():
    for named in ("walltime", "last-two"):
        run = hpcsim.simulate("bare", SMALL | ({} if named == "walltime" else {"twins.performance": named}))
        assert run.manifest["twins"] == {"performance": named}
        assert f"performance:\n    name: {named}\n" in run.scenario_yaml


# -- twins of a third party -----------------------------------------------------------------------

FILE = """
    import numpy as np
    from hpcsim.plugin import Options, Prediction, Start, hookimpl
    from pydantic import Field

    class Mine:
        name = "mine"
        api = 1
        answers = "fault"

        class Options(Options):
            probability: float = Field(0.5, ge=0, le=1)

        def __init__(self, options):
            self.probability = options.probability

        def fault(self, units, horizon_s, view):
            no = np.zeros(len(units))
            return Prediction(no + self.probability, no, no + horizon_s / 1e6)

    class Asks:
        name = "asks"
        api = 1
        needs = {"fault-twin"}

        def schedule(self, view):
            answer = view.twins.fault([3, 5], 3600)
            assert answer.mean.tolist() == [0.25, 0.25] and answer.epistemic.tolist() == [0.0036, 0.0036]
            room = view.room()
            yield from (Start(job) for job in view.queue if room.take(job))

    @hookimpl
    def hpcsim_twins(register):
        register(Mine)

    @hookimpl
    def hpcsim_schedulers(register):
        register(Asks)
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(dedent(FILE))
    return path


def test_a_plugin_offers_a_twin_with_options_and_a_scheduler_asks_it(file):
    named = SMALL | {"scheduler": "asks", "twins.fault": {"name": "mine", "probability": 0.25}}
    run = hpcsim.simulate("bare", named, plugins=file)
    assert run.manifest["twins"] == {"performance": "walltime", "fault": "mine"}
    assert "fault:\n    name: mine\n    probability: 0.25\n" in run.scenario_yaml


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"twins.fault": "mein"}, "override twins.fault: twins.fault.name: no twin named 'mein'. Did you mean 'mine'?"),
        ({"twins.fault": "last-two"}, "the twin 'last-two' answers performance; known for fault: f"),
        (
            {"twins.performance": "walltim"},
            "no twin named 'walltim'. Did you mean 'walltime'? Known: last-two, runtime-ensemble, r",
        ),
        ({"twins.fault": {"name": "mine", "probability": 2}}, "twins.fault.probability: Input should be less than or"),
        ({"twins.fault": {"name": "mine", "odds": 2}}, "twins.fault.odds: mine has no such option"),
        ({"twins.performance": None}, "twins.performance: Input should be a mapping of keys and values"),
        ({"twins.thermal": 3}, "twins.thermal: Input should be a mapping of keys and values"),
        ({"twins.speed": "x"}, "twins.speed: no such key"),
    ],
)
def test_a_twin_that_is_not_there_or_is_told_nonsense_is_refused(file, settings, said):
    found = load_plugins([file])
    with pytest.raises(InputError) as caught:
        load_scenario("bare", settings, schedulers=found.schedulers, twins=found.twins)
    assert said in str(caught.value)


def test_another_twin_does_not_inherit_the_options_of_the_one_it_replaces(file, tmp_path):
    other = dedent(FILE).replace('"mine"', '"other"').replace('"asks"', '"asks-other"').replace("probability", "odds")
    (tmp_path / "other.py").write_text(other)
    (tmp_path / "base.yaml").write_text("name: base\ntwins: {fault: {name: mine, probability: 0.1}}\n")
    (tmp_path / "upper.yaml").write_text("base: base.yaml\ntwins: {fault: other}\n")
    found = load_plugins([file, tmp_path / "other.py"])
    loaded = load_scenario(tmp_path / "upper.yaml", schedulers=found.schedulers, twins=found.twins)
    assert loaded.resolved()["twins"]["fault"] == {"name": "other", "odds": 0.5}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('answers = "fault"', "", "Mine.answers should be one of performance, energy, fault, thermal, found None"),
        ('answers = "fault"', 'answers = "falt"', "found 'falt'"),
        ('answers = "fault"', 'answers = "energy"', "Mine has no method energy(self, jobs, speeds, view)"),
        ("api = 1", "api = 2", "Mine.api is 2; this hpcsim speaks api = 1"),
        ("api = 1", "api = 1; needs = {'sleep'}", "Mine needs 'sleep', but a twin can only need power, heat, solar"),
        ('name = "mine"', 'name = "walltime"', "the twin 'walltime' is registered already, by hpcsim"),
        ("register(Mine)", "register(7)", "register() takes a class, not 7"),
    ],
)
def test_a_class_that_is_no_twin_is_refused(file, old, new, said):
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        load_plugins([file])
    assert said in str(caught.value)


def test_a_twin_that_cannot_be_made_is_named(file):
    file.write_text(file.read_text().replace("self.probability = options.probability", "1 / 0"))
    with pytest.raises(TwinError, match=r"twin mine could not be made: ZeroDivisionError"):
        hpcsim.simulate("bare", SMALL | {"twins.fault": "mine"}, plugins=file)


ONE = np.ones(2)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "NoneType, not Prediction(mean, aleatoric, epistemic)"),
        ((ONE, ONE), "tuple, not Prediction(mean, aleatoric, epistemic)"),
        ((ONE, ONE, [1.0, 1.0]), "epistemic [1.0, 1.0], expected an array of 2 float64"),
        ((np.ones(3), ONE, ONE), "mean float64 of shape (3,), expected an array of 2 float64"),
        ((ONE.astype(np.float32), ONE, ONE), "mean float32 of shape (2,), expected an array of 2 float64"),
        ((np.ones((2, 1)), ONE, ONE), "mean float64 of shape (2, 1), expected an array of 2 float64"),
        ((ONE * np.nan, ONE, ONE), "mean nan, expected finite numbers"),
        ((ONE, ONE * np.inf, ONE), "aleatoric inf, expected finite numbers"),
        ((ONE, ONE, -ONE), "epistemic -1.0, but no standard deviation is below 0"),
        ((-ONE, ONE, ONE), "mean -1.0, expected 0 or more"),
    ],
)
def test_an_answer_that_is_none_voids_the_run_and_names_the_twin(answer, said):
    class Odd:
        name, api, answers = "odd", 1, "performance"

        def performance(self, jobs, view):
            return answer

    sim = Simulation(workload([(5, 1, 9, 9, "a")] * 2), Asking(), nodes=1, twins={"performance": Odd()})
    with pytest.raises(TwinError) as caught:
        sim.run()
    assert str(caught.value) == f"t=5: twin odd answered performance of 2 with {said}"


def test_a_twin_that_raises_is_named_with_its_line_and_the_run_exits_with_1(file, capsys):
    file.write_text(file.read_text().replace("no = np.zeros", "no = 1 / 0; np.zeros"))
    line = file.read_text().splitlines().index("        no = 1 / 0; np.zeros(len(units))") + 1
    words = [f"--set={key}={value}" for key, value in SMALL.items()]
    assert _exit_code(["run", "bare", f"--plugin={file}", *words, "--scheduler=asks", "--set=twins.fault=mine"]) == 1
    said = capsys.readouterr().err
    assert f"twin mine raised ZeroDivisionError: division by zero ({file}:{line})" in said
    assert said.startswith("hpcsim: t=")


def test_a_twin_that_cannot_learn_is_named():
    class Deaf(Walltime):
        name = "deaf"

        def ended(self, end):
            raise KeyError(end.state)

    sim = Simulation(workload([(5, 1, 9, 7, "a")]), Asking(), nodes=1, twins={"performance": Deaf()})
    with pytest.raises(TwinError, match=r"t=12: twin deaf raised KeyError: 'completed' \(.*test_twins.py:\d+\)"):
        sim.run()


class Every:
    """Answers all questions with what it was asked about."""

    name, api = "every", 1

    def energy(self, jobs, speeds, view):
        return Prediction(speeds * [job.nodes for job in jobs], speeds, speeds)

    def fault(self, units, horizon_s, view):
        return Prediction(units / horizon_s, units * 0.0, units * 0.0)

    def power(self, horizons_s, view):
        return Prediction(1e6 / horizons_s, horizons_s * 0.0, horizons_s * 1.0)

    def job_failure(self, jobs, view):
        return Prediction(np.array([job.nodes / 1.5 for job in jobs]), *np.zeros((2, len(jobs))))

    def thermal(self, units, watts, horizon_s, view):
        return Prediction(watts - units, watts * 0.0, watts * 0.0)


def asked(question, twins=None):
    """What comes of ``question(view, jobs)`` in the first pass of a simulation of two jobs."""
    answers = []

    class Asks:
        name, api = "asks", 1

        def schedule(self, view):
            if not answers:
                answers.append(question(view.twins, list(view.queue)))
            yield from (Start(job) for job in view.queue)

    every = dict.fromkeys(("energy", "fault", "thermal"), Every()) if twins is None else twins
    Simulation(workload([(0, 1, 9, 9, "a"), (0, 2, 9, 9, "b")]), Asks(), nodes=3, twins=every).run()
    return answers[0]


def test_one_speed_or_one_wattage_stands_for_all():
    assert asked(lambda twins, jobs: twins.energy(jobs)).mean.tolist() == [1.0, 2.0]
    assert asked(lambda twins, jobs: twins.energy(jobs, [0.5, 1])).mean.tolist() == [0.5, 2.0]
    assert asked(lambda twins, jobs: twins.thermal([4, 6], 10, 60)).mean.tolist() == [6.0, 4.0]
    assert asked(lambda twins, jobs: twins.fault(np.array([1, 2]), 4)).mean.tolist() == [0.25, 0.5]


def test_several_speeds_in_one_question_are_answered_side_by_side():
    each = asked(lambda twins, jobs: twins.energy(jobs, [[0.5, 1.0], [0.25, 0.5], [1.0, 1.0]]))
    assert each.mean.tolist() == [[0.5, 2.0], [0.25, 1.0], [1.0, 2.0]]
    both = asked(lambda twins, jobs: twins.energy(jobs, [[1.0], [0.5]]))
    assert [part.tolist() for part in both] == [[[1.0, 2.0], [0.5, 1.0]], *2 * [[[1.0, 1.0], [0.5, 0.5]]]]
    assert asked(lambda twins, jobs: twins.energy(jobs, [[1.0]])).mean.shape == (1, 2)
    assert asked(lambda twins, jobs: twins.energy([], [[1.0], [0.5]])).mean.shape == (2, 0)


def test_nobody_is_asked_about_nothing():
    class Never:
        name, api = "never", 1

    assert [len(part) for part in asked(lambda twins, jobs: twins.performance([]), {"performance": Never()})] == [0] * 3


def test_who_is_there_to_be_asked_can_be_seen():
    assert asked(lambda twins, jobs: ["fault" in twins, "performance" in twins]) == [True, False]
    assert asked(lambda twins, jobs: ["power" in twins, "job_failure" in twins]) == [True, True]
    plain = {"energy": LastTwo(), "performance": LastTwo()}
    assert asked(lambda twins, jobs: [each in twins for each in ("power", "job_failure")], plain) == [False, False]


def test_a_twin_may_answer_what_belongs_to_its_question():
    assert asked(lambda twins, jobs: twins.power([900, 60])).mean.tolist() == [1e6 / 900, 1e6 / 60]
    assert asked(lambda twins, jobs: twins.power([900])).epistemic.tolist() == [900.0]
    assert asked(lambda twins, jobs: twins.job_failure(jobs[:1])).mean.tolist() == [1 / 1.5]
    assert asked(lambda twins, jobs: [len(part) for part in twins.power([])]) == [0, 0, 0]


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (
            lambda twins, jobs: twins.performance(jobs),
            r"InputError: view.twins.performance: this scenario names no twin",
        ),
        (
            lambda twins, jobs: twins.energy(jobs, [1, 1, 1]),
            r"ValueError: view.twins: speeds should be one number or 2",
        ),
        (
            lambda twins, jobs: twins.energy(jobs, [[1, 1, 1]]),
            r"ValueError: view.twins: speeds should be one number or 2 of them, found shape \(1, 3\)",
        ),
        (lambda twins, jobs: twins.energy(jobs, 1.5), r"ValueError: view.twins.energy: speeds should be in \(0, 1\]"),
        (lambda twins, jobs: twins.fault([0.5], 60), r"ValueError: view.twins.fault: units should be a list of unit n"),
        (lambda twins, jobs: twins.fault([0], 0), r"ValueError: view.twins.fault: the horizon should be a whole secon"),
        (lambda twins, jobs: twins.power([60, 0]), r"ValueError: view.twins.power: the horizon should be a whole sec"),
        (lambda twins, jobs: twins.job_failure(jobs), r"TwinError: .* answered job_failure of 2 with mean 1.33333"),
        (lambda twins, jobs: twins.fault([5], 4), r"TwinError: .* answered fault of 1 with mean 1.25, expected 0 to 1"),
    ],
)
def test_a_question_that_is_not_well_put_is_told_to_the_scheduler(question, said):
    with pytest.raises((SchedulerError, TwinError)) as caught:
        asked(question)
    caught.match(said.removeprefix("TwinError: "))


@pytest.mark.parametrize(("besides", "kind"), [("power", "energy"), ("job_failure", "fault")])
def test_what_a_twin_does_not_answer_besides_its_question_is_told(besides, kind):
    for twins, said in (
        ({}, f"view.twins.{besides}: this scenario names no twin that answers it; set twins.{kind}"),
        ({kind: LastTwo()}, f"view.twins.{besides}: last-two, the twin of {kind}, has no method {besides}"),
    ):
        with pytest.raises(SchedulerError, match=said):
            asked(lambda twins, jobs: getattr(twins, besides)([60] if besides == "power" else jobs), twins)
