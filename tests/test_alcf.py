"""Laws of reading and writing the job records and outages of the ALCF."""

import csv
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.errors import InputError
from hpcsim.workload import trace_file
from hpcsim.workload.alcf import Outage, read_alcf, read_machine_status, write_alcf
from hpcsim.workload.job import COMPLETED, FAILED, TIMEOUT, Workload, workload_from_columns
from hpcsim.workload.swf import read_swf

RECORD = {
    "JOB_NAME": "1001.mira",
    "COBALT_JOBID": "1001",
    "QUEUED_TIMESTAMP": "2020-01-01 00:00:00",
    "START_TIMESTAMP": "2020-01-01 00:01:40",
    "END_TIMESTAMP": "2020-01-01 00:11:40",
    "USERNAME_GENID": "29946708553445",
    "PROJECT_NAME_GENID": "82547079018571",
    "QUEUE_NAME": "prod-short",
    "WALLTIME_SECONDS": "1200.0000",
    "RUNTIME_SECONDS": "600.0000",
    "NODES_USED": "512.00",
    "EXIT_STATUS": "0",
    "EXIT_CODE": "0",
}
SECOND_0 = 1_577_836_800  # 2020-01-01 00:00:00 UTC


def made(folder: Path, *changes: dict[str, str], columns: list[str] | None = None) -> Path:
    """A file with a record for each of ``changes`` to RECORD."""
    path = folder / "made.csv"
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, columns or list(RECORD), extrasaction="ignore", quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(RECORD | change for change in changes)
    return path


def contents(workload: Workload) -> Any:
    return workload.table.to_pylist()


def test_a_record_is_a_job(tmp_path: Path) -> None:
    workload = read_alcf(made(tmp_path, {}), strict=True)
    assert contents(workload) == [
        {
            "name": "1001.mira",
            "submit_s": 0,
            "nodes": 512,
            "walltime_s": 1200,
            "user": "29946708553445",
            "project": "82547079018571",
            "queue": "prod-short",
            "after": None,
            "cores": 0,
            "gpus": 0,
            "memory_gib": 0.0,
            "after_bytes": None,
            "runtime_s": 600,
            "outcome": COMPLETED,
            "recorded_start_s": 100,
            "recorded_place": None,
        }
    ]
    assert (workload.t0_utc, workload.machine_nodes, workload.source) == (SECOND_0, None, "made.csv")


@pytest.mark.parametrize(
    "columns",
    [
        list(reversed(RECORD)),
        [*list(RECORD)[:5], "SCIENCE_FIELD", *list(RECORD)[5:], *(f"NEW_{i}" for i in range(53))],
        [name for name in RECORD if name not in ("EXIT_CODE", "COBALT_JOBID")],
    ],
)
def test_columns_are_found_by_name(tmp_path: Path, columns: list[str]) -> None:
    expected = contents(read_alcf(made(tmp_path, {})))
    assert contents(read_alcf(made(tmp_path, {}, columns=columns))) == expected


def test_case_quotes_line_ends_and_a_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
    path = made(tmp_path, {}, {"JOB_NAME": "1002.mira"})
    expected = contents(read_alcf(path))
    header, *records = path.read_text().splitlines()
    path.write_bytes(b"\xef\xbb\xbf" + "\n\n".join((header.lower(), *records)).replace('"', "").encode())
    assert contents(read_alcf(path)) == expected
    assert b"\r" not in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert contents(read_alcf(path)) == expected


@pytest.mark.parametrize(
    ("status", "code", "runtime", "outcome"),
    [
        ("0", "1", "600", COMPLETED),
        ("-29", "0", "600", TIMEOUT),
        ("143", "0", "1176", TIMEOUT),
        ("143", "0", "1175", FAILED),
        ("271", "0", "600", FAILED),
        ("-1", "0", "600", FAILED),
        ("", "-29", "600", TIMEOUT),
        ("", "1", "600", FAILED),
        ("", "-1", "600", COMPLETED),
        ("", "", "600", COMPLETED),
    ],
)
def test_the_exit_status_tells_the_outcome(tmp_path: Path, status: str, code: str, runtime: str, outcome: int) -> None:
    end = f"2020-01-01 00:{(100 + int(runtime)) // 60:02}:{(100 + int(runtime)) % 60:02}"
    record = {"EXIT_STATUS": status, "EXIT_CODE": code, "RUNTIME_SECONDS": runtime, "END_TIMESTAMP": end}
    assert read_alcf(made(tmp_path, record)).column("outcome").tolist() == [outcome]


