"""A tournament's cells, run by whom and interrupted when they may be: the same bytes."""

import csv
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import hpcsim
from hpcsim.cli import main
from hpcsim.workers import Pool, WorkerDied

TINY = """
name: tiny
scenarios:
  - {base: polaris, name: nodes-only, physics: null, days: 4}
schedulers:
  - fcfs
  - easy
  - {name: easy, order: sjf, label: shortest}
windows: {measured: 6h, warm_up: 1h, cool_down: 1h, count: 2}
seeds: 2
loads: [0.9]
metrics: [mean_bounded_slowdown, utilisation, jobs]
control: easy
"""

KILLS = 20
CLOCKED = re.compile(rb'<section id="cost">.*?</section>', re.DOTALL)
LONGER = TINY.replace("seeds: 2", "seeds: 6").replace("[0.9]", "[0.8, saturation]").replace("6h", "1d")


def written(folder: Path, text: str = TINY) -> Path:
    """The tournament file, in ``folder``."""
    file = folder / "tiny.yaml"
    file.write_text(text)
    return file


def bytes_of(root: Path) -> dict[str, bytes]:
    """All files of a tournament's directory but those that a clock made, and the page without what a clock made."""
    return {
        str(path.relative_to(root)): CLOCKED.sub(b"", path.read_bytes())
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name not in {"timing.json", "timing.csv", "cost.csv", "cost.tex"}
    }


def _begin(file: Path, out: Path, workers: int) -> multiprocessing.Process:
    """The command in a process of its own, which need not import hpcsim again."""
    arguments = ["tournament", str(file), "--out", str(out), "--resume", "--workers", str(workers)]
    process = multiprocessing.get_context("fork").Process(target=_run, args=(arguments,))
    process.start()
    return process


def _run(arguments: list[str]) -> None:
    os.setsid()
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    sys.stdin.close()
    main(arguments)


def test_a_pool_that_is_left_by_an_error_ends_what_it_is_at():
    began = time.monotonic()

    def leave():
        with Pool(1) as pool:
            task = pool.submit(time.sleep, 300)
            while not task.running():
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert time.monotonic() - began < 60
    with Pool(1) as pool:
        task = pool.submit(abs, -3)
    assert task.result() == 3  # else it waits for all


def test_killing_it_20_times_at_random_moments_and_resuming_ends_in_the_same_bytes(tmp_path):
    file = written(tmp_path, LONGER)
    undisturbed = _begin(file, tmp_path / "undisturbed", 2)
    undisturbed.join(120)
    assert undisturbed.exitcode == 0
    expected = bytes_of(tmp_path / "undisturbed")
    rng, kills, directory = random.Random(7), 0, 0
    while kills < KILLS:
        out = tmp_path / f"killed-{directory}"
        process = _begin(file, out, rng.choice((1, 2)))
        process.join(rng.uniform(0.05, 1.8))
        if process.exitcode is None:
            kills += 1
            if rng.random() < 0.5:
                os.kill(process.pid, signal.SIGKILL)  # its workers notice and end
            else:
                os.killpg(process.pid, signal.SIGKILL)  # they die in the same moment
            process.join()
        elif directory := directory + 1:  # it got to its end between kills: the rest of them meets a new one
            assert process.exitcode == 0
            assert bytes_of(out) == expected
    last = _begin(file, out, 2)
    last.join(120)
    assert last.exitcode == 0
    assert bytes_of(out) == expected


def _hpcsim(*arguments: object) -> int:
    """The command in this process; its exit code."""
    with pytest.raises(SystemExit) as ended:
        main(["tournament", *map(str, arguments)])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the tiny tournament, run by one process of this machine."""
    folder = tmp_path_factory.mktemp("tiny")
    assert _hpcsim(written(folder), "--out", folder / "out", "--workers", 1) == 0
    return folder / "out"


def test_two_shards_at_the_same_time_in_one_directory_leave_the_same_bytes(finished, tmp_path):
    file, out = written(tmp_path), tmp_path / "out"
    command = [sys.executable, "-m", "hpcsim", "tournament", str(file), "--out", str(out), "--workers", "1"]
    shards = [subprocess.Popen([*command, "--shard", f"{number}/2"], stdout=subprocess.DEVNULL) for number in (1, 2)]
    assert [shard.wait(120) for shard in shards] == [0, 0]
    assert bytes_of(out) == bytes_of(finished)


def test_workers_that_parsl_starts_leave_the_same_bytes(finished, tmp_path):
    pytest.importorskip("parsl", reason="Parsl is not installed: pip install '.[parsl]'")
    config = tmp_path / "config.py"
    config.write_text(f"""
