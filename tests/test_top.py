"""What ``hpcsim top`` shows is what the tables hold at that second, and it fits the terminal."""

import dataclasses
import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from itertools import pairwise
from math import inf
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

import hpcsim
from hpcsim.cli import cli
from hpcsim.cli import top as top_command
from hpcsim.cli.screen import Pace, Past, clock, picture, plain
from hpcsim.errors import InputError
from hpcsim.results.explain import explain
from hpcsim.results.frames import Event, Frame, Recording, frame_of
from hpcsim.results.run import Run

RUNS = {
    "failures and a cap": ("polaris", {"days": 3, "physics.cap_kw": 900}),
    "nodes that sleep": ("polaris", {"days": 3, "levers.sleep_idle": "15m"}),
    "shared nodes": ("polaris", {"jobs": 200, "physics.processors": "cores"}),
    "midplanes": ("mira", {"days": 4}),
    "node classes": ("workflows", {}),
    "launched late, stopped early": ("polaris", {"days": 2, "until": 90_000, "launch_latency": 30}),
    "nodes only counted": ("polaris", {"days": 2, "physics": None}),
}


@pytest.fixture(scope="module", params=RUNS)
def case(request):
    """What a run is called, what it is made of, and the run."""
    return request.param, RUNS[request.param], hpcsim.simulate(*RUNS[request.param])


@pytest.fixture(scope="module")
def run(case) -> Run:
    return case[2]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    return hpcsim.simulate("polaris", {"jobs": 60}).write(tmp_path_factory.mktemp("runs") / "run", plots=False)


