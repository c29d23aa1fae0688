"""Laws of reading and writing the Standard Workload Format."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.errors import InputError
from hpcsim.workload import trace_file
from hpcsim.workload.job import COMPLETED, FAILED, TIMEOUT, Workload, workload_from_columns
from hpcsim.workload.swf import read_swf, write_swf

# field:   1 2  3 4  5 6  7  8 9  10 11 12 13 14 15 16 17 18
FIRST = "1 0 10 50 4 -1 -1 8 100 -1 1 7 3 -1 2 -1 -1 -1"
SECOND = "2 5 -1 60 4 -1 -1 -1 120 -1 0 -1 -1 -1 -1 -1 -1 -1"


def made(folder: Path, *lines: str, end: str = "\n") -> Path:
    path = folder / "made.swf"
    path.write_bytes(end.join((*lines, "")).encode())
    return path


def job(**fields: object) -> str:
    """A line with FIRST's fields but for the given ones, as ``f4=10``."""
    values = FIRST.split()
    for name, value in fields.items():
        values[int(name[1:]) - 1] = str(value)
    return " ".join(values)


def contents(workload: Workload) -> Any:
    return workload.table.to_pylist()


def test_a_line_is_a_job(tmp_path: Path) -> None:
    assert contents(read_swf(made(tmp_path, FIRST, SECOND))) == [
        {
            "name": "1",
            "submit_s": 0,
            "nodes": 8,
            "walltime_s": 100,
            "user": "7",
            "project": "3",
            "queue": "2",
            "after": None,
            "cores": 0,
            "gpus": 0,
            "memory_gib": 0.0,
            "after_bytes": None,
            "runtime_s": 50,
            "outcome": COMPLETED,
            "recorded_start_s": 10,
            "recorded_place": None,
        },
        {
            "name": "2",
            "submit_s": 5,
            "nodes": 4,
            "walltime_s": 120,
            "user": "",
            "project": "",
            "queue": "",
            "after": None,
            "cores": 0,
            "gpus": 0,
            "memory_gib": 0.0,
            "after_bytes": None,
            "runtime_s": 60,
            "outcome": FAILED,
            "recorded_start_s": -1,
            "recorded_place": None,
        },
    ]


def test_the_header_is_used(tmp_path: Path) -> None:
    header = (
        "; UnixStartTime: 1296571124",
        "; MaxNodes: 5544 (thin)",
        ";MaxProcs: 93312",
        "; Note: MaxProcs: 1",
    )
    workload = read_swf(made(tmp_path, *header, FIRST))
    assert (workload.t0_utc, workload.machine_nodes, workload.source) == (1_296_571_124, 93_312, "made.swf")
    assert read_swf(made(tmp_path, *header[:2], FIRST)).machine_nodes == 5544
    bare = read_swf(made(tmp_path, FIRST))
    assert (bare.t0_utc, bare.machine_nodes) == (0, None)


@pytest.mark.parametrize("header", [("; Queue: 1 short", "; Queue: 2 prod long"), ("; Queues: 1 short, 2 prod long",)])
def test_queues_have_the_names_of_the_header(tmp_path: Path, header: tuple[str, ...]) -> None:
    workload = read_swf(made(tmp_path, *header, job(f15=2), job(f15=3), job(f15=1), job(f15=-1)))
    assert workload.table["queue"].to_pylist() == ["prod long", "3", "short", ""]


@pytest.mark.parametrize("header", ["; Queue:  1  ", "; Queues: batch, and others", "; MaxProcs: many", ";", "; :"])
def test_a_header_that_says_nothing_is_no_error(tmp_path: Path, header: str) -> None:
    workload = read_swf(made(tmp_path, header, job(f15=1)))
    assert (workload.table["queue"].to_pylist(), workload.machine_nodes) == (["1"], None)


