"""The kit finds what is wrong: each check is failed by a plug-in that is wrong in one way, and says how."""

import json
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import hpcsim
from hpcsim import cli
from hpcsim.errors import BadDecision, SchedulerError
from hpcsim.plugin import Start
from hpcsim.plugin.loader import load_plugins
from hpcsim.testing import (
    Factory,
    NotReached,
    SchedulerContract,
    TwinContract,
    budget,
    cases,
    scheduler_checks,
    twin_checks,
    watched,
)

HERE = Path(__file__).parent
FILES = {"scheduler": HERE / "bad_schedulers.py", "twin": HERE / "bad_twins.py"}
CHECKS = {"scheduler": scheduler_checks(), "twin": twin_checks()}

# the plug-in, the checks that it fails, and what the first of them says
BAD_SCHEDULERS = [
    ("callsitselfotherwise", ["keeps_to_the_api"], "one that is made calls itself 'another'"),
    ("needsanoption", ["options_have_defaults_and_a_schema"], "no default for depth"),
    ("raises", ["raises_nothing"], r"ZeroDivisionError: one too many \(.*bad_schedulers.py:\d+\): raise Zero"),
    ("yieldstext", ["decides_in_the_right_form"], "decided 'start j0'; a decision is one of Start"),
    ("holdsforhalfasecond", ["decides_in_the_right_form"], r"holds until 1897\.5; it must be a whole second"),
    ("killswithoutneed", ["decides_in_the_right_form"], "declare 'preemption' among its needs"),
    ("startstwice", ["decides_for_known_jobs_only"], "started job j0 twice in one pass"),
    ("startswhatitoncesaw", ["decides_for_known_jobs_only"], "j0, which is completed; .* keeps a list of jobs"),
    ("killswhatwaits", ["decides_for_known_jobs_only"], "killed job j3, which is waiting"),
    ("takesthefirst", ["decides_nothing_for_an_empty_queue"], "without asking whether there is one"),
    ("asksformore", ["decides_nothing_for_an_empty_queue"], r"while nothing runs, asksformore decided Hold\(600"),
    ("takesjobsaway", ["changes_nothing_itself", "reads_nothing_hidden"], "changed the queue itself"),
    ("overbooks", ["never_overbooks", "respects_shared_nodes"], "only 0 are free.*what it has just given"),
    ("countsbrokennodes", ["respects_down_nodes"], "of which some are down"),
    (
        "countsnodesonly",
        ["respects_maintenance", "respects_queue_pools", "respects_torus_blocks"],
        "may run until 11245, but maintenance begins at 7200",
    ),
    ("neverstarts", ["every_fitting_job_runs"], r"left jobs waiting .*: j0, j1, .* yield Hold\(until\)"),
    ("shortestfirst", ["no_job_starves"], "a job that needs all nodes was submitted at 200 and started at 12220"),
    ("drawsitsownlots", ["same_seed_same_schedule"], r"numpy\.random"),
    ("goesoveraset", ["same_schedule_in_a_new_process"], "PYTHONHASHSEEDs do otherwise.*goes over a set"),
    ("keepsitintheclass", ["simulations_do_not_disturb_each_other"], "keeps something in the class"),
    ("forgetswhencopied", ["goes_on_alike_when_copied", "goes_on_alike_when_pickled"], "the copy goes on otherwise"),
    ("keepsagenerator", ["goes_on_alike_when_copied"], "cannot be copied .*: TypeError: cannot pickle 'generator'"),
    ("keepsalambda", ["goes_on_alike_when_pickled"], "cannot be pickled at t=0"),
    (
        "readsthefuture",
        ["reads_nothing_hidden", "knows_no_future"],
        r"View._simulation and Simulation._runtime at .*bad_schedulers.py:\d+",
    ),
    ("readsitpasttheguard", ["knows_no_future"], "it knows how long jobs really run"),
    ("readshowjobsend", ["knows_no_future"], "it knows how programs end"),
    ("readsutilisations", ["knows_no_future"], "it knows what jobs will draw"),
    ("readssensitivities", ["knows_no_future"], "it knows how far jobs will feel"),
    ("readsfailures", ["knows_no_future"], "it knows when nodes will fail"),
    ("looksbehinditsview", ["reads_nothing_hidden"], "View._simulation and Simulation.free_nodes"),
    ("sortsforeachjob", ["ten_thousand_waiting_jobs_in_time"], r"took .* s of CPU with [\d,]+ waiting jobs"),
]
BAD_TWINS = [
    ("callsitselfotherwise", ["keeps_to_the_api"], "calls itself 'another'"),
    ("needsanargument", ["options_have_defaults_and_a_schema"], "cannot be made without arguments"),
    ("raises", ["raises_nothing"], r"twin raises raised IndexError: .*bad_twins.py:\d+"),
    ("raiseswhentold", ["raises_nothing"], r"twin raiseswhentold raised LookupError: completed"),
    ("raiseswhenithears", ["raises_nothing"], r"twin raiseswhenithears raised LookupError: \d+"),
    ("answerswithalist", ["answers_for_each"], r"with mean \[428, 52\]; expected an array of 2 float64"),
    ("answerswiththemean", ["answers_for_each"], r"not Prediction\(mean, aleatoric, epistemic\)"),
    ("dividesbyzero", ["answers_are_finite"], "mean -inf for number 0"),
    ("takeseverywattageforknown", ["answers_are_finite"], "mean nan for number 2"),
    ("deviatesbelowzero", ["deviations_are_not_negative"], r"aleatoric -428\.0; no standard deviation is below 0"),
    ("expectslessthannothing", ["means_are_possible"], r"a mean of -3548\.0; expected 0 or more"),
    ("looksattheothers", ["one_call_is_many"], r"answered mean 1\.0 when asked about one alone, and 0\.12"),
    ("tiresofquestions", ["to_be_asked_changes_nothing"], "asked again at once"),
    ("takesjobsaway", ["changes_nothing_itself"], "changed the queue itself"),
    ("drawsitsownlots", ["same_seed_same_answers"], "two runs with the same seed differ"),
    ("learnsbyaset", ["same_answers_in_a_new_process"], "goes over a set"),
    ("learnsintheclass", ["simulations_do_not_disturb_each_other"], "keeps something in the class"),
    ("forgetswhencopied", ["goes_on_alike_when_copied"], "the copy goes on otherwise"),
    ("keepsalambda", ["goes_on_alike_when_pickled"], "cannot be pickled at t=0"),
    ("readsthefuture", ["knows_no_future", "reads_nothing_hidden"], "it knows how long jobs really run"),
    ("readshowjobsend", ["knows_no_future"], "it knows how"),
    ("looksbehinditsview", ["reads_nothing_hidden"], "View._simulation and Simulation.now"),
    ("computesonebyone", ["ten_thousand_jobs_in_time"], "goes through them one by one"),
]
CASES = [("scheduler", *case) for case in BAD_SCHEDULERS] + [("twin", *case) for case in BAD_TWINS]


