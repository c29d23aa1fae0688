"""``hpcsim run`` from the outside: what it leaves, that it repeats, and that it leaves nothing when it fails."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

import hpcsim
from hpcsim.results.run import Run
from hpcsim.workload.job import workload_from_columns
from hpcsim.workload.swf import write_swf
from hpcsim.workload.trace import read_trace

FILES = {
    "SHA256SUMS", "attempts.parquet", "decisions.parquet", "jobs.parquet", "manifest.json", "plots/makespan.png",
    "plots/utilisation.png", "plots/waits.png", "report.html", "scenario.yaml", "summary.json", "timeline.parquet",
    "timing.json", "trace.json.gz",
}  # fmt: skip


def hpcsim_command(*arguments, cwd, hash_seed="0", **options):
    return subprocess.run(
        [sys.executable, "-m", "hpcsim", *map(str, arguments)], cwd=cwd, capture_output=True, text=True,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "COLUMNS": "80"}, timeout=120, check=False, **options,
    )  # fmt: skip


@pytest.fixture
def trace(tmp_path):
    """200 jobs that keep 16 nodes busy with a queue, as an SWF file."""
    random = np.random.default_rng(5)
    runtime = random.integers(1, 300, 200)
    workload = workload_from_columns(
        t0_utc=1_700_000_000, source="small", name=[str(i + 1) for i in range(200)],
        submit_s=np.sort(random.integers(0, 3000, 200)), nodes=random.integers(1, 17, 200),
        walltime_s=runtime + random.integers(0, 300, 200), runtime_s=runtime,
        user=[f"u{i % 7}" for i in range(200)], machine_nodes=16,
    )  # fmt: skip
    path = tmp_path / "small.swf"
    write_swf(workload, path)
    return path


def files_of(directory):
    return {str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()}


def test_run_leaves_a_complete_directory_that_pandas_opens(trace, tmp_path):
    done = hpcsim_command("run", "bare", "--trace", trace, "--out", "out", "--check", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "mean wait" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    out = tmp_path / "out"
    assert files_of(out) == FILES
    jobs = pd.read_parquet(out / "jobs.parquet")
    assert {
        "job_id", "user", "project", "queue", "submit_s", "start_s", "end_s", "attempts", "nodes", "walltime_s",
        "runtime_s", "state", "wait_s", "bounded_slowdown",
    } <= set(jobs.columns)  # fmt: skip
    assert jobs["job_id"].map(type).eq(str).all()
    assert (jobs["wait_s"] == jobs["start_s"] - jobs["submit_s"]).all()
    assert (jobs["runtime_s"] == jobs["end_s"] - jobs["start_s"]).all()
    expected = np.maximum(1, (jobs["end_s"] - jobs["submit_s"]) / np.maximum(jobs["runtime_s"], 10))
    assert np.allclose(jobs["bounded_slowdown"], expected)
    timeline = pd.read_parquet(out / "timeline.parquet")
    assert timeline["time_s"].is_monotonic_increasing
    assert tuple(timeline.iloc[-1][["queue", "running", "busy_nodes"]]) == (0, 0, 0)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["mean_wait_s"] == pytest.approx(jobs["wait_s"].mean())
    assert summary["p90_wait_s"] == pytest.approx(jobs["wait_s"].quantile(0.9))
    span = jobs["end_s"].max() - jobs["submit_s"].min()
    assert summary["makespan_s"] == span
    assert summary["utilisation"] == pytest.approx((jobs["nodes"] * jobs["runtime_s"]).sum() / (span * 16))
    assert summary["throughput_jobs_per_h"] == pytest.approx((jobs["state"] == "completed").sum() / span * 3600)
    assert summary["variability"] == pytest.approx(
        jobs["bounded_slowdown"].std(ddof=0) / jobs["bounded_slowdown"].mean()
    )


def test_the_same_scenario_and_seed_give_the_same_bytes_in_another_process(tmp_path):
    for out, hash_seed in (("one", "1"), ("two", "2"), ("other", "1")):
        seed = "8" if out == "other" else "7"
        arguments = ("run", "polaris", "--jobs", "2000", "--seed", seed, "--out", out)
        done = hpcsim_command(*arguments, cwd=tmp_path, hash_seed=hash_seed)
        assert done.returncode == 0, done.stderr
    for name in FILES - {"timing.json"}:
        one, two = ((tmp_path / out / name).read_bytes() for out in ("one", "two"))
        assert one == two, name
    jobs = [(tmp_path / out / "jobs.parquet").read_bytes() for out in ("one", "other")]
    assert jobs[0] != jobs[1]  # else the comparison above could not fail


def test_the_written_scenario_repeats_the_run(trace, tmp_path):
    for arguments in (
        ("bare", "--trace", trace, "--set", "scheduler.order=sjf", "--out", "first"),
        ("first/scenario.yaml", "--out", "again"),
    ):
        assert hpcsim_command("run", *arguments, cwd=tmp_path).returncode == 0
    for name in ("jobs.parquet", "scenario.yaml", "manifest.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_simulate_gives_the_tables_that_the_directory_holds(trace, tmp_path):
    run = hpcsim.simulate("bare", {"trace": str(trace), "scheduler": "fcfs"}, check=True)
    directory = run.write(tmp_path / "out", plots=False)
    assert not (directory / "plots").exists()
    again = Run.open(directory)
    for name in ("jobs", "attempts", "timeline"):
        pd.testing.assert_frame_equal(getattr(run, name), getattr(again, name))
    assert again.summary == run.summary
    assert again.manifest["scheduler"] == "fcfs"


def test_jobs_takes_the_first_of_a_trace_and_exactly_so_many_of_a_profile(trace):
    assert hpcsim.simulate("bare", {"trace": str(trace), "jobs": 7}).jobs["job_id"].tolist() == [
        str(i) for i in range(1, 8)
    ]
    assert len(hpcsim.simulate("mira", {"jobs": 123}).jobs) == 123


def test_the_headline_says_which_trace_which_options_and_how_many_jobs_were_not_taken(trace, tmp_path):
    done = hpcsim_command(
        "run", "bare", "--trace", trace, "--set", "machine.nodes=15", "--set", "scheduler.order=sjf", "--no-plots",
        cwd=tmp_path,
    )  # fmt: skip
    rejected = int(re.search(r"^jobs rejected +(\d+)", done.stdout, re.MULTILINE)[1])
    title = f"bare (small.swf) under easy (order=sjf): 200 jobs ({rejected} rejected) on 15 nodes, seed 1"
    assert title in " ".join(done.stdout.split())
    assert "runs/bare-easy-1" in done.stdout


PLUGIN = """
from hpcsim.plugin import Start, hookimpl