@pytest.mark.parametrize(
    "text",
    [
        f"  {FIRST}  \n\t{SECOND}",
        f"{FIRST}\r\n{SECOND}\r\n",
        f"\n\n{FIRST}\n   \n; a comment\n  ; another\n\n{SECOND}\n\n",
        f"{FIRST}\n{SECOND}".replace(" ", "\t   "),
        f"{FIRST}\n{SECOND}".replace("-1 -1 8", "37.5 -1.00 8.0"),
        f"{FIRST}\n{SECOND}".replace(" 8 ", " +8 "),
        f"{FIRST}\n{SECOND}\n;",
    ],
)
def test_spaces_blank_lines_comments_and_decimals_do_not_matter(tmp_path: Path, text: str) -> None:
    expected = contents(read_swf(made(tmp_path, FIRST, SECOND)))
    path = tmp_path / "odd.swf"
    path.write_text(text)
    assert contents(read_swf(path)) == expected


@pytest.mark.parametrize(
    ("status", "runtime", "outcome"),
    [
        (1, 50, COMPLETED),
        (-1, 50, COMPLETED),
        (0, 50, FAILED),
        (5, 97, FAILED),
        (5, 98, TIMEOUT),
        (1, 100, COMPLETED),
        (5, 250, TIMEOUT),
    ],
)
def test_status_tells_the_outcome(tmp_path: Path, status: int, runtime: int, outcome: int) -> None:
    workload = read_swf(made(tmp_path, job(f11=status, f4=runtime)))
    assert workload.column("outcome").tolist() == [outcome]
    assert workload.column("runtime_s").tolist() == [runtime], "the limit is the engine's business"


def test_jobs_submitted_together_keep_their_order(tmp_path: Path) -> None:
    lines = [job(f1=number, f2=submit) for number, submit in ((1, 9), (2, 3), (3, 9), (4, 3))]
    workload = read_swf(made(tmp_path, *lines))
    assert workload.table["name"].to_pylist() == ["2", "4", "1", "3"]
    assert workload.cleaning["unsorted_rows"] == 2


def test_a_preceding_job_is_followed_by_its_place_in_the_order(tmp_path: Path) -> None:
    workload = read_swf(made(tmp_path, job(f1=8, f2=20, f17=9), job(f1=9, f2=10), job(f1=7, f2=30, f17=8)))
    assert [each.after for each in workload.jobs()] == [None, (0,), (1,)]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (FIRST.rsplit(" ", 1)[0], "found 17 numbers"),
        (FIRST + " 3", "found 19 numbers"),
        ("1 0 10 50 4 -1 -1 8 100 -1 1", "found 11 numbers"),
        (job(f18="soon"), "found 'soon'"),
        (job(f6="nan"), "found 'nan'"),
        (job(f6="-inf"), "found '-inf'"),
        (job(f1="0x10"), "found '0x10'"),
        (job(f12="1e17"), "found '1e17'"),
        (job(f12="1e999"), "found '1e999'"),
        (job(f4="1_000"), "found '1_000'"),
        (job(f4="1-1"), "found '1-1'"),
        (job(f4='"50"'), "found '\"50\"'"),
        (FIRST + " ; the first", "found ';'"),
        ("\x00\x01\x02", "found '\\x00\\x01\\x02'"),
        ("é", "found 'é'"),
    ],
)
@pytest.mark.parametrize("block", [trace_file.BLOCK_BYTES, 64])
def test_a_line_that_is_not_18_numbers_is_named(
    tmp_path: Path, line: str, found: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_file, "BLOCK_BYTES", block)
    path = made(tmp_path, "; Version: 2.2", "", FIRST, "; and", FIRST, SECOND, line, "also wrong")
    with pytest.raises(InputError) as error:
        read_swf(path)
    assert str(error.value).startswith(f"{path}:7: {found}, expected 18 numbers")


def test_the_size_of_a_block_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [job(f1=number, f2=number * 3 % 50, f12=number % 5) for number in range(1, 100)]
    path = made(tmp_path, "; MaxProcs: 9", *lines[:50], "; Queue: 2 late", *lines[50:])
    whole = read_swf(path)
    monkeypatch.setattr(trace_file, "BLOCK_BYTES", 100)
    parts = read_swf(path)
    assert contents(parts) == contents(whole)
    assert (parts.cleaning, parts.machine_nodes) == (whole.cleaning, whole.machine_nodes)
    assert set(whole.table["queue"].to_pylist()) == {"late"}