from parsl import Config, HighThroughputExecutor
from parsl.providers import LocalProvider

here = HighThroughputExecutor(
    label="here", address="127.0.0.1", max_workers_per_node=2, encrypted=False, provider=LocalProvider(max_blocks=1)
)
config = Config(executors=[here], run_dir={str(tmp_path / "runs")!r}, initialize_logging=False)
""")
    file, out = written(tmp_path), tmp_path / "out"
    command = [sys.executable, "-m", "hpcsim", "tournament", str(file), "--out", str(out), "--executor"]
    assert subprocess.run([*command, f"parsl:{config}"], stdout=subprocess.DEVNULL, timeout=120).returncode == 0
    assert bytes_of(out) == bytes_of(finished)


PLUGIN = '''
import os, signal, time
from hpcsim.plugin import hookimpl

class Bad:
    """Fails in one of three ways."""
    api = 1
    def schedule(self, view):
        if self.name == "raises":
            raise ValueError("no idea")
        if self.name == "hangs":
            while True:
                time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)

@hookimpl
def hpcsim_schedulers(register):
    for name in ("raises", "hangs", "dies"):
        register(type(name, (Bad,), {"name": name, "__doc__": "Fails."}))
'''


def test_a_cell_that_fails_or_kills_its_worker_is_recorded_with_its_origin_and_the_rest_goes_on(tmp_path):
    (tmp_path / "bad.py").write_text(PLUGIN)
    text = TINY.replace("  - fcfs\n", "  - raises\n  - hangs\n  - dies\n").replace("seeds: 2", "cell_limit: 1s")
    file, out = written(tmp_path, text.replace("count: 2", "count: 1")), tmp_path / "out"
    assert _hpcsim(file, "--out", out, "--workers", 2, "--plugin", tmp_path / "bad.py") == 1
    with (out / "cells.csv").open() as table:
        states = {row["scheduler"]: row["state"] for row in csv.DictReader(table)}
    assert states == {"raises": "failed", "hangs": "failed", "dies": "failed", "easy": "done", "shortest": "done"}
    with (out / "failures.csv").open() as table:
        failures = {row["scheduler"]: row for row in csv.DictReader(table)}
    assert {name: row["origin"] for name, row in failures.items()} == {
        "raises": "scheduler", "hangs": "scheduler", "dies": "worker"
    }  # fmt: skip
    assert "ValueError: no idea" in failures["raises"]["message"]
    assert "cell_limit" in failures["hangs"]["message"]
    assert "killed by signal 9" in failures["dies"]["message"]
    record = json.loads((out / failures["raises"]["folder"] / "cell.json").read_text())
    assert any("bad.py" in line for line in record["failure"]["traceback"])


def test_cells_that_are_there_are_not_run_again_and_failed_ones_only_if_asked(finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "out")
    kept, failed = sorted((out / "cells").iterdir())[:2]
    (kept / "mark").touch()
    (failed / "mark").touch()
    record = json.loads((failed / "cell.json").read_text())
    failure = dict.fromkeys(("origin", "plugin", "error", "message"), "made up")
    (failed / "cell.json").write_text(json.dumps({**record, "state": "failed", "failure": failure}))
    file = written(tmp_path)
    assert _hpcsim(file, "--out", out, "--workers", 1, "--resume") == 1
    assert (failed / "mark").exists()
    assert _hpcsim(file, "--out", out, "--workers", 1, "--retry") == 0
    assert (kept / "mark").exists()
    assert not (failed / "mark").exists()


def test_a_grid_that_grows_runs_only_what_is_new(finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "out")
    before = {path.name for path in (out / "cells").iterdir()}
    file = written(tmp_path, TINY.replace("seeds: 2", "seeds: 3").replace("label: shortest", "label: other"))
    assert _hpcsim(file, "--out", out, "--workers", 1, "--resume") == 0
    after = {path.name for path in (out / "cells").iterdir()}
    assert before < after
    assert len(after) == 18


def test_it_ends_with_who_stands_where(finished, tmp_path, capsys):
    out = shutil.copytree(finished, tmp_path / "out")
    assert _hpcsim(written(tmp_path), "--out", out, "--workers", 1, "--resume") == 0
    said = capsys.readouterr().out
    assert said.startswith("Mean rank over windows, 1 is the best;")
    assert re.search(r"^easy \(control\) +\d\.\d\d +\d\.\d\d$", said, re.MULTILINE)
    assert said.splitlines()[-1] == f"hpcsim leaderboard {out} says more, with intervals"


def test_a_directory_that_is_there_is_refused_without_resume(finished, tmp_path, capsys):
    file = written(tmp_path)
    assert _hpcsim(file, "--out", finished) == 2
    assert "this tournament was run there, 12 of the 12 cells are there; --resume goes on" in capsys.readouterr().err
    assert _hpcsim(written(tmp_path, TINY.replace("seeds: 2", "seeds: 3")), "--out", finished) == 2
    assert "another tournament" in capsys.readouterr().err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    assert _hpcsim(file, "--out", tmp_path / "mine", "--resume") == 2
    assert "exists already and is no tournament's" in capsys.readouterr().err


def test_a_cell_is_the_run_that_its_own_scenario_makes(finished):
    cell = sorted((finished / "cells").iterdir())[0]
    run = hpcsim.simulate(cell / "scenario.yaml")
    assert run.summary == json.loads((cell / "summary.json").read_text())
    assert run.manifest == json.loads((cell / "manifest.json").read_text())


def test_all_schedulers_of_a_window_and_seed_have_the_same_jobs(finished):
    with (finished / "cells.csv").open() as table:
        jobs: dict[tuple[str, str], set[str]] = {}
        for row in csv.DictReader(table):
            jobs.setdefault((row["window"], row["seed"]), set()).add(row["jobs"])
    assert len(jobs) == 4
    assert all(len(counts) == 1 for counts in jobs.values())


def test_a_table_is_whole_and_in_the_order_of_the_file_while_cells_are_missing(finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "out")
    whole = (out / "cells.csv").read_text().splitlines()
    shutil.rmtree(sorted((out / "cells").iterdir())[0])
    assert _hpcsim(written(tmp_path), "--out", out, "--shard", "1/100000", "--workers", 1) in (0, 1)
    part = (out / "cells.csv").read_text().splitlines()
    assert [line.split(",")[:5] for line in part] == [line.split(",")[:5] for line in whole]
    assert sum(",pending," in line for line in part) == 1


def test_a_dry_run_says_how_many_cells_and_how_long_and_touches_nothing(tmp_path, capsys):
    assert _hpcsim(written(tmp_path), "--out", tmp_path / "out", "--dry-run", "--workers", 1) == 0
    said = capsys.readouterr().out
    assert re.search(r"^cells +12 ", said, re.MULTILINE)
    assert re.search(r"^about [0-9]+ s with 1 worker, reckoned from pilot cells of 3 of the 3 kinds", said, re.M)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_it_at_once_and_says_how_to_go_on(tmp_path, number, code):
    (tmp_path / "bad.py").write_text(PLUGIN)
    file, out = written(tmp_path, TINY.replace("  - fcfs\n", "").replace("  - easy\n", "  - easy\n  - hangs\n")), "out"
    command = [sys.executable, "-m", "hpcsim", "tournament", str(file), "--out", out, "--plugin", "bad.py"]
    running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    began = time.monotonic()
    while not (tmp_path / out / "cells").is_dir() and time.monotonic() - began < 30:
        time.sleep(0.05)
    running.send_signal(number)
    _, said = running.communicate(timeout=30)
    assert running.returncode == code
    assert said.endswith("interrupted; --resume goes on with what is missing\n")
    assert not (tmp_path / out / "drafts").exists()


def test_a_pool_has_one_thread_for_linear_algebra_and_goes_on_when_a_worker_is_killed():
    with Pool(1) as pool:
        assert pool.submit(os.getenv, "OMP_NUM_THREADS").result(30) == "1"
        first = pool.submit(os.getpid).result(30)
        assert pool.submit(os.getpid).result(30) == first  # libraries are loaded once
        os.kill(first, signal.SIGKILL)
        assert pool.submit(os.getpid).result(30) != first
        with pytest.raises(ZeroDivisionError):
            pool.submit(divmod, 1, 0).result(30)
        with pytest.raises(WorkerDied, match="ended with code 3"):
            pool.submit(os._exit, 3).result(30)
        assert pool.submit(len, "ab").result(30) == 2