class Shortest:
    '''Start the job with the shortest walltime that fits.'''
    name = "shortest"
    api = 1
    def schedule(self, view):
        free = view.free_nodes
        for job in sorted(view.queue, key=lambda job: (job.walltime, job.id)):
            if job.nodes <= free:
                free -= job.nodes
                yield Start(job)

@hookimpl
def hpcsim_schedulers(register):
    register(Shortest)
"""


def test_a_plug_in_file_schedules(trace, tmp_path):
    (tmp_path / "mine.py").write_text(PLUGIN)
    done = hpcsim_command(
        "run", "bare", "--trace", trace, "--plugin", "mine.py", "--scheduler", "shortest", "--out", "out", "--check",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["scheduler"] == "shortest"


def test_of_a_plug_in_file_that_does_not_schedule_a_note_says_so(trace, tmp_path):
    (tmp_path / "mine.py").write_text(PLUGIN)
    said = "hpcsim: mine.py offers the scheduler shortest, but easy schedules; --scheduler shortest has it schedule\n"
    words = ("run", "bare", "--trace", trace, "--plugin", "mine.py", "--no-plots")
    for chosen, expected in (((), said), (("--scheduler", "shortest"), "")):
        done = hpcsim_command(*words, *chosen, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, expected)


def test_a_window_measures_only_what_was_submitted_in_it(trace):
    settings = {"trace": str(trace), "window": {"start": 500, "end": 2500, "warm_up": 500, "cool_down": 500}}
    run = hpcsim.simulate("bare", settings, check=True)
    assert run.jobs["submit_s"].between(500, 2499).all()
    assert run.jobs_in_words == f"{len(run.jobs):,} jobs ({run.summary['jobs']:,} measured)"
    assert (run.jobs["measured"] == run.jobs["submit_s"].between(1000, 1999)).all()
    counted = run.jobs[run.jobs["measured"]]
    assert run.summary["jobs"] == len(counted) < len(run.jobs)
    assert run.summary["mean_wait_s"] == pytest.approx(counted["wait_s"].mean())


def test_a_warm_start_takes_over_what_the_record_shows(tmp_path):
    path = tmp_path / "recorded.swf"
    path.write_text(
        "; UnixStartTime: 0\n; MaxNodes: 10\n"
        + "".join(
            f"{number} {submit} {wait} {runtime} {nodes} -1 -1 {nodes} {runtime} -1 1 1 -1 -1 -1 -1 -1 -1\n"
            for number, submit, wait, runtime, nodes in (
                (1, 0, 0, 50, 4),  # over by then
                (2, 10, 5, 200, 4),  # running at 100
                (3, 20, 30, 200, 9),  # recorded as running too, but both do not fit
                (4, 30, 100, 20, 1),  # waiting at 100
                (5, 120, 0, 20, 1),
            )
        )
    )
    window = {"start": 100, "warm_start": True}
    jobs = hpcsim.simulate("bare", {"trace": str(path), "window": window}, check=True).jobs.set_index("job_id")
    assert jobs["start_s"].to_dict() == {"2": 15, "3": 215, "4": 100, "5": 120}
    assert jobs["measured"].to_dict() == {"2": False, "3": False, "4": False, "5": True}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "bare"], "bare names no jobs: give a trace"),
        (["run", "bare", "--trace", "nowhere.swf"], "nowhere.swf"),
        (["run", "bare", "--trace", "nosuch.txt"], "nosuch.txt: there is no such file"),
        (["run", "SMALL"], "small.swf: that is a trace, expected a scenario: hpcsim run bare --trace "),
        (["run", "lublin_256.swf.gz"], "hpcsim run bare --trace lublin_256.swf.gz"),
        (["run", "bare", "--trace", "NO_SIZE"], "nor in no_size.swf; write it there, or add --set machine.nodes=N"),
        (["run", "bare", "--trace", "SMALL", "--jobs", "0"], "jobs: "),
        (["run", "bare", "--trace", "SMALL", "--scheduler", "eazy"], "Did you mean 'easy'"),
        (["run", "bare", "--trace", "SMALL", "--set", "scheduler.ordr=sjf"], "Did you mean 'order'"),
        (["run", "bare", "--trace", "SMALL", "--set", "machine.nodes=-4"], "machine.nodes"),
        (
            ["run", "bare", "--trace", "SMALL", "--set", "window.start=999999999"],
            "--set window.start=999999999: window: ",
        ),
        (["run", "bare", "--trace", "SMALL", "--set", "until=0"], "until: found 0 s, but the run begins at"),
        (["run", "bare", "--trace", "SMALL", "--out", "x" * 300], "cannot be written"),
        (["trace", "convert", "SMALL", "SMALL"], "exists already"),
        (["run", "polaris", "--set", "profile=polris"], "Did you mean"),
        (["run", "polariss"], "Did you mean"),
        (["run", "bare", "--trace", "SMALL", "--plugin", "none.py"], "none.py"),
        (["run", "bare", "--trace", "SMALL", "--out", "SMALL"], "exists already"),
        (["run", "bare", "--trace", "SMALL", "--out", "/proc/nowhere/run"], "cannot be written"),
    ],
)
def test_bad_input_exits_with_2_a_message_and_no_trace_of_a_run(trace, tmp_path, arguments, message):
    no_size = tmp_path / "no_size.swf"
    no_size.write_text(re.sub(r"; Max.*\n", "", trace.read_text()))
    before = files_of(tmp_path)
    given = [{"SMALL": str(trace), "NO_SIZE": str(no_size)}.get(argument, argument) for argument in arguments]
    if given[0] == "run" and "--out" not in given:
        given += ["--out", "out"]
    done = hpcsim_command(*given, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert files_of(tmp_path) == before


def test_a_scheduler_that_fails_voids_the_run_with_exit_code_1(trace, tmp_path):
    (tmp_path / "mine.py").write_text(PLUGIN.replace("if job.nodes <= free:", "if True:"))
    done = hpcsim_command(
        "run",
        "bare",
        "--trace",
        trace,
        "--plugin",
        "mine.py",
        "--scheduler",
        "shortest",
        "--out",
        "out",
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert "scheduler shortest started job" in done.stderr
    assert not (tmp_path / "out").exists()


SLOW = PLUGIN.replace("        free =", "        open('begun', 'w').close()\n        time.sleep(0.01)\n        free =")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_no_run_directory(trace, tmp_path, number, code):
    (tmp_path / "mine.py").write_text("import time\n" + SLOW)
    before = files_of(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "hpcsim", "run", "polaris", "--plugin", "mine.py", "--scheduler", "shortest",
         "--out", "out"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (tmp_path / "begun").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.strip()) == (code, "hpcsim: interrupted; nothing was written")
    assert files_of(tmp_path) == before | {"begun"}


def test_runs_side_by_side_each_find_a_name(tmp_path):
    command = [sys.executable, "-m", "hpcsim", "run", "polaris", "--jobs", "50", "--no-plots"]
    runs = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [run.wait(timeout=60) for run in runs] == [0, 0, 0]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [f"polaris-easy-{n}" for n in (1, 2, 3)]


def test_a_run_stopped_early_measures_what_it_simulated(tmp_path):
    path = tmp_path / "two.swf"
    path.write_text(
        "; MaxNodes: 10\n"
        + "".join(
            f"{number} {submit} -1 {runtime} 10 -1 -1 10 {runtime} -1 1 1 -1 -1 -1 -1 -1 -1\n"
            for number, submit, runtime in ((1, 0, 50), (2, 100, 5000), (3, 9000, 10))
        )
    )
    settings = {"trace": str(path), "until": 200}
    run = hpcsim.simulate("bare", settings, check=True)
    assert run.jobs["state"].tolist() == ["completed", "running"]
    assert run.summary["utilisation"] == pytest.approx(150 / 200)
    assert run.summary["throughput_jobs_per_h"] == pytest.approx(3600 / 200)
    windowed = hpcsim.simulate("bare", settings | {"window": {"start": 0, "end": 100_000}}, check=True)
    assert windowed.summary["utilisation"] == pytest.approx(150 / 200)


@pytest.mark.parametrize("kind", ["alcf", "swf"])
def test_every_real_trace_replays_to_the_end(data, kind):
    files = sorted((data / "traces" / kind).glob("ANL*.csv.gz" if kind == "alcf" else "*.swf.gz"))
    assert len(files) == {"alcf": 3, "swf": 7}[kind]
    for file in files:
        run = hpcsim.simulate("bare", {"trace": str(file)}, check=True)
        for machine, nodes in {"thetagpu": 24, "intrepid": 40_960, "mira": 49_152, "polaris": 560}.items():
            if f"{machine}_" in file.name.lower():
                assert run.manifest["machine"]["nodes"] == nodes
        assert set(run.jobs["state"]) <= {"completed", "failed", "timeout", "rejected"}
        assert run.manifest["workload"]["cleaning"]["rows_read"] >= len(run.jobs) == len(read_trace(file))


def test_a_trace_of_a_machine_of_another_size_is_remarked_upon(trace, tmp_path):
    of = read_trace(trace).machine_nodes
    for nodes, said in ((of, False), (3 * of, True)):
        done = hpcsim_command(
            "run", "bare", "--trace", trace, "--set", f"machine.nodes={nodes}", "--no-plots", "--out", f"n{nodes}",
            cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        note = f"{trace.name} is of a machine of {of:,} nodes or processors, this one has {nodes:,} nodes"
        assert (note in done.stderr) == said