def test_fractions_are_rounded_and_dates_cut_to_seconds(tmp_path: Path) -> None:
    record = {
        "QUEUED_TIMESTAMP": "2020-01-01 00:00:00.999999",
        "START_TIMESTAMP": "2020-01-01 00:01:40.5",
        "RUNTIME_SECONDS": "599.61",
    }
    workload = read_alcf(made(tmp_path, record))
    assert workload.t0_utc == SECOND_0
    assert (workload.column("recorded_start_s")[0], workload.column("runtime_s")[0]) == (100, 600)


def test_jobs_of_one_second_are_ordered_by_number_not_by_end(tmp_path: Path) -> None:
    late = {"JOB_NAME": "7.x", "COBALT_JOBID": "0", "QUEUED_TIMESTAMP": "2020-01-01 00:00:01"}
    pbs = [{"JOB_NAME": f"{number}.polaris", "COBALT_JOBID": "0"} for number in (30, 4, 200)]
    assert read_alcf(made(tmp_path, late, *pbs)).table["name"].to_pylist() == [
        "4.polaris",
        "30.polaris",
        "200.polaris",
        "7.x",
    ]


def test_a_user_that_became_a_decimal_is_the_same_user(tmp_path: Path) -> None:
    other = {"JOB_NAME": "1002.mira", "USERNAME_GENID": "29946708553445.0"}
    workload = read_alcf(made(tmp_path, {}, other))
    assert workload.table["user"].combine_chunks().dictionary.to_pylist() == ["29946708553445"]


def test_a_missing_column_is_named_with_the_nearest(tmp_path: Path) -> None:
    columns = ["QUEUE_NAMES" if name == "QUEUE_NAME" else name for name in RECORD]
    with pytest.raises(InputError, match=r"made\.csv:1: the column QUEUE_NAME is missing .* QUEUE_NAMES"):
        read_alcf(made(tmp_path, {}, columns=columns))


def test_a_column_that_is_expected_itself_is_not_taken_for_the_missing_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"QUEUED_TIMESTAMP is missing from the header$"):
        read_alcf(made(tmp_path, {}, columns=["QTIME" if name == "QUEUED_TIMESTAMP" else name for name in RECORD]))
    with pytest.raises(InputError, match=r"did you mean QUEUED_TIMESTAMP where it says QUEUED_TIME\?"):
        read_alcf(made(tmp_path, {}, columns=["QUEUED_TIME" if n == "QUEUED_TIMESTAMP" else n for n in RECORD]))


def test_a_column_twice_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path, {})
    header, record = path.read_text().splitlines()
    path.write_text(f"{header},queue_name\n{record},x\n")
    with pytest.raises(InputError, match=r"made\.csv:1: found the column QUEUE_NAME 2 times"):
        read_alcf(path)


@pytest.mark.parametrize("block", [trace_file.BLOCK_BYTES, 400])
@pytest.mark.parametrize(
    ("column", "cell", "expected"),
    [
        ("NODES_USED", "many", "a number"),
        ("NODES_USED", "nan", "a number"),
        ("RUNTIME_SECONDS", "inf", "a number"),
        ("WALLTIME_SECONDS", "1e300", "a number"),
        ("EXIT_STATUS", "0x1F", "a number"),
        ("QUEUED_TIMESTAMP", "2020-01-01", "YYYY-MM-DD HH:MM:SS"),
        ("START_TIMESTAMP", "2020-13-01 00:00:00", "YYYY-MM-DD HH:MM:SS"),
        ("START_TIMESTAMP", "01/02/2020 00:00:00", "YYYY-MM-DD HH:MM:SS"),
        ("END_TIMESTAMP", "2020-01-01 00:00:00+00:00", "YYYY-MM-DD HH:MM:SS"),
        ("END_TIMESTAMP", "2020-01-01 00:00:00.1234567", "YYYY-MM-DD HH:MM:SS"),
    ],
)
def test_a_cell_that_is_wrong_is_named(
    tmp_path: Path, column: str, cell: str, expected: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_file, "BLOCK_BYTES", block)
    path = made(tmp_path, {}, {}, {column: cell}, {"NODES_USED": "also wrong"})
    with pytest.raises(InputError) as error:
        read_alcf(path)
    assert str(error.value) == f"{path}:4: column {column}: found {cell!r}, expected {expected}"


@pytest.mark.parametrize("line", ['"1001.mira",1001', '"1001.mira', "x" + "," * 30, '"two\nlines"'])
def test_a_record_of_another_length_is_named(tmp_path: Path, line: str) -> None:
    path = made(tmp_path, {}, {})
    path.write_text(path.read_text() + "\n" + line + "\n")
    with pytest.raises(InputError, match=r"made\.csv:5: found \d+ cells?, expected 13 as in the header"):
        read_alcf(path)


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    path = made(tmp_path, {}, {"JOB_NAME": "ä"})
    path.write_bytes(path.read_bytes().replace("ä".encode(), b"\xe4"))
    with pytest.raises(InputError, match=r"made\.csv:3: column JOB_NAME: found .* expected UTF-8 text"):
        read_alcf(path)


