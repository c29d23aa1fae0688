"""What a scheduler needs it declares; what a scenario lacks is said before the run."""

from textwrap import dedent

import pytest

import hpcsim
from hpcsim.cli import _exit_code
from hpcsim.engine.capabilities import CAPABILITIES, needed_for
from hpcsim.engine.simulation import Simulation
from hpcsim.errors import BadDecision, InputError, SchedulerError
from hpcsim.plugin import Hold, Kill, Preempt, SetCap, SetCooling, SetSpeed, Sleep, Start, Wake
from hpcsim.scenario.load import load_scenario
from hpcsim.scenario.needs import capabilities_of
from hpcsim.workload.job import workload_from_columns

JOBS = workload_from_columns(
    t0_utc=0, source="test", name=["a", "b"], submit_s=[0, 1], nodes=[1, 1], walltime_s=[9, 9], runtime_s=[5, 5]
)
FILE = """
    from hpcsim.plugin import Options, Start, hookimpl

    class Night:
        name = "night"
        api = 1
        needs = {NEEDS}

        def schedule(self, view):
            room = view.room()
            yield from (Start(job) for job in view.queue if room.take(job))

    @hookimpl
    def hpcsim_schedulers(register):
        register(Night)
"""


class Plan:
    """Start all, and do ``deed`` with the first as soon as it runs."""

    name = "plan"
    api = 1

    def __init__(self, deed, needs):
        self.deed = deed
        self.needs = needs

    def schedule(self, view):
        for running in list(view.running.values())[:1]:
            yield self.deed(running.job)
        yield from (Start(job) for job in view.queue)


DEEDS = [
    (Preempt, "preemption"),
    (Kill, "preemption"),
    (lambda job: SetSpeed(job, 0.8), "speed"),
    (lambda job: Sleep(1), "sleep"),
    (lambda job: Wake(1), "sleep"),
    (lambda job: SetCap(None), "power"),
    (lambda job: SetCooling("warm"), "power"),
    (lambda job: Start(job, speed=0.5), "speed"),
    (lambda job: Start(job, units=(0,)), "places"),
]


@pytest.mark.parametrize(("deed", "need"), DEEDS)
def test_a_decision_that_needs_what_was_not_declared_is_bad_and_says_what_to_declare(deed, need):
    class Starts(Plan):
        def schedule(self, view):
            yield from (self.deed(job) for job in view.queue)

    starts = isinstance(deed(None), Start)
    sim = Simulation(JOBS, (Starts if starts else Plan)(deed, {"heat"}), nodes=4)
    declare = ", ".join(f'"{name}"' for name in sorted({"heat", need}))
    with pytest.raises(BadDecision) as caught:
        sim.run()
    assert str(caught.value).startswith(f"t={0 if starts else 1}: scheduler plan ")
    assert f"declare needs = frozenset({{{declare}}}) (" in str(caught.value)


def test_what_is_declared_may_be_decided_and_hold_needs_nothing():
    sim = Simulation(JOBS, Plan(Preempt, {"preemption"}), nodes=4)
    sim.run()
    assert sim.attempts.job.tolist() == [0, 1, 0]
    assert needed_for(Hold(1)) is None


def test_every_capability_is_one_that_some_scenario_has_and_another_lacks():
    more = {
        "machine.model": "cooley", "trace": "some.swf", "twins.energy": "e", "twins.fault": "f", "twins.thermal": "t",
        "physics": {"heat": True, "solar_kw": 5.0},
    }  # fmt: skip
    assert capabilities_of(load_scenario("bare", more).scenario) == set(CAPABILITIES)
    assert capabilities_of(load_scenario("bare", {"preemption": False}).scenario) == set()


@pytest.mark.parametrize(
    ("need", "settings", "said"),
    [
        ("sleep", {}, "set machine.model and physics"),
        ("heat", {"machine.model": "cooley", "physics": {"heat": False}}, "set machine.model and physics.heat: true"),
        ("solar", {"machine.model": "cooley", "physics": {"heat": True}}, "set machine.model and physics.solar_kw"),
        ("preemption", {"preemption": False}, "set preemption: true"),
        ("clairvoyance", {}, "set trace, a log that records when jobs started"),
        ("energy-twin", {}, "set twins.energy, the name of a twin"),
    ],
)
def test_a_scenario_that_lacks_it_is_refused_with_the_key_that_would_give_it(tmp_path, need, settings, said):
    file = tmp_path / "night.py"
    file.write_text(dedent(FILE).replace("{NEEDS}", f"frozenset({{'{need}'}})"))
    more = {"profile": "cooley", "jobs": 20, "machine.nodes": 126, "scheduler": "night"}
    with pytest.raises(InputError) as caught:
        hpcsim.simulate("bare", more | settings, plugins=file)
    assert str(caught.value) == f"override scheduler: scheduler: night needs {need}, which bare lacks; {said}"


def test_a_refusal_exits_with_2_and_validate_says_the_same(tmp_path, capsys):
    file = tmp_path / "night.py"
    file.write_text(dedent(FILE).replace("{NEEDS}", "{'sleep'}"))
    words = ["bare", f"--plugin={file}", "--set=profile=cooley", "--set=machine.nodes=126", "--set=scheduler=night"]
    said = []
    for command in ("run", "validate"):
        assert _exit_code([command, *words]) == 2
        said.append(capsys.readouterr().err)
    assert said[0] == said[1]
    assert said[0].count("\n") == 1
    assert "night needs sleep, which bare lacks" in said[0]


def test_a_trace_without_starts_has_nothing_for_a_clairvoyant(tmp_path):
    rows = [f"{i} {10 * i} -1 30 1 -1 -1 1 60 -1 1 1 1 -1 1 -1 -1 -1" for i in range(1, 4)]
    (tmp_path / "jobs.swf").write_text("; MaxNodes: 4\n" + "\n".join(rows) + "\n")
    settings = {"trace": str(tmp_path / "jobs.swf"), "scheduler": "recorded", "machine.nodes": 4}
    with pytest.raises(InputError, match="recorded needs clairvoyance, which bare lacks; set trace, a log that"):
        hpcsim.simulate("bare", settings)


def test_an_object_may_need_less_than_its_class_but_not_more(tmp_path):
    file = tmp_path / "night.py"
    option = """\
    class Options(Options):
            nap: bool = True

        def __init__(self, options):
            if not options.nap:
                self.needs = {LESS}

        def schedule("""
    text = FILE.replace("{NEEDS}", "{'sleep'}").replace("    def schedule(", option)
    settings = {"profile": "cooley", "jobs": 20, "machine.nodes": 126, "scheduler": {"name": "night", "nap": False}}
    file.write_text(dedent(text.replace("{LESS}", "set()")))
    assert hpcsim.simulate("bare", settings, plugins=file).manifest["needs"] == []
    file.write_text(dedent(text.replace("{LESS}", "{'heat'}")))
    with pytest.raises(InputError, match="night needs heat, but its class does not declare that"):
        hpcsim.simulate("bare", settings, plugins=file)


def test_a_simulation_refuses_needs_that_it_does_not_know():
    with pytest.raises(SchedulerError, match=r"scheduler plan: needs 'slep', which is no capability. Did you mean 's"):
        Simulation(JOBS, Plan(Kill, {"slep"}), nodes=4)
