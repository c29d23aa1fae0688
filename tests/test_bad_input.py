"""Input that means harm, or none that was ever meant: refused in a sentence, soon, and in little memory."""

import gzip
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import hpcsim
from hpcsim.cli import cli, main
from hpcsim.errors import InputError
from hpcsim.results.run import SUMS, Run
from hpcsim.scenario.load import load_scenario
from hpcsim.tournament.directories import Directory
from hpcsim.workload import swf, trace_file
from hpcsim.workload.swf import read_swf
from hpcsim.workload.trace import read_trace

ROW = b"1 0 0 50 4 -1 -1 4 100 -1 1 1 1 -1 1 -1 -1 -1\n"
CENTURY_S = 3_153_600_000


def refusal(*arguments: object) -> str:
    """What a command says that refuses its input."""
    done = CliRunner().invoke(cli, [str(each) for each in arguments])
    assert isinstance(done.exception, InputError), (done.exception, done.output)
    return str(done.exception)


def swf_file(folder: Path, text: str) -> Path:
    path = folder / "made.swf"
    path.write_text(text)
    return path


@pytest.mark.parametrize(("unit", "name"), [(b"\n", "a.csv.gz"), (b"\n", "a.swf.gz"), (ROW, "a.swf.gz")])
def test_a_gzip_bomb_is_refused_when_it_has_unpacked_a_little(tmp_path, monkeypatch, unit, name):
    monkeypatch.setattr(trace_file, "SMALL_BYTES", 1 << 20)
    (tmp_path / name).write_bytes(gzip.compress(unit * (40_000_000 // len(unit)), mtime=0))
    with pytest.raises(InputError, match="found gzip data that unpack to more than 200 times their"):
        read_trace(tmp_path / name)


def test_a_packed_workflow_is_read_up_to_a_size(tmp_path, monkeypatch):
    monkeypatch.setattr(trace_file, "LARGEST_WHOLE_BYTES", 1 << 20)
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(b"[" + b"[]," * 500_000 + b"1]"))
    with pytest.raises(InputError, match="larger than 1 MiB, the most that are read"):
        read_trace(path)


def test_lines_and_comments_are_read_up_to_a_number(tmp_path, monkeypatch):
    path = swf_file(tmp_path, "; Note: so\n" * 2000 + ROW.decode())
    monkeypatch.setattr(swf, "LARGEST_HEADER_BYTES", 10_000)
    with pytest.raises(InputError, match="MiB of comments, expected jobs"):
        read_swf(path)
    monkeypatch.setattr(trace_file, "MOST_LINES", 1000)
    with pytest.raises(InputError, match="found more than 1,000 lines, the most that are read"):
        read_swf(path)


@pytest.mark.parametrize("name", ["a.swf", "a.csv.gz", "a.json"])
def test_a_trace_that_never_ends_is_refused(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="a pipe or a device, expected a file"):
        read_trace(tmp_path / name)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(InputError, match="a pipe or a device, expected a file"):
        read_trace(tmp_path / name)


def test_a_number_of_thousands_of_digits_is_refused(tmp_path):
    (tmp_path / "a.json").write_text('{"schemaVersion": ' + "9" * 10_000 + "}")
    with pytest.raises(InputError, match="found a number of thousands of digits"):
        read_trace(tmp_path / "a.json")


def test_what_a_header_cannot_mean_is_as_if_it_were_not_there(tmp_path):
    far, many = "; UnixStartTime: 99999999999999\n", "; MaxProcs: 99999999999999\n; MaxNodes: 7\n"
    workload = read_swf(swf_file(tmp_path, far + many + ROW.decode()))
    assert (workload.t0_utc, workload.machine_nodes) == (0, 7)


def test_jobs_of_centuries_are_replayed_with_figures_also_beyond_the_last_date(tmp_path):
    rows = [f"{i} {i} 0 {CENTURY_S} 4 -1 -1 4 {CENTURY_S} -1 1 1 1 -1 1 -1 -1 -1" for i in range(1, 101)]
    path = swf_file(tmp_path, "; UnixStartTime: 1600000000\n; MaxNodes: 4\n" + "\n".join(rows) + "\n")
    run = hpcsim.simulate("bare", {"trace": str(path)}, check=True)
    assert run.summary["makespan_s"] > 8_000 * 365 * 86_400
    run.write(tmp_path / "run")
    assert (tmp_path / "run" / "plots" / "makespan.png").is_file()


def test_a_run_in_which_no_job_ended_has_its_figures(tmp_path):
    path = swf_file(tmp_path, "; MaxNodes: 3\n" + ROW.decode())
    run = hpcsim.simulate("bare", {"trace": str(path)})
    assert run.summary["jobs_by_state"] == {"rejected": 1}
    run.write(tmp_path / "run")
    assert (tmp_path / "run" / "plots" / "makespan.png").is_file()


def test_a_long_row_of_bases_and_a_long_name_are_refused(tmp_path):
    for i in range(30):
        (tmp_path / f"{i}.yaml").write_text(f"base: {i + 1}.yaml\n")
    assert "base: more than 20 scenarios, each the base of the next" in refusal("validate", tmp_path / "0.yaml")
    assert "a name of 5,000 characters" in refusal("validate", "x" * 5000)


def test_of_thousands_of_things_that_are_wrong_the_first_are_told():
    with pytest.raises(InputError) as error:
        load_scenario({"name": "x", **{f"key{i}": i for i in range(2000)}})
    lines = str(error.value).splitlines()
    assert len(lines) == 201
    assert lines[-1] == "there is more; these are the first"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("physics.carbon=nowhere.csv", "--set physics.carbon=nowhere.csv: physics.carbon: there is no such file"),
        ("physics.price=/dev/zero", "physics.price: there is no such file"),
        ("physics.recorded_outages=..", "physics.recorded_outages: there is no such file"),
        ("physics.queues=nowhere.yaml", "physics.queues: there is no such file"),
        ("machine.model=/etc/passwd", "expected keys and values"),
        ("machine.model=polariss", "machine.model: "),
        ("physics.placement=torus", "physics.placement: found 'torus', but Polaris has no torus"),
    ],
)
def test_validate_looks_at_the_machine_and_its_files(setting, said):
    assert said in refusal("validate", "polaris", "--set", setting)