@pytest.fixture(scope="module")
def found():
    return load_plugins(list(FILES.values())).offers


@pytest.mark.parametrize(("kind", "name", "fails", "says"), CASES, ids=[f"{case[0]}-{case[1]}" for case in CASES])
def test_a_plug_in_that_is_wrong_fails_its_check_with_a_guess_of_the_cause(found, monkeypatch, kind, name, fails, says):
    monkeypatch.setattr(budget, "MOST", 20)  # so that what is too slow takes no seconds here
    checks = {check.name: check for check in CHECKS[kind]}
    for number, check in enumerate(fails):
        with pytest.raises(AssertionError) as caught:
            checks[check](found[f"{kind}s"][name])
        assert not isinstance(caught.value, NotReached)
        if not number:
            assert re.search(says, str(caught.value)), str(caught.value)


@pytest.mark.parametrize("kind", ["scheduler", "twin"])
def test_every_check_can_fail_and_every_bad_plug_in_is_tried(found, kind):
    tried = [case for case in CASES if case[0] == kind]
    assert {check for case in tried for check in case[2]} == {check.name for check in CHECKS[kind]}
    bad = {name for name, each in found[f"{kind}s"].items() if each.__module__.startswith("hpcsim_plugin_file")}
    assert {case[1] for case in tried} == bad


