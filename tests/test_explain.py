"""What ``hpcsim explain`` says of a job is what the tables hold, counted by hand."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import hpcsim
from hpcsim.cli import cli
from hpcsim.errors import InputError
from hpcsim.results.answer import answer
from hpcsim.results.explain import explain
from hpcsim.results.run import Run

DOC = (Path(__file__).parents[1] / "docs" / "explain.md").read_text()

PLUGIN = """
from hpcsim.plugin import Hold, Kill, Preempt, SetCap, SetCooling, SetSpeed, Sleep, Start, Wake, hookimpl

class Busybody:
    '''Pulls each lever once, and says why.'''
    name = "busybody"
    api = 1
    needs = frozenset({"preemption", "speed", "sleep", "power"})
    passes_when_idle = True
    def schedule(self, view):
        running = {each.job.name: each.job for each in view.running.values()}
        if view.now == 0:
            yield from (Start(job, "at once") for job in view.queue)
            yield Hold(100, "to look again")
        elif view.now == 100:
            yield Preempt(running["1"], "somebody more important is coming")
            yield Kill(running["2"], "it hangs")
            yield SetSpeed(running["3"], 0.75, "it can wait")
            yield Sleep(5, "nobody comes")
            yield SetCap(1e6, "the grid asks for it")
            yield SetCooling(sorted(view.power.cooling_modes)[0], "cold night")
            yield Hold(2000)
        elif view.now == 2000:
            yield Wake(5, "somebody comes")
            yield from (Start(job, "again") for job in view.queue)

@hookimpl
def hpcsim_schedulers(register):
    register(Busybody)