def test_what_a_message_quotes_cannot_steer_the_terminal(tmp_path, capsys):
    (tmp_path / "a.csv").write_bytes(b"JOB_NAM\x1b[2J\x07\n1\n")
    with pytest.raises(SystemExit):
        main(["run", "bare", "--trace", str(tmp_path / "a.csv")])
    said = capsys.readouterr().err
    assert "\\x1b[2J" in said
    assert said.replace("\n", "").isprintable()


def test_a_run_that_memory_does_not_hold_ends_in_a_sentence(monkeypatch, capsys):
    def none_left(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("hpcsim.replay.replay", none_left)
    with pytest.raises(SystemExit) as ended:
        main(["run", "toy"])
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("hpcsim: there is not enough memory: none is left; take fewer jobs")


# -- what runs and tournaments left behind ------------------------------------------------------


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hpcsim.simulate("polaris", {"jobs": 40}).write(tmp_path_factory.mktemp("left") / "run", plots=False)


COMMANDS = (["plot", "RUN"], ["report", "RUN"], ["explain", "RUN", "JOB"], ["perfetto", "RUN"], ["top", "RUN"])


def test_a_run_tells_by_its_sums_whether_it_was_changed(left, tmp_path):
    if program := shutil.which("sha256sum"):
        assert subprocess.run([program, "--check", "--quiet", SUMS], cwd=left, check=False).returncode == 0
    listed = {line.partition("  ")[2] for line in (left / SUMS).read_text().splitlines()}
    assert listed == {path.name for path in left.iterdir()} - {SUMS, "timing.json"}
    for name in sorted(listed):
        copy = Path(shutil.copytree(left, tmp_path / name))
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(content)
        for command in COMMANDS:
            said = refusal(*(str(copy) if word == "RUN" else word for word in command))
            assert said.startswith(f"{copy}: not a complete run directory: its {name} is not as the run wrote it")


def test_tables_that_do_not_go_together_are_refused_where_no_sums_tell_of_it(left, tmp_path):
    def column(name, change):
        def changed(table):
            at = table.schema.get_field_index(name)
            values = change(table.column(name).to_pylist())
            return table.set_column(at, name, pa.array(values, table.schema.field(name).type))

        return changed

    cases = [
        ("jobs", column("submit_s", lambda values: [None, *values[1:]]), "has rows without submit_s"),
        ("jobs", column("end_s", lambda values: [1 << 60, *values[1:]]), "has a end_s that is thousands of years away"),
        ("attempts", column("units", lambda values: ["bogus"] * len(values)), "what its tables hold does not go toge"),
    ]
    for number, (name, change, said) in enumerate(cases):
        copy = Path(shutil.copytree(left, tmp_path / str(number)))
        (copy / SUMS).unlink()
        pq.write_table(change(pq.read_table(copy / f"{name}.parquet")), copy / f"{name}.parquet")
        told = refusal("plot", copy)
        assert said in told
        assert str(copy) in told
    unfit = json.loads((left / "manifest.json").read_text()) | {"t0_utc": 10**15}
    copy = Path(shutil.copytree(left, tmp_path / "late"))
    (copy / SUMS).unlink()
    (copy / "manifest.json").write_text(json.dumps(unfit))
    assert "has the t0_utc 1000000000000000; it should be a Unix time" in refusal("explain", copy, "1")


def test_a_bug_in_what_is_made_of_an_unchanged_run_is_no_input_error(left, monkeypatch):
    def bug(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("hpcsim.results.perfetto.write_trace", bug)
    assert isinstance(CliRunner().invoke(cli, ["perfetto", str(left)]).exception, ZeroDivisionError)
    assert Run.open(left).summary["jobs"] == 40


@pytest.mark.parametrize("content", ["", "[]", "{}", "[" * 100_000, '{"state": "lost"}', '{"state": "failed"}'])
def test_a_cell_that_is_none_is_refused_with_what_to_do(tmp_path, content):
    folder = tmp_path / "cells" / "a"
    folder.mkdir(parents=True)
    (folder / "cell.json").write_text(content)
    with pytest.raises(InputError, match=f"not what a cell leaves; remove {folder}, and --resume runs it again"):
        Directory(tmp_path).state("a")


def test_numbers_of_jobs_add_up_where_they_are_largest(tmp_path):
    path = swf_file(tmp_path, f"1 0 0 {CENTURY_S} 100000000 -1 -1 100000000 {CENTURY_S} -1 1 1 1 -1 1 -1 -1 -1\n")
    run = hpcsim.simulate("bare", {"trace": str(path), "machine.nodes": 100_000_000}, check=True)
    assert run.summary["utilisation"] == pytest.approx(1.0)
    assert np.isfinite(run.summary["throughput_jobs_per_h"])