@pytest.mark.parametrize(
    ("name", "only"),
    [("startstwice", "decides_for_known_jobs_only"), ("neverstarts", "every_fitting_job_runs"),
     ("yieldstext", "decides_in_the_right_form")],
)  # fmt: skip
def test_what_is_broken_elsewhere_is_not_held_against_the_other_checks(found, name, only):
    failed = []
    for check in scheduler_checks():
        try:
            check(found["schedulers"][name])
        except NotReached:
            pass
        except AssertionError:
            failed.append(check.name)
    assert failed == [only]


def test_to_declare_clairvoyance_is_to_be_exempt(found):
    kind = type("Oracle", (found["schedulers"]["readsthefuture"],), {"needs": frozenset({"clairvoyance"})})
    for check in scheduler_checks():
        exempt = check.name in ("knows_no_future", "reads_nothing_hidden")
        assert (check.exempts(kind) is not None) == exempt
        if exempt:
            check(kind)


# -- the contract as a class ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contract", "given", "says"),
    [
        (SchedulerContract, {"no_job_starve": "so"}, "no check: 'no_job_starve'. Did you mean 'no_job_starves'"),
        (SchedulerContract, {"test_no_job_starves": "short first"}, "Did you mean 'no_job_starves'"),
        (TwinContract, {"xyz": "so"}, "names no check: 'xyz'. Known: keeps_to_the_api"),
        (SchedulerContract, {"no_job_starves": " "}, r"needs a reason, .* \(found ' '\)"),
        (SchedulerContract, {"no_job_starves": None}, "needs a reason"),
        (SchedulerContract, ["no_job_starves"], "should be a dict of check names and reasons"),
    ],
)  # fmt: skip
def test_an_expected_failure_needs_a_check_and_a_reason(contract, given, says):
    with pytest.raises(ValueError, match=f"Mine: expected_failures.*{says}"):
        type("Mine", (contract,), {"expected_failures": given})


OWN_TESTS = """
    from bad_schedulers import KeepsALambda, ShortestFirst, StartsTwice

    from hpcsim.testing import SchedulerContract


    class TestShortestFirst(SchedulerContract):
        scheduler = ShortestFirst
        expected_failures = {"no_job_starves": "short jobs go first", "never_overbooks": "it does not"}


    class TestStartsTwice(SchedulerContract):
        scheduler = StartsTwice
        expected_failures = {"never_overbooks": "it does not come so far"}


    class TestNothing(SchedulerContract):
        pass
"""


def test_a_report_names_each_check_and_what_came_of_it(tmp_path):
    (tmp_path / "test_mine.py").write_text(dedent(OWN_TESTS))
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", f"--rootdir={tmp_path}", "test_mine.py",
         "-k", "api or overbooks or starves or jobs_only"],
        cwd=tmp_path, env={"PYTHONPATH": f"{HERE}:{HERE.parent}", "PATH": ""}, capture_output=True, text=True,
    )  # fmt: skip
    report = ran.stdout
    assert "PASSED test_mine.py::TestShortestFirst::test_keeps_to_the_api" in report
    assert (
        "XFAIL test_mine.py::TestShortestFirst::test_no_job_starves - short jobs go first (a job that needs" in report
    )
    assert "FAILED test_mine.py::TestShortestFirst::test_never_overbooks" in report
    assert "never_overbooks was expected to fail (it does not), but it passes: take it out of expected_fai" in report
    assert "FAILED test_mine.py::TestStartsTwice::test_decides_for_known_jobs_only" in report
    assert "FAILED test_mine.py::TestStartsTwice::test_never_overbooks" in report  # not reached is no expected failure
    assert "TestNothing.scheduler should be the class to check" in report
    assert "hpcsim/testing" not in report  # a failure points at the author's code, not at the kit's


