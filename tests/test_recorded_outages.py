"""Recorded outages, from the shell: the machine is down when the file says so; a bad file is an error with a place."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim import cli
from hpcsim.workload.swf import write_swf
from hpcsim.workload.synthetic import synthesise
from hpcsim.workload.trace import read_trace

OUTAGES = "traces/alcf_derived/polaris_2025_full_machine_outages.csv"
NEW_YEAR = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp())
HEADER = "MACHINE_NAME,START_TIMESTAMP,END_TIMESTAMP,IS_ALL_MACHINE_DOWN,NUMBER_NODES_DOWN\n"


def exit_code(*args: str) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main([*args, "--no-plots"])
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.fixture(scope="module")
def january(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty days of Polaris as an SWF file that begins with 2025."""
    path = tmp_path_factory.mktemp("trace") / "january.swf"
    write_swf(synthesise("polaris-nodebug", seed=1, days=60), path)
    began = read_trace(path).t0_utc
    path.write_text(path.read_text().replace(f"UnixStartTime: {began}", f"UnixStartTime: {NEW_YEAR}"))
    return path


def run(trace: Path, outages: Path | str, out: Path, *more: str) -> int:
    settings = [f"physics.recorded_outages={outages}", "machine.model=polaris", "physics.failures=false"]
    changes = [word for setting in settings for word in ("--set", setting)]
    return exit_code("run", "polaris", "--trace", str(trace), "--check", "--out", str(out), *changes, *more)


def test_polaris_is_down_when_the_list_says_so(data: Path, january: Path, tmp_path: Path) -> None:
    assert run(january, data / OUTAGES, tmp_path / "run") == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    attempts = pd.read_parquet(tmp_path / "run" / "attempts.parquet")
    jobs = pd.read_parquet(tmp_path / "run" / "jobs.parquet")
    last = int(max(attempts["end_s"].max(), jobs["submit_s"].max()))  # the last to come may be rejected
    listed = pd.read_csv(data / OUTAGES, parse_dates=["start", "end"])
    begin = listed["start"].to_numpy("datetime64[us]").astype(np.int64) // 10**6 - NEW_YEAR
    end = -(-listed["end"].to_numpy("datetime64[us]").astype(np.int64) // 10**6) - NEW_YEAR
    seen = begin < last
    assert summary["interrupts"] == seen.sum() == 2
    assert summary["down_node_hours"] == pytest.approx(560 * (np.minimum(end, last) - begin)[seen].sum() / 3600)
    lost = 0
    for first, over in zip(begin[seen], end[seen], strict=True):
        assert not ((attempts["start_s"] < over) & (attempts["end_s"] > first)).any()
        cut_short = attempts[(attempts["end_s"] == first) & (attempts["state"] == "node_failed")]
        lost += cut_short["lost_node_s"].sum()
        assert len(cut_short) > 10
        assert (attempts["start_s"] == over).sum() > 10  # those that wait begin with its end
    lost += attempts.loc[attempts["state"] == "preempted", "lost_node_s"].sum()  # to jobs of the queue demand
    assert summary["lost_node_hours"] == pytest.approx(lost / 3600)


def test_a_part_of_the_machine_is_down_as_a_status_file_says(january: Path, tmp_path: Path) -> None:
    rows = (
        "polaris,2025-01-02 00:00:00,2025-01-02 10:00:00,0,50",
        "polaris,2025-01-02 05:00:00,2025-01-02 06:00:00.25,1,",
        "polaris,2025-01-04 00:00:00,2025-01-04 01:00:00,0,5000",  # more than it has: all
        "polaris,2025-01-05 00:00:00,,0,7",  # without an end: until the next begins
        "polaris,2025-01-05 00:30:00,2025-01-05 00:40:00,0,",  # does not say how many: left out
        "polaris,2025-01-05 01:00:00,2025-01-05 01:10:00,0,9",
    )
    (tmp_path / "status.csv").write_text(HEADER + "\n".join(rows) + "\n")
    assert run(january, tmp_path / "status.csv", tmp_path / "run", "--jobs", "4000") == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    seconds = 50 * 9 * 3600 - 50 + 560 * 3601 + 560 * 3600 + 7 * 3600 + 9 * 600
    assert summary["down_node_hours"] == pytest.approx(seconds / 3600)
    attempts = pd.read_parquet(tmp_path / "run" / "attempts.parquet")
    meanwhile = attempts[(attempts["start_s"] < 86_400 + 5 * 3600) & (attempts["end_s"] > 86_400)]
    assert len(meanwhile)
    held = {int(ends) for units in meanwhile["units"] for part in units.split(",") for ends in part.split("-")}
    assert max(held) < 510  # the last 50 nodes are those that are down


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("start,end\n2025-01-02 15:00:00,2025-01-32 22:56:00\n", "bad.csv:2: column end: found '2025-01-32 22:56:00'"),
        ("start,end\n\n2025-01-02 15:00:00,2025-01-01 22:56:00\n", "bad.csv:3: column END_TIMESTAMP: found 2025-01-01"),
        ("begin,end\n2025-01-02 15:00:00,\n", "bad.csv:1: the column START_TIMESTAMP is missing"),
        ("start,end\n,2025-01-02 15:00:00\n", "bad.csv:2: column START_TIMESTAMP: found nothing"),
        ("start,end\n2025-01-02 15:00:00\n", "bad.csv:2: found 1 cells, expected 2"),
        (HEADER + "p,2025-01-02 15:00:00,,perhaps,\n", "bad.csv:2: column IS_ALL_MACHINE_DOWN: found 'perhaps'"),
        (HEADER + "p,2025-01-02 15:00:00,,0,many\n", "bad.csv:2: column NUMBER_NODES_DOWN: found 'many'"),
        ("", "bad.csv: the file is empty"),
        (None, "bad.csv: there is no such file"),
    ],
)
def test_a_bad_file_is_refused_with_line_and_column(
    january: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / "bad.csv").write_text(text)
    assert run(january, tmp_path / "bad.csv", tmp_path / "run") == 2
    assert capfd.readouterr().err.startswith(f"hpcsim: {tmp_path}/{said}")
    assert not (tmp_path / "run").exists()