def test_a_header_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only a header"):
        read_alcf(made(tmp_path))


def test_the_size_of_a_block_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path, *({"JOB_NAME": f"{n}.x", "USERNAME_GENID": str(n % 7)} for n in range(50)))
    whole = read_alcf(path)
    monkeypatch.setattr(trace_file, "BLOCK_BYTES", 500)
    parts = read_alcf(path)
    assert contents(parts) == contents(whole)
    assert parts.cleaning == whole.cleaning


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    count = draw(st.integers(1, 8))

    def column(values: st.SearchStrategy[Any]) -> Any:
        return draw(st.lists(values, min_size=count, max_size=count))

    submit_s = np.cumsum(column(st.integers(0, 10**6)))
    walltime_s = np.array(column(st.integers(1, 10**6)))
    runtime_s = np.maximum(1, (np.array(column(st.floats(0, 2))) * walltime_s).astype(np.int64))
    names = st.sampled_from(["", "7", "alice", "bob, b", 'R"quoted"', "ünal"])
    return workload_from_columns(
        t0_utc=draw(st.integers(10**6, 2 * 10**9)),
        source="made",
        name=[f"{number}.made" for number in draw(st.permutations(range(count)))],
        submit_s=submit_s - submit_s[0],
        nodes=column(st.integers(1, 10**5)),
        walltime_s=walltime_s,
        runtime_s=runtime_s,
        user=column(names),
        project=column(names),
        queue=column(st.sampled_from(["", "prod", "debug scaling"])),
        outcome=column(st.sampled_from([COMPLETED, FAILED, TIMEOUT])),
        recorded_start_s=submit_s - submit_s[0] + column(st.integers(0, 10**6)),
    )


@given(workload=workloads())
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, workload: Workload) -> None:
    path = tmp_path_factory.mktemp("round") / "trip.csv.gz"
    write_alcf(workload, path)
    again = read_alcf(path, strict=True)
    assert contents(again) == contents(workload)
    assert again.t0_utc == workload.t0_utc


def test_what_the_format_cannot_say_is_not_written(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "name": ["a", "b"],
        "submit_s": [0, 1],
        "nodes": [1, 1],
        "walltime_s": [9, 9],
        "runtime_s": [9, 9],
    }
    with pytest.raises(InputError, match="t0_utc 0"):
        write_alcf(workload_from_columns(t0_utc=0, source="made", **columns), tmp_path / "out.csv")
    with pytest.raises(InputError, match="waits for another"):
        write_alcf(
            workload_from_columns(t0_utc=10**9, source="made", after=[None, [0]], **columns),
            tmp_path / "out.csv",
        )
    assert not list(tmp_path.iterdir())


def test_a_written_file_has_the_header_of_the_real_ones(data: Path, tmp_path: Path) -> None:
    real = data / "traces/alcf/ANL-ALCF-DJC-MIRA_20200101_20201231.csv.gz"
    write_alcf(read_alcf(real).first(3), tmp_path / "out.csv.gz")
    with gzip.open(real, "rt") as expected, gzip.open(tmp_path / "out.csv.gz", "rt") as found:
        assert found.readline() == expected.readline()


@pytest.mark.parametrize(
    ("records", "swf", "jobs", "rounded"),
    [
        ("ANL-ALCF-DJC-MIRA_20200101_20201231", "mira_2020-01_2020-03", 6833, 45),
        ("ANL-ALCF-DJC-THETAGPU_20200922_20201231", "thetagpu_2020-09_2020-12", 5025, 0),
    ],
)
def test_records_and_their_swf_hold_the_same_jobs(data: Path, records: str, swf: str, jobs: int, rounded: int) -> None:
    found = read_alcf(data / f"traces/alcf/{records}.csv.gz", reservations="keep")
    expected = read_swf(data / f"traces/swf/{swf}.swf.gz")
    assert (len(found), len(expected), found.t0_utc) == (jobs, jobs, expected.t0_utc)

    def in_order(workload: Workload) -> dict[str, np.ndarray]:
        names = ("submit_s", "walltime_s", "recorded_start_s", "nodes", "runtime_s")
        columns = [workload.column(name) for name in names]
        order = np.lexsort(columns[::-1])  # jobs of one second lie in another order in the SWF files
        return {name: column[order] for name, column in zip(names, columns, strict=True)}

    ours, theirs = in_order(found), in_order(expected)
    for name in ("submit_s", "walltime_s"):
        assert np.array_equal(ours[name], theirs[name]), name
    # The waits of the SWF files were rounded from finer dates than the ones that were published.
    assert np.abs(ours["recorded_start_s"] - theirs["recorded_start_s"]).max() <= 1
    # An SWF job has the nodes requested, a record the ones used: Mira rounded 45 requests up to a block.
    rounded_up = ours["nodes"] != theirs["nodes"]
    assert np.count_nonzero(rounded_up) == rounded
    assert (ours["nodes"] >= theirs["nodes"]).all()
    # The SWF files keep the recorded runtime where it and the dates disagree, or it is absurd; we mend it.
    differ = int(np.count_nonzero(ours["runtime_s"] != theirs["runtime_s"]))
    mended = found.cleaning["runtime_unlike_timestamps"] + found.cleaning["absurd_runtime"]
    assert differ == mended