def test_the_kit_needs_no_pytest():
    code = (
        "import sys; sys.modules['pytest'] = None; import hpcsim.testing as kit; kit.scheduler_checks()[0](kit.Factory)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "AssertionError: Factory.name should be" in ran.stderr


def test_options_are_part_of_what_is_checked(found):
    factory = Factory(found["schedulers"]["easy"], {"order": "sjf"})
    with pytest.raises(AssertionError, match="takes ten times as long"):
        next(check for check in scheduler_checks() if check.name == "no_job_starves")(factory)
    with pytest.raises(NotReached, match="options are refused: order: Input should be 'fcfs'"):
        Factory(found["schedulers"]["easy"], {"order": "shortest"})()


# -- hpcsim check ---------------------------------------------------------------------------------


def checked(capsys, *words):
    with pytest.raises(SystemExit) as caught:
        cli.main(["check", *words])
    return caught.value.code, capsys.readouterr()


def test_the_command_prints_a_table_and_exits_with_0_or_1(capsys):
    code, said = checked(capsys, "recorded")
    assert code == 0, said.out
    assert re.search(r"^never_overbooks +passes +\d+\.\d\d s$", said.out, re.MULTILINE)
    assert re.search(r"^knows_no_future +exempt ", said.out, re.MULTILINE)
    assert re.search(r"^recorded keeps the contract \(23 checks, \d+\.\d s\)$", said.out, re.MULTILINE)

    code, said = checked(capsys, "startstwice", "--plugin", str(FILES["scheduler"]), "--json")
    table = json.loads(said.out)
    assert (code, table["passes"]) == (1, False)
    rows = {row["check"]: row for row in table["checks"]}
    assert list(rows) == [check.name for check in scheduler_checks()]
    assert rows["decides_for_known_jobs_only"]["result"] == "fails"
    assert "twice in one pass" in rows["decides_for_known_jobs_only"]["complaint"]
    assert rows["never_overbooks"]["result"] == "not reached"


def test_the_command_checks_twins_and_options(capsys, monkeypatch):
    code, said = checked(capsys, "raises", "--twin", "--json", *(f"--plugin={file}" for file in FILES.values()))
    assert (code, len(json.loads(said.out)["checks"])) == (1, len(twin_checks()))
    starves = [check for check in scheduler_checks() if check.name == "no_job_starves"]
    monkeypatch.setattr("hpcsim.testing.scheduler_checks", lambda: starves)
    for words, expected in ((), 0), (("--set", "order=sjf"), 1):
        code, said = checked(capsys, "easy", *words)
        assert code == expected
    assert "easy does not keep the contract (1 of 1 checks fail; 0." in said.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["eazy"], "no scheduler or twin named 'eazy'. Did you mean 'easy'?"),
        (["easy", "--twin"], "no twin named 'easy'. Known: "),
        (["easy", "--set", "ordr=sjf"], "scheduler.ordr: easy has no such option. Did you mean 'order'?"),
        (["last-two", "--set", "depth=2"], "twins.performance.depth: last-two has no such option"),
    ],
)
def test_a_name_or_option_that_is_not_there_is_bad_input(capsys, words, says):
    code, said = checked(capsys, *words)
    assert code == 2
    assert says in said.err


# -- as the issue shows it ------------------------------------------------------------------------