"""


def swf(path, *jobs, nodes=10):
    """A trace of (submit, runtime, nodes[, walltime[, preceding job]])."""
    rows = [f"; UnixStartTime: 0\n; MaxNodes: {nodes}\n"]
    for number, (submit, runtime, size, *more) in enumerate(jobs, 1):
        walltime, after = (*more, -1)[:2] if more else (runtime, -1)
        rows.append(f"{number} {submit} -1 {runtime} {size} -1 -1 {size} {walltime} -1 1 1 -1 -1 -1 -1 {after} -1\n")
    path.write_text("".join(rows))
    return path


@pytest.fixture
def blocked(tmp_path):
    """j3 waits for j1 and j2 to end; j4 overtakes it, and j5, which is too long to, does not."""
    jobs = (0, 50, 6), (0, 100, 3), (10, 20, 8), (20, 30, 1), (20, 200, 1)
    return hpcsim.simulate("bare", {"trace": str(swf(tmp_path / "blocked.swf", *jobs))}, check=True)


def test_a_job_that_waited_is_explained_by_what_the_tables_hold(blocked):
    found = explain(blocked, "3")
    (attempt,) = found.attempts
    wait = attempt.wait
    assert (found.submit_s, found.eligible_s, attempt.start_s, attempt.why) == (10, 10, 100, "first in the queue")
    assert (wait.free_nodes, wait.enough_free_s, wait.jobs_running) == (1, 0, 2)
    assert [(each.job_id, each.nodes, each.end_s) for each in wait.running] == [("1", 6, 50), ("2", 3, 100)]
    assert (wait.ahead.jobs, wait.overtook.jobs) == (0, 2)
    assert wait.overtook.reasons == {
        "backfilled: ends before the head can start": 1,
        "backfilled: on nodes that the head leaves free": 1,
    }
    assert (wait.overtook.longest, wait.overtook.longest_s) == ("5", 200)
    assert wait.overtook.node_hours == pytest.approx((30 + 200) / 3600)
    assert [(each.job_id, each.state) for each in wait.made_room] == [("2", "completed")]


def test_a_job_that_started_at_once_waited_for_nothing(blocked):
    found = explain(blocked, "1")
    assert found.attempts[0].wait.until_s == found.submit_s
    assert str(found).splitlines()[0] == "1 started as soon as it was submitted."


def counted_by_hand(run, row):
    """Of the first wait of a job: seconds with enough free nodes, and the rows that overtook it and went ahead."""
    jobs, attempts = run.jobs, run.attempts
    index = {name: at for at, name in enumerate(jobs["job_id"])}
    order = [index[name] for name in attempts["job_id"]]
    first = order.index(row)
    since, until = int(jobs["submit_s"][row]), int(attempts["start_s"][first])
    busy = np.zeros(until - since, int)
    for start, end, nodes in zip(attempts["start_s"], attempts["end_s"], attempts["nodes"], strict=True):
        busy[max(start - since, 0) : max(int(end) - since, 0)] += nodes
    enough = int(np.sum(run.manifest["machine"]["nodes"] - busy >= jobs["nodes"][row]))
    others = [other for at, other in enumerate(order[:first]) if since <= attempts["start_s"][at] <= until]
    return enough, sum(other > row for other in others), sum(other < row for other in others)


@pytest.mark.parametrize("scheduler", ["easy", "conservative"])
def test_what_is_said_of_waits_is_what_counting_by_the_second_gives(tmp_path, scheduler):
    rng = np.random.default_rng(3)
    jobs = sorted(
        (int(rng.integers(0, 900)), int(runtime), int(rng.integers(1, 9)), int(runtime * rng.uniform(1, 3)))
        for runtime in rng.integers(1, 150, 60)
    )
    trace = swf(tmp_path / "many.swf", *jobs)
    run = hpcsim.simulate("bare", {"trace": str(trace), "scheduler": scheduler}, check=True)
    overtaken = 0
    for row, name in enumerate(run.jobs["job_id"]):
        wait = explain(run, name).attempts[0].wait
        assert (wait.enough_free_s, wait.overtook.jobs, wait.ahead.jobs) == counted_by_hand(run, row)
        overtaken += wait.overtook.jobs > 0
    assert overtaken > 5


def test_every_decision_is_kept_with_its_reason_and_told_where_it_concerns_the_job(tmp_path):
    (tmp_path / "busybody.py").write_text(PLUGIN)
    jobs = (0, 1000, 10), (0, 1000, 10), (0, 1000, 10), (0, 1000, 10)
    trace = swf(tmp_path / "four.swf", *jobs, nodes=560)
    machine = {"name": "Polaris", "nodes": 560, "model": "polaris"}
    quiet = {"queues": False, "failures": False}
    settings = {"trace": str(trace), "scheduler": "busybody", "machine": machine, "physics": quiet}
    run = hpcsim.simulate("bare", settings, plugins=[tmp_path / "busybody.py"], check=True)
    rows = run.decisions[["time_s", "decision", "job_id", "value", "mode", "why"]].astype(object)
    rows = rows.where(rows.notna(), None).to_numpy().tolist()
    mode = rows[6][4]
    assert rows == [
        [0, "hold", None, 100.0, None, "to look again"],
        [100, "preempt", "1", None, None, "somebody more important is coming"],
        [100, "kill", "2", None, None, "it hangs"],
        [100, "set_speed", "3", 0.75, None, "it can wait"],
        [100, "sleep", None, 5.0, None, "nobody comes"],
        [100, "set_cap", None, 1e6, None, "the grid asks for it"],
        [100, "set_cooling", None, None, mode, "cold night"],
        [100, "hold", None, 2000.0, None, ""],
        [2000, "wake", None, 5.0, None, "somebody comes"],
    ]
    first, again = explain(run, "1").attempts
    assert (first.because, first.state, again.why) == ("somebody more important is coming", "preempted", "again")
    levers = {"sleep: nobody comes": 1, "wake: somebody comes": 1, "set_cap: the grid asks for it": 1, "hold": 1}
    assert again.wait.levers == levers
    assert "killed by the scheduler: it hangs (ran 1 min)" in str(explain(run, "2"))
    assert explain(run, "3").attempts[0].speeds == ((100, 0.75, "it can wait"),)
    assert "clock set to 0.75: it can wait" in str(explain(run, "3"))


def test_a_reason_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "busybody.py").write_text(PLUGIN.replace('"it hangs"', "7"))
    trace = swf(tmp_path / "t.swf", (0, 1000, 1), (0, 1000, 1), (0, 1000, 1))
    with pytest.raises(hpcsim.errors.BadDecision, match="with the reason 7; a reason is text"):
        hpcsim.simulate("bare", {"trace": str(trace), "scheduler": "busybody", "machine.model": "polaris",
                                 "machine.nodes": 560, "physics": {"queues": False}},
                        plugins=[tmp_path / "busybody.py"])  # fmt: skip


def test_a_job_that_follows_another_says_for_whom_it_waited(tmp_path):
    trace = swf(tmp_path / "after.swf", (0, 50, 1), (5, 10, 1, 10, 1))
    run = hpcsim.simulate("bare", {"trace": str(trace)}, check=True)
    found = explain(run, "2")
    assert (found.after, found.submit_s, found.eligible_s, found.attempts[0].start_s) == ("1", 5, 50, 50)
    assert str(found).startswith("2 waited 45 s for jobs that it follows.")


@pytest.fixture(scope="module")
def polaris():
    return hpcsim.simulate("polaris", {"jobs": 3000}, check=True)


def test_a_job_that_was_held_back_names_the_limit_and_until_when(polaris):
    jobs = polaris.jobs
    held = jobs[jobs["held_by"].notna()]
    assert len(held) > 100
    assert (held["eligible_s"] > held["submit_s"]).all()
    others = jobs[jobs["held_by"].isna() & (jobs["state"] != "rejected")]
    assert (others["eligible_s"] == others["submit_s"]).all()
    assert jobs[jobs["state"] == "rejected"]["eligible_s"].isna().all()
    started = jobs[jobs["start_s"].notna()]
    assert (started["start_s"] >= started["eligible_s"]).all()
    # as many of a project as its queue lets run are running or may run when a job of it is held back
    one = held[held["held_by"] == "large: 10 running jobs of a project at most"].iloc[0]
    alike = jobs[(jobs["project"] == one["project"]) & (jobs["queue"] == one["queue"])]
    may_run = (alike["eligible_s"] <= one["submit_s"]) & (alike["end_s"] > one["submit_s"])
    assert int(may_run.sum()) == 10


def test_a_job_says_in_which_queue_it_was_and_for_which_it_asked(tmp_path, polaris):
    trace = swf(tmp_path / "routed.swf", (0, 1000, 12))
    trace.write_text(trace.read_text().replace(" -1 -1 -1 -1 -1\n", " 1 7 -1 -1 -1\n"))
    run = hpcsim.simulate("polaris", {"trace": str(trace)})
    assert run.jobs[["queue", "routed_to"]].to_numpy().tolist() == [["7", "small"]]
    assert "queue small (asked for 7)." in str(explain(run, "1"))
    assert polaris.jobs["routed_to"].isna().all()  # its synthetic jobs ask for the queue that they get


def test_a_job_that_was_stopped_for_another_or_lost_a_node_says_so(polaris):
    attempts = polaris.attempts
    stopped = explain(polaris, attempts[attempts["state"] == "preempted"]["job_id"].iloc[0])
    assert re.fullmatch(r"for job \d+.polaris of queue demand", stopped.attempts[0].because)
    lost = explain(polaris, attempts[attempts["state"] == "node_failed"]["job_id"].iloc[0])
    assert re.match(r"hardware: unit \d+ ", lost.attempts[0].because)


def test_a_job_that_was_rejected_names_the_rule(polaris):
    jobs = polaris.jobs
    rejected = jobs[jobs["state"] == "rejected"].iloc[0]
    said = str(explain(polaris, rejected["job_id"]))
    assert said.splitlines()[0] == f"{rejected['job_id']} was rejected: {rejected['rejected_by']}."


def test_a_run_that_was_stopped_says_what_is_not_over(tmp_path):
    trace = swf(tmp_path / "stopped.swf", (0, 500, 8), (5, 10, 9), (6, 10, 1, 10, 2))
    run = hpcsim.simulate("bare", {"trace": str(trace), "until": 100})
    assert "still running when the run stopped" in str(explain(run, "1"))
    waiting = explain(run, "2").waiting
    assert (waiting.from_s, waiting.until_s, waiting.free_nodes) == (5, None, 2)
    assert (explain(run, "3").eligible_s, explain(run, "3").waiting) == (None, None)


@pytest.mark.parametrize("width", [80, 100, 160])
def test_an_answer_fits_the_terminal_and_is_no_longer_than_an_operators(polaris, width):
    lengths = []
    for name in polaris.jobs["job_id"][::23]:
        lines = answer(explain(polaris, name), width)
        assert max(map(len, lines)) <= width
        lengths.append(len(lines))
    assert max(lengths) <= 45
    assert np.quantile(lengths, 0.9) <= 25


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("300.polari", "no job named '300.polari' among the 3,000 of the run. Did you mean '300.polaris'?"),
        ("70000", "no job named '70000' among the 3,000 of the run. The first is '1.polaris'."),
    ],
)
def test_a_job_that_is_not_there_is_refused_with_a_guess(polaris, name, said):
    with pytest.raises(InputError) as error:
        explain(polaris, name)
    assert str(error.value) == said


def test_the_part_of_a_name_before_its_dot_is_enough(polaris):
    assert explain(polaris, "300") == explain(polaris, "300.polaris")


def test_the_command_prints_what_the_library_says(blocked, tmp_path):
    blocked.write(tmp_path / "run", plots=False)
    printed = CliRunner().invoke(cli, ["explain", str(tmp_path / "run"), "3"])
    assert printed.output.splitlines() == answer(explain(blocked, "3"), 80)
    as_json = CliRunner().invoke(cli, ["explain", str(tmp_path / "run"), "3", "--json"])
    assert json.loads(as_json.output) == json.loads(json.dumps(explain(blocked, "3").as_data()))


def test_a_run_from_before_decisions_were_kept_is_explained_as_far_as_it_goes(blocked, tmp_path):
    directory = blocked.write(tmp_path / "run", plots=False)
    (directory / "decisions.parquet").unlink()
    assert str(explain(Run.open(directory), "3")) == str(explain(blocked, "3"))


def test_the_documentation_shows_what_the_command_prints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    shown = re.findall(r"\n((?:    hpcsim .*\n)+)\n\S.*\n\n((?:    .*\n|\n)*)", DOC)
    assert len(shown) >= 2
    for typed, answered in shown:
        for command in typed.splitlines():
            done = CliRunner().invoke(cli, shlex.split(command)[1:], catch_exceptions=False)
            assert done.exit_code == 0, done.output
        expected = "\n".join(line[4:] for line in answered.rstrip("\n").split("\n"))
        assert done.output.rstrip("\n") == expected.rstrip("\n")
