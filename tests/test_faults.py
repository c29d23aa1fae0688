"""A disk that is full, a place that cannot be written, two programs in one place: nothing is lost or half there."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from socket import gethostname

import pytest

from hpcsim import cli
from hpcsim.cli.target import free_target
from hpcsim.errors import InputError
from hpcsim.results.drafts import sweep_drafts
from hpcsim.results.run import SUMS, Run

TOURNAMENT = """
name: tiny
scenarios:
  - {base: polaris, name: nodes-only, physics: null, days: 2}
schedulers: [fcfs, easy]
windows: {measured: 6h, warm_up: 1h, cool_down: 1h, count: 1}
loads: [0.9]
metrics: [mean_bounded_slowdown, jobs]
control: easy
"""


def hpcsim(*arguments: object, cwd: Path, largest_file: int | None = None) -> tuple[int, str]:
    """The command in a process of its own, where no file may grow beyond a size: exit code and what it complains of."""

    def limit() -> None:
        if largest_file is not None:  # Python ignores the signal, so that writing fails as on a full disk
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    done = subprocess.run(
        [sys.executable, "-m", "hpcsim", *map(str, arguments)], cwd=cwd, preexec_fn=limit, timeout=120, check=False,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    return done.returncode, done.stderr


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("settings", "room"), [((), 40_000), (("--set", "physics.telemetry={interval: 600}"), 1_000)])
def test_a_run_for_which_there_is_no_room_leaves_nothing(tmp_path: Path, settings: tuple[str, ...], room: int) -> None:
    code, said = hpcsim("run", "polaris", "--jobs", 200, "--out", "run", *settings, cwd=tmp_path, largest_file=room)
    assert code == 2, said
    assert "cannot be written: " in said or "cannot be kept in" in said
    assert "Traceback" not in said
    assert len(said.splitlines()) == 1
    assert content(tmp_path) == {}


@pytest.mark.parametrize(
    "out", [("--out", "closed/run"), ("--out", "closed/empty"), ("--out", "file/run"), ("--out", "gone/run"), ()]
)
def test_where_nothing_can_be_written_nothing_is_simulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], out: tuple[str, ...]
) -> None:
    (tmp_path / "closed" / "empty").mkdir(parents=True)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / "closed" and (out or path != tmp_path))
    monkeypatch.setattr("hpcsim.replay.replay", lambda *_, **__: pytest.fail("it was simulated"))
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", "toy", *out])
    assert ended.value.code == 2
    where = dict.fromkeys(("closed/run", "closed/empty"), "nothing can be written in")
    where |= {f"{each}/run": f"{tmp_path / each} is no directory" for each in ("file", "gone")}
    assert where.get(out[-1] if out else "", f"runs/toy: cannot be written: nothing can be written in {tmp_path}") in (
        capsys.readouterr().err
    )


def test_figures_and_reports_for_which_there_is_no_room_leave_the_old_ones(tmp_path: Path) -> None:
    assert hpcsim("run", "toy", "--out", "run", cwd=tmp_path)[0] == 0
    before = content(tmp_path)
    for command in ("plot", "report", "perfetto"):
        code, said = hpcsim(command, "run", cwd=tmp_path, largest_file=1_000)
        assert code == 2
        assert "cannot be written: File too large" in said
        assert content(tmp_path) == before


def test_a_tournament_that_had_no_room_goes_on_when_there_is(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(TOURNAMENT)
    command = ("tournament", "t.yaml", "--workers", 1)
    code, said = hpcsim(*command, "--out", "out", cwd=tmp_path, largest_file=1_000)
    assert code == 2
    assert "out: cannot be written: File too large; when it can, --resume goes on with what is missing" in said
    assert "failed" not in said  # no cell is to blame
    assert set(content(tmp_path)) <= {"t.yaml", "out/tournament.yaml"}
    assert hpcsim(*command, "--out", "out", "--resume", cwd=tmp_path)[0] == 0
    rows = content(tmp_path)["out/cells.csv"].decode().splitlines()[1:]
    assert [",done," in row for row in rows] == [True, True]


def test_what_a_killed_program_left_is_taken_away_by_the_next(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    for who in (f"{gethostname()}+{gone.pid}+x", f"{gethostname()}+{os.getpid()}+x", "else+1+x", "mine"):
        (tmp_path / f".run-{who}").mkdir()
    assert hpcsim("run", "toy", "--no-plots", "--out", "run", cwd=tmp_path)[0] == 0
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"run", f".run-{gethostname()}+{os.getpid()}+x", ".run-else+1+x", ".run-mine"}
    os.utime(tmp_path / ".run-else+1+x", (0, 0))
    sweep_drafts(tmp_path, ".run-")
    assert not (tmp_path / ".run-else+1+x").exists()


def test_a_summary_that_cannot_be_shown_is_no_lost_run(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "hpcsim", "run", "toy", "--no-plots", "--out", "run"], cwd=tmp_path, timeout=120,
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, "hpcsim: standard output cannot be written: No space left on device\n")
    assert Run.open(tmp_path / "run").summary["jobs"] == 35


def test_of_two_runs_into_one_directory_one_is_there_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hpcsim", "run", "toy", "--no-plots", "--out", "same"]
    runs = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [run.communicate(timeout=120)[1] for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 2]
    assert "same: exists already and is kept as it is; choose another --out" in "".join(said)
    assert os.listdir(tmp_path) == ["same"]
    assert SUMS in os.listdir(tmp_path / "same")
    assert Run.open(tmp_path / "same").summary["jobs"] == 35


def test_a_training_is_refused_before_it_begins_where_its_weights_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    taken: list[Callable[[], object]] = [
        lambda: free_target(tmp_path / "file", "a"),
        lambda: free_target(Path("/proc/nowhere"), "a"),
        lambda: free_target(tmp_path, "../a"),
    ]
    for asked, said in zip(taken, ("cannot be written", "cannot be written", "without a directory"), strict=True):
        with pytest.raises(InputError, match=said):
            asked()
    assert free_target(tmp_path / "new", "a", ".fault") == tmp_path / "new"
    (tmp_path / "new" / "a.fault.json").touch()
    with pytest.raises(InputError, match=r"a\.fault\.json: exists; remove it"):
        free_target(tmp_path / "new", "a", ".fault")