def seconds_of(run, count=40):
    recording = Recording(run)
    length = recording.end_s - recording.start_s
    return [recording.start_s + length * number // count for number in range(count + 1)]


# -- what a frame says --------------------------------------------------------------------------


def test_a_frame_of_a_finished_run_counts_what_its_tables_hold_at_that_second(case):
    name, (_, given), run = case
    recording, jobs, attempts = Recording(run), run.jobs, run.attempts
    taken_s, end_s = attempts.start_s - given.get("launch_latency", 0), attempts.end_s.fillna(inf)
    for second in seconds_of(run):
        frame = recording.frame(second)
        on = attempts[(taken_s <= second) & (end_s > second)]
        if name != "node classes":  # where a job that waits for its data holds nodes before it starts
            assert frame.running == len(on)
            assert frame.busy_nodes == (on.units.nunique() if name == "shared nodes" else on.nodes.sum())
        arrived = jobs[jobs.submit_s <= second]
        assert frame.ended + frame.waiting + frame.running == len(arrived)
        assert frame.ended == (arrived.end_s <= second).sum() + arrived.rejected_by.notna().sum()
        assert (frame.jobs, frame.nodes) == (len(jobs), run.manifest["machine"]["nodes"])


def test_a_frame_of_a_finished_run_has_the_machine_of_its_tables(run):
    recording = Recording(run)
    for second in seconds_of(run):
        frame = recording.frame(second)
        if "power" not in run.tables:
            assert (frame.facility_w, frame.it_w, frame.cap_w, frame.down_nodes, frame.asleep_nodes) == (None,) * 5
            continue
        row = run.power[run.power.time_s <= second].iloc[-1]
        assert (frame.facility_w, frame.it_w) == (row.facility_w, row.it_w)
        down = sum(each.nodes for each in run.interrupts.itertuples() if each.time_s <= second < each.until_s)
        assert frame.down_nodes == down
        until = run.decisions[run.decisions.time_s <= second]
        slept, woken = (until[until.decision == kind].value.sum() for kind in ("sleep", "wake"))
        assert frame.asleep_nodes == slept - woken


def test_a_frame_of_a_simulation_is_that_of_its_tables(case):
    _, given, run = case
    recording, simulation = Recording(run), hpcsim.begin(*given)
    for second in seconds_of(run, 12)[1:-1]:
        simulation.run(second)
        shown = recording.frame(second - 1)
        live = frame_of(simulation, shown.title)
        unlike = {"end_s", "facility_w", "hottest_c", "mean_c", "throttled_nodes"}
        if "until" in given[1]:
            unlike.add("jobs")  # tables have only those that were submitted
        if "grid" not in run.tables:
            unlike.add("cap_w")
        assert {field for field in SHOWN if getattr(live, field) != getattr(shown, field)} <= unlike
        assert live.facility_w == (None if shown.facility_w is None else pytest.approx(shown.facility_w, rel=1e-12))
    assert live.job_events


SHOWN = [field.name for field in dataclasses.fields(Frame)]


def test_nodes_that_an_outage_took_from_their_sleep_are_asleep_no_more():
    changes = {"seed": 11, "days": 15, "load": 0.5, "scheduler": "easy", "levers.sleep_idle": "5m"}
    run = hpcsim.simulate("cooley", changes, check=True)
    out = run.interrupts[run.interrupts.slept_nodes > 0]
    recording = Recording(run)
    for each in out.itertuples():
        before, begins, last = (
            recording.frame(each.time_s + later) for later in (-1, 0, each.until_s - each.time_s - 1)
        )
        assert before.asleep_nodes >= each.slept_nodes
        assert (begins.busy_nodes, begins.down_nodes, begins.asleep_nodes) == (0, 126, 0)
        assert (last.busy_nodes, last.down_nodes, last.asleep_nodes) == (0, 126, 0)
    assert len(out)
    waited = run.jobs[(run.jobs.submit_s > each.time_s) & (run.jobs.submit_s < each.until_s)]
    assert len(waited)
    for job_id in waited.job_id:
        assert explain(run, job_id).attempts[0].wait.free_nodes == 0


def test_who_looks_at_a_simulation_does_not_change_it(tmp_path):
    given = "polaris", {"days": 2}
    looked = hpcsim.simulate(*given, progress=lambda simulation: frame_of(simulation, "looked at"))
    alone = hpcsim.simulate(*given)
    assert {name: table.equals(alone.tables[name]) for name, table in looked.tables.items()} == dict.fromkeys(
        alone.tables, True
    )


def test_events_are_the_last_that_happened_and_say_what(run):
    recording = Recording(run)
    frame = recording.frame(recording.end_s)
    ends = run.attempts.dropna(subset="end_s").sort_values("end_s")
    told = [event for event in frame.job_events if " starts on " not in event.text]
    assert [event.time_s for event in frame.job_events] == sorted(event.time_s for event in frame.job_events)
    assert told[-1].time_s == ends.end_s.iloc[-1]
    assert {event.text.split()[0] for event in told} <= set(ends.job_id.tail(60))
    if "interrupts" in run.tables and len(run.interrupts):
        last = max(max(run.interrupts.time_s), *(each for each in run.interrupts.until_s if each <= recording.end_s), 0)
        assert max(event.time_s for event in frame.machine_events) >= last


# -- the picture --------------------------------------------------------------------------------


def drawn(frame, width, height, past=None):
    past = past or Past()
    past.add(frame)
    out = io.StringIO()
    Console(file=out, width=width, height=height).print(picture(frame, Pace("3,600x", 4), past, width, height))
    return out.getvalue().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (160, 50), (200, 60)])
def test_a_picture_fits_the_terminal_and_cuts_no_word_of_its_own(run, width, height):
    recording, past = Recording(run), Past()
    for second in seconds_of(run):
        lines = drawn(recording.frame(second), width, height, past)
        assert len(lines) <= height
        assert all(len(line) <= width for line in lines)
        text = "\n".join(lines)
        frame = recording.frame(second)
        for words in (
            f"{frame.ended:,} of {frame.jobs:,} jobs ended", "3,600x, 4 s left", f"of {frame.nodes:,} nodes: busy",
            f"idle {frame.nodes - frame.busy_nodes - (frame.down_nodes or 0) - (frame.asleep_nodes or 0):,}",
            f"{frame.waiting:,} jobs", f"{frame.running:,} jobs",
            time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(frame.t0_utc + second)),
        ):  # fmt: skip
            assert words in text
        assert ("power" in text) == (frame.facility_w is not None)
        assert ("hottest" in text) == (frame.hottest_c is not None)
    assert len(lines) >= height - 6  # the room is used