STATUS = "MACHINE_NAME,START_TIMESTAMP,END_TIMESTAMP,IS_ALL_MACHINE_DOWN,NUMBER_NODES_DOWN,WHY\n"


def test_outages_of_the_whole_machine_are_merged(tmp_path: Path) -> None:
    path = tmp_path / "status.csv"
    path.write_text(
        STATUS
        + "x,1970-01-03 00:00:00,1970-01-03 01:00:00,1,,planned\n"
        + "x,1970-01-02 00:00:00,1970-01-02 02:00:00,1,560,planned\n"
        + "x,1970-01-02 01:00:00,1970-01-02 03:00:00.25,1,560,planned\n"
        + "x,1970-01-02 01:30:00,,1,560,open\n"
        + "x,1970-01-02 01:00:00,1970-01-02 01:00:10,0,4,some nodes\n"
        + "x,1970-01-02 01:00:00,1970-01-02 01:00:10,0,,nobody knows how many\n"
        + "x,1970-01-02 05:00:00,1970-01-02 05:00:00,1,,no time at all\n"
        + "x,1970-01-04 00:00:00,,1,,not over\n"
    )
    day = 86_400
    assert read_machine_status(path) == [
        Outage(day, day + 10_801, None),
        Outage(day + 3600, day + 3610, 4),
        Outage(2 * day, 2 * day + 3600, None),
        Outage(3 * day, None, None),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("x,,1970-01-03 01:00:00,1,,", "column START_TIMESTAMP: found nothing"),
        (
            "x,1970-01-03 01:00:00,1970-01-03 00:00:00,1,,",
            "column END_TIMESTAMP: found 1970-01-03 00:00:00, before the start",
        ),
        ("x,1970-01-03 01:00:00,,maybe,,", "column IS_ALL_MACHINE_DOWN: found 'maybe', expected 1 or 0"),
        ("x,1970-01-03 01:00:00,,0,few,", "column NUMBER_NODES_DOWN: found 'few', expected a number"),
        ("x,yesterday,,1,,", "column START_TIMESTAMP: found 'yesterday'"),
    ],
)
def test_a_bad_outage_is_named(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "status.csv"
    path.write_text(STATUS + row + "\n")
    with pytest.raises(InputError) as error:
        read_machine_status(path)
    assert str(error.value).startswith(f"{path}:2: {message}")


def test_the_list_of_polaris_outages_is_read(data: Path) -> None:
    outages = read_machine_status(data / "traces/alcf_derived/polaris_2025_full_machine_outages.csv")
    assert len(outages) == 10
    assert all(outage.nodes_down is None for outage in outages)
    down_s = sum(outage.end_utc - outage.start_utc for outage in outages if outage.end_utc is not None)
    assert 476 <= down_s / 3600 < 477


@pytest.mark.parametrize(
    ("location", "partition", "place"),
    [
        ("MIR-00C80-33FF1-1-1024", "", "MIR-00C80-33FF1-1-1024"),
        ("UNKNOWN", "MIR-00000-7BFF1-49152", "MIR-00000-7BFF1-49152"),
        ("MIR-R10-R13-4096", "MIR-00000-7BFF1-49152", "MIR-R10-R13-4096"),
        ("UNKNOWN", "", None),
        ("thetagpu19:thetagpu18", "", None),
        ("x3005c0s19b1n0,x3005c0s25b0n0", "", None),
        ("ANL-R00-M0-512", "ANL-R00-M0-512", None),
    ],
)
def test_a_place_is_a_block_of_mira_or_none(tmp_path: Path, location: str, partition: str, place: str | None) -> None:
    columns = [*RECORD, "LOCATION", "MACHINE_PARTITION"]
    path = made(tmp_path, {"LOCATION": location, "MACHINE_PARTITION": partition}, columns=columns)
    assert contents(read_alcf(path))[0]["recorded_place"] == place