names = st.sampled_from(["", "7", "alice", "bob b", "R.pm", "ünal"])


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    count = draw(st.integers(1, 8))

    def column(values: st.SearchStrategy[Any]) -> Any:
        return draw(st.lists(values, min_size=count, max_size=count))

    submit_s = np.cumsum(column(st.integers(0, 10**6)))
    walltime_s = np.array(column(st.integers(1, 10**6)))
    runtime_s = np.array(column(st.integers(1, 10**6)))
    outcome = np.array(column(st.sampled_from([COMPLETED, FAILED, TIMEOUT])))
    outcome[(outcome == TIMEOUT) & (runtime_s < 0.98 * walltime_s)] = FAILED
    wait_s = np.array(column(st.integers(-1, 10**6)))
    return workload_from_columns(
        t0_utc=draw(st.integers(0, 2 * 10**9)),
        source="made",
        name=[str(number) for number in draw(st.permutations(range(1, count + 1)))],
        submit_s=submit_s,
        nodes=column(st.integers(1, 10**5)),
        walltime_s=walltime_s,
        runtime_s=runtime_s,
        user=column(names),
        project=column(names),
        queue=column(names),
        after=[draw(st.none() | st.just([job - 1])) if job else None for job in range(count)],
        outcome=outcome,
        recorded_start_s=np.where(wait_s < 0, -1, submit_s + wait_s),
        machine_nodes=draw(st.none() | st.integers(1, 10**6)),
    )


@given(workload=workloads())
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, workload: Workload) -> None:
    path = tmp_path_factory.mktemp("round") / "trip.swf.gz"
    write_swf(workload, path)
    again = read_swf(path, strict=True)
    assert contents(again) == contents(workload)
    assert (again.t0_utc, again.machine_nodes) == (workload.t0_utc, workload.machine_nodes)


def test_names_that_are_no_numbers_become_1_2_3(tmp_path: Path) -> None:
    two: dict[str, Any] = {"submit_s": [0, 1], "nodes": [1, 1], "walltime_s": [9, 9], "runtime_s": [9, 9]}
    workload = workload_from_columns(t0_utc=0, source="made", name=["b.mira", "a.mira"], **two)
    write_swf(workload, tmp_path / "out.swf")
    assert read_swf(tmp_path / "out.swf").table["name"].to_pylist() == ["1", "2"]


def test_a_job_that_waits_for_two_cannot_be_written(tmp_path: Path) -> None:
    three: dict[str, Any] = {
        "submit_s": [0, 1, 2],
        "nodes": [1] * 3,
        "walltime_s": [9] * 3,
        "runtime_s": [9] * 3,
    }
    after = [None, None, [0, 1]]
    workload = workload_from_columns(t0_utc=0, source="made", name=list("abc"), after=after, **three)
    with pytest.raises(InputError, match="job 2 waits for 2 jobs"):
        write_swf(workload, tmp_path / "out.swf")
    assert not list(tmp_path.iterdir())


def test_every_oracle_is_read_as_it_stands(data: Path) -> None:
    for path in sorted((data / "oracles").glob("*.swf.gz")):
        with gzip.open(path, "rt") as file:
            fields = np.array([line.split() for line in file if not line.startswith(";")], dtype=np.int64)
        workload = read_swf(path, strict=True)
        for name, number in (("submit_s", 2), ("runtime_s", 4), ("nodes", 8), ("walltime_s", 9)):
            assert np.array_equal(workload.column(name), fields[:, number - 1]), (path.name, name)
        assert workload.table["name"].to_pylist() == [str(number) for number in range(1, len(fields) + 1)]
        unmet = {rule for rule, count in workload.cleaning.items() if not count}
        assert set(workload.cleaning) - unmet <= {"rows_read", "rows_kept", "missing_user"}, path.name


def test_curie_has_known_jobs_and_size(data: Path) -> None:
    workload = read_swf(data / "traces/swf/CEA-Curie-2011-2.1-cln.swf.gz")
    assert workload.cleaning["rows_read"] == 312_826
    assert (workload.machine_nodes, workload.t0_utc) == (93_312, 1_296_571_124)