def test_more_room_has_taller_curves_and_the_lists_side_by_side(run):
    recording, past = Recording(run), Past()
    frame = recording.frame(recording.end_s)
    large = drawn(frame, 160, 50, past)
    assert [line for line in large if re.match(r"machine +jobs", line)]
    assert not [line for line in drawn(frame, 80, 24, past) if re.match(r"machine +jobs", line)]
    rows = {line.split()[0]: number for number, line in enumerate(large) if line[:1].strip()}
    assert rows["waiting"] - rows["busy"] > 3


def frame_with(**given):
    some = Frame(
        title="a under b", t0_utc=0, start_s=0, now_s=50, end_s=100, jobs=10, ended=5, waiting=1, running=2, nodes=10,
        busy_nodes=6, down_nodes=1, asleep_nodes=2, facility_w=2e6, it_w=1e6, cap_w=inf, hottest_c=70.0, mean_c=40.0,
        throttled_nodes=3, job_events=(), machine_events=(),
    )  # fmt: skip
    return dataclasses.replace(some, **given)


def test_bars_and_curves_are_as_long_and_as_high_as_their_figures():
    lines = drawn(frame_with(), 80, 24)
    bar = next(line for line in lines if "nodes: busy" in line).split("  ")[0]
    assert bar.count("█") == pytest.approx(len(bar) * 9 / 10, abs=1.5)
    past = Past()
    for now_s, waiting in ((0, 0), (25, 8), (50, 4), (75, 2), (100, 1)):
        past.add(frame_with(now_s=now_s, waiting=waiting, end_s=100))
    curve = past.curve(lambda frame: frame.waiting, 4)
    assert curve == [0, 8, 4, 1]
    assert past.curve(lambda frame: frame.waiting, 8) == [0, 0, 8, 8, 4, 4, 2, 1]


def test_a_power_cap_is_named_where_there_is_one_and_only_where_it_is_known():
    for cap_w, said in ((inf, "2,000 kW, no cap"), (3e6, "2,000 kW, cap 3,000"), (None, "2,000 kW  ")):
        assert said in "\n".join(drawn(frame_with(cap_w=cap_w), 80, 24))


def test_texts_of_others_are_shown_as_they_are_on_one_line_and_cut_with_a_sign():
    evil = "[red]x[/] \x1b[31m\n" + "長" * 200
    frame = frame_with(title=evil, job_events=(Event(1, evil),), machine_events=(Event(2, evil),))
    for width in (80, 160):
        lines = drawn(frame, width, 24)
        assert "\x1b" not in "".join(lines)
        assert sum("[red]x[/] ?[31m?" in line and "…" in line for line in lines) >= 2
        assert len(lines) <= 24


def test_a_terminal_of_any_size_has_a_picture():
    for width in (1, 10, 40, 79, 500):
        for height in (1, 5, 23, 200):
            assert 0 < len(drawn(frame_with(), width, height)) <= height


def test_old_frames_are_thinned_and_the_curve_keeps_its_ends():
    past = Past()
    for second in range(10_000):
        past.add(frame_with(now_s=second, waiting=second, end_s=10_000))
    assert len(past.frames) <= 2_000
    curve = past.curve(lambda frame: frame.waiting, 10)
    assert (curve[0] < 1_000, curve[-1]) == (True, 9_999)


def test_spans_on_the_wall_are_short():
    assert [clock(each) for each in (0.4, 59, 60, 3_605, 7_200)] == ["0 s", "59 s", "1:00", "1:00:05", "2:00:00"]


# -- the command --------------------------------------------------------------------------------


def test_a_replay_into_a_file_ends_with_the_last_second(written):
    done = CliRunner().invoke(cli, ["top", str(written)])
    lines = done.output.splitlines()
    recording = Recording(Run.open(written))
    assert done.exit_code == 0
    assert lines[-1] == plain(recording.frame(recording.end_s), Pace("", None))
    assert "60 of 60 jobs ended" in lines[-1]
    assert len(lines) > 10