def test_dated_outages_need_a_dated_trace(
    data: Path, january: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    undated = tmp_path / "undated.swf"
    undated.write_text(january.read_text().replace(f"UnixStartTime: {NEW_YEAR}", "UnixStartTime: 0"))
    assert run(undated, data / OUTAGES, tmp_path / "run") == 2
    assert (
        "physics.recorded_outages: outages have dates, but second 0 of undated.swf has none" in capfd.readouterr().err
    )


intervals = st.lists(  # never more nodes than there are: what does not fit when it begins is left out
    st.tuples(st.integers(0, 9 * 86_400), st.integers(1, 86_400), st.none() | st.integers(1, 112)), max_size=5
)


@settings(deadline=None, max_examples=10)
@given(intervals)
def test_no_job_is_on_a_node_that_the_record_says_is_down(
    january: Path, tmp_path_factory: pytest.TempPathFactory, outages: list[tuple[int, int, int | None]]
) -> None:
    """Node-seconds of jobs and of repairs never add up to more than the machine, at any moment of the record."""
    folder = tmp_path_factory.mktemp("any")
    dates = [(datetime.fromtimestamp(NEW_YEAR + at, UTC), length, nodes) for at, length, nodes in outages]
    rows = [
        f"p,{start:%Y-%m-%d %H:%M:%S},{datetime.fromtimestamp(start.timestamp() + length, UTC):%Y-%m-%d %H:%M:%S},"
        + ("1," if nodes is None else f"0,{nodes}")
        for start, length, nodes in dates
    ]
    (folder / "status.csv").write_text(HEADER + "".join(row + "\n" for row in rows))
    assert run(january, folder / "status.csv", folder / "run", "--jobs", "600", "--set", "physics.queues=false") == 0
    attempts = pd.read_parquet(folder / "run" / "attempts.parquet")
    moments = [at for at, _, _ in outages] + [at + length // 2 for at, length, _ in outages]
    for moment in moments:
        open_now = [(at, nodes) for at, length, nodes in outages if at <= moment < at + length]
        down = 560 if any(nodes is None for _, nodes in open_now) else min(560, sum(n or 0 for _, n in open_now))
        running = attempts[(attempts["start_s"] <= moment) & (attempts["end_s"] > moment)]
        assert running["nodes"].sum() + down <= 560