def test_each_bad_plug_in_gets_its_clear_error_and_no_other_run_is_touched(tmp_path, capsys):
    broken = tmp_path / "broken.py"
    broken.write_text("class Mine:\n    name = 'mine'\n    api = = 1\n")

    def run(scheduler, files=(FILES["scheduler"],)):
        return hpcsim.simulate("polaris", {"jobs": 200, "scheduler": scheduler, "physics": None}, plugins=list(files))

    def bytes_of(run):
        return run.tables["attempts"].to_pylist()

    right = bytes_of(run("easy", []))
    for name, error, says in (
        ("raises", SchedulerError, r"^t=\d+: scheduler raises raised ZeroDivisionError: one too many \(.*\.py:\d+\)$"),
        (
            "overbooks",
            BadDecision,
            r"^t=\d+: scheduler overbooks started job \S+ on \d+ nodes, but only \d+ are free; ",
        ),
        (
            "startstwice",
            BadDecision,
            r"^t=\d+: scheduler startstwice started job \S+, which is running since this very s",
        ),
        ("neverstarts", SchedulerError, r"^t=\d+: scheduler neverstarts left jobs waiting with nothing left to happen"),
    ):
        with pytest.raises(error, match=says):
            run(name)
        assert bytes_of(run("easy")) == right
    run("readsthefuture")  # which only the kit can tell
    assert bytes_of(run("easy")) == right
    code, said = checked(capsys, "mine", "--plugin", str(broken))
    assert code == 2
    assert f"{broken}:3: SyntaxError: invalid syntax" in said.err


class Endless:
    """Never ends a pass."""

    name = "endless"
    api = 1

    def schedule(self, view):
        while True:
            pass


@pytest.mark.parametrize("name", ["raises_nothing", "decides_nothing_for_an_empty_queue"])
def test_a_pass_that_never_ends_is_ended_and_told(monkeypatch, name):
    monkeypatch.setattr(watched, "LONGEST_PASS_S", 0.2)
    check = next(check for check in scheduler_checks() if check.name == name)
    for _ in range(2):  # once more, it is not waited for
        with pytest.raises(AssertionError, match=r"TimeoutError: a pass had not come to an end after 0\.2 s of CPU"):
            check(Endless)


class Asking:
    """Looks ahead now and then, by what may be asked of the future: most jobs should start within an hour."""

    name = "asking"
    api = 1

    def schedule(self, view):
        room = view.room()
        fit = [job for job in list(view.queue)[:3] if room.take(job)]
        if len(fit) > 1 and len(view.queue) % 5 == 0:
            outlooks = [(-len(view.what_if([Start(job)], 3600).starts), job.id, job) for job in fit]
            fit = [min(outlooks)[2]]
        yield from map(Start, fit[:1])


@pytest.mark.parametrize("name", ["knows_no_future", "reads_nothing_hidden", "changes_nothing_itself"])
def test_to_ask_what_would_be_is_to_know_nothing_and_to_change_nothing(monkeypatch, name):
    monkeypatch.setattr(cases, "counted_cases", tuple)  # one machine is enough, for each question takes a fork
    monkeypatch.setattr(cases, "machine_cases", lambda: (cases.failing_case(),))
    next(check for check in scheduler_checks() if check.name == name)(Asking)


def test_a_hopeless_scheduler_is_told_before_it_takes_minutes(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(budget, "process_time", lambda: clock[0])
    monkeypatch.setattr(budget, "_yardstick_s", lambda: 0.004)

    class Cubic:
        name = "cubic"
        api = 1

        def schedule(self, view):
            clock[0] += 0.1 * (len(view.queue) / 1000) ** 3
            return ()

    check = next(check for check in scheduler_checks() if check.name == "ten_thousand_waiting_jobs_in_time")
    with pytest.raises(AssertionError, match=r"took 2\.7 s .* 3,000 .* 0\.1 s with 1,000; with 10,000 .* about 100 s"):
        check(Cubic)
    assert clock[0] < 3.0  # it was not asked about 10,000