def test_a_replay_shows_every_second_in_its_turn_and_the_last_one(written, monkeypatch):
    clock = iter([number / 10 for number in range(10_000)])
    monkeypatch.setattr(top_command.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(top_command.time, "sleep", lambda seconds: None)
    recording = Recording(Run.open(written))
    seconds = list(top_command._seconds(recording, 3_600.0))
    assert (seconds[0], seconds[-1]) == (recording.start_s, recording.end_s)
    assert seconds == sorted(set(seconds))
    assert {after - before for before, after in pairwise(seconds[:-1])} <= {719, 720, 721}


def test_a_scenario_is_run_as_hpcsim_run_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = ["polaris", "--jobs", "50", "--no-plots", "--out"]
    watched = CliRunner().invoke(cli, ["top", *asked, "watched"])
    alone = CliRunner().invoke(cli, ["run", *asked, "alone"])
    assert (watched.exit_code, alone.exit_code) == (0, 0)
    assert watched.output.replace("watched", "alone") == alone.output
    for name in ("jobs.parquet", "summary.json", "power.parquet"):
        assert (tmp_path / "watched" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["RUN", "--speed", "fast"], "--speed: found 'fast'"),
        (["RUN", "--speed", "0x"], "--speed: found '0x'"),
        (["RUN", "--speed", "60x", "--seconds", "3"], "say the same thing"),
        (["RUN", "--jobs", "5"], "--jobs is for running a scenario"),
        (["RUN", "--set", "seed=2"], "--set is for running a scenario"),
        (["polaris", "--speed", "60x"], "--speed is for the replay of one"),
        (["EMPTY"], "not a complete run directory"),
        (["no-such-thing"], "no scenario named 'no-such-thing'"),
    ],
)
def test_what_makes_no_sense_is_refused(written, tmp_path, words, said):
    words = [{"RUN": str(written), "EMPTY": str(tmp_path)}.get(word, word) for word in words]
    done = CliRunner().invoke(cli, ["top", *words])
    assert isinstance(done.exception, InputError)
    assert said in str(done.exception)


def on_a_terminal(*words, interrupt_after=None):
    """The exit code of a command on a terminal, and all that it wrote there."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    command = subprocess.Popen(
        [sys.executable, "-m", "hpcsim", *words], stdin=theirs, stdout=theirs, stderr=theirs, env=env
    )
    os.close(theirs)
    seen = b""
    while select.select([ours], [], [], 60)[0]:
        try:
            more = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        if not more:
            break
        seen += more
        if interrupt_after is not None and interrupt_after in seen:
            command.send_signal(signal.SIGINT)
            interrupt_after = None
    os.close(ours)
    return command.wait(timeout=60), seen.decode()


def test_on_a_terminal_a_replay_leaves_its_last_picture(written):
    code, seen = on_a_terminal("top", str(written), "--seconds", "0.5")
    assert code == 0
    assert "60 of 60 jobs ended" in seen.split("\x1b[?1049l")[-1]
    assert seen.count("\x1b[?1049h") == seen.count("\x1b[?1049l") == 1


def test_an_interrupt_ends_a_replay_and_a_run_with_130(written, tmp_path):
    for words in ((str(written), "--seconds", "60"), ("polaris", "--out", str(tmp_path / "run"))):
        code, seen = on_a_terminal("top", *words, interrupt_after=b"jobs ended")
        assert code == 130
        assert "interrupted; nothing was written" in seen
        assert seen.count("\x1b[?1049h") == seen.count("\x1b[?1049l") == 1  # the terminal is as it was
    assert not (tmp_path / "run").exists()


def test_pictures_take_a_small_share_of_a_run(monkeypatch):
    """However long one takes: the next is drawn so much later."""
    view = top_command._Live("polaris")
    now = [100.0]
    monkeypatch.setattr(top_command.time, "monotonic", lambda: now[0])

    class Slow:
        def show(self, frame, pace):
            now[0] += 1.0

    view._screen, view._next, view._began = Slow(), 100.0, 90.0
    view(hpcsim.begin("polaris", {"jobs": 5, "physics": None}))
    assert view._next - 100.0 >= 1.0 / 0.05


def test_a_frame_is_plain_figures():
    assert {field.type for field in dataclasses.fields(Frame)} <= {
        "str", "int", "int | None", "float | None", "tuple[Event, ...]",
    }  # fmt: skip
