"""A description holds the numbers that one finds by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hpcsim.cli.trace import trace
from hpcsim.errors import InputError
from hpcsim.results.trace_plots import plot_description
from hpcsim.workload.describe import describe, size_classes
from hpcsim.workload.job import workload_from_columns
from hpcsim.workload.synthetic import synthesise

MONDAY_UTC = 1_704_088_800  # Monday 2024-01-01 00:00 at UTC-6
DAY = 86_400


@pytest.fixture
def four_days():
    """Six jobs: one on Monday, three on Tuesday, one on Wednesday, one on Thursday; two users and a stranger."""
    return workload_from_columns(
        t0_utc=MONDAY_UTC,
        source="four days",
        name=list("abcdef"),
        submit_s=[9 * 3600, DAY, DAY + 4, DAY + 2000, 2 * DAY + 9 * 3600, 3 * DAY],
        nodes=[1, 2, 2, 2, 512, 6],
        walltime_s=[600, 3600, 3600, 1800, 3600, 100],
        runtime_s=[600, 36, 3600, 900, 3528, 1],
        user=["ann", "bob", "bob", "bob", "ann", ""],
        recorded_start_s=[9 * 3600 + 30, DAY + 100, DAY + 104, -1, 2 * DAY + 10 * 3600, -1],
        machine_nodes=560,
    )


def test_arrivals_are_counted_by_whole_local_days(four_days) -> None:
    found = describe(four_days).summary
    # Tuesday and Wednesday are the whole days
    assert (found["jobs/day mean"], found["jobs/day sd"], found["jobs/day max"]) == (2, 1, 3)
    gaps = np.array([DAY - 9 * 3600, 4, 1996, DAY + 9 * 3600 - 2000, DAY - 9 * 3600])
    assert found["gap mean, s"] == pytest.approx(gaps.mean())
    assert found["gap median, s"] == DAY - 9 * 3600
    assert found["gap CV"] == pytest.approx(gaps.std() / gaps.mean())
    assert found["share of gaps <= 5 s"] == 0.2


def test_cycles_are_local_and_have_mean_one(four_days) -> None:
    found = describe(four_days)
    assert found.hour_weights[9] == pytest.approx(24 * 2 / 6)
    assert found.hour_weights[0] == pytest.approx(24 * 4 / 6 - 0)
    assert found.hour_weights.mean() == pytest.approx(1)
    assert found.weekday_weights == pytest.approx([7 / 6, 21 / 6, 7 / 6, 7 / 6, 0, 0, 0])


def test_lengths_and_the_share_at_the_limit(four_days) -> None:
    found = describe(four_days).summary
    assert found["runtime median, s"] == 750
    assert found["walltime median, s"] == 2700
    assert found["share at the limit"] == 0.5  # 1, 1 and 0.98
    assert found["share below 0.1 walltime"] == pytest.approx(2 / 6)
    assert found["share of power-of-two nodes"] == pytest.approx(5 / 6)


def test_size_classes_share_jobs_and_node_hours(four_days) -> None:
    rows = {row.nodes: row for row in describe(four_days).sizes}
    work = {1: 600, 2: 2 * (36 + 3600 + 900), 512: 512 * 3528, 6: 6}
    assert list(rows) == [(1, 1), (2, 2), (3, 9), (497, 560)]
    assert rows[2, 2].job_share == 0.5
    assert rows[2, 2].node_hour_share == pytest.approx(work[2] / sum(work.values()))
    assert rows[2, 2].runtime_median_s == 900
    assert rows[2, 2].walltime_median_s == 3600
    assert rows[2, 2].at_limit_share == pytest.approx(1 / 3)
    assert (rows[2, 2].wait_median_s, rows[2, 2].wait_mean_s) == (100, 100)
    assert rows[3, 9].wait_median_s is None


def test_waits_are_those_of_known_starts(four_days) -> None:
    found = describe(four_days).summary
    assert found["wait mean, s"] == pytest.approx((30 + 100 + 100 + 3600) / 4)
    slowdowns = [630 / 600, 1, 3700 / 3600, 7128 / 3528]
    assert found["bounded slowdown (600 s) mean"] == pytest.approx(np.mean(slowdowns))
    unknown = synthesise("mira", seed=1, jobs=50)
    assert not any("wait" in name or "slowdown" in name for name in describe(unknown).summary)


def test_walltimes_are_listed_from_the_most_frequent_on(four_days) -> None:
    assert describe(four_days).walltimes[0] == (3600, 0.5)
    assert sum(share for _, share in describe(four_days).walltimes) == pytest.approx(1)


def test_users_and_what_they_repeat(four_days) -> None:
    found = describe(four_days).users
    assert found["users"] == 2
    assert found["job share of top 1"] == 0.6
    # followers: bob's second and third job, ann's second
    assert found["repeats nodes"] == pytest.approx(2 / 3)
    assert found["repeats walltime"] == pytest.approx(1 / 3)
    assert found["repeats both"] == pytest.approx(1 / 3)
    assert found["within 60 s of the last"] == pytest.approx(1 / 3)
    # sessions: ann, ann, bob with two, bob with one
    assert found["jobs/session mean"] == 5 / 4
    assert found["Gini"] == pytest.approx(0.1)


def test_a_trace_without_users_has_no_table_of_users() -> None:
    nameless = workload_from_columns(
        t0_utc=0, source="x", name=["1", "2"], submit_s=[0, 5], nodes=[1, 4], walltime_s=[9, 9], runtime_s=[1, 2]
    )
    found = describe(nameless)
    assert found.users == {}
    assert found.machine_nodes == 4
    assert [row.nodes for row in found.sizes] == [(1, 1), (4, 4)]


def test_quantiles_and_ratio_counts_hold_every_job(four_days) -> None:
    found = describe(four_days)
    assert found.ratio_counts.sum() == 6
    assert found.ratio_counts[49] == 1  # 0.98
    assert found.ratio_counts[50] == 2  # 1.00
    assert (found.runtime_quantiles_s[0], found.runtime_quantiles_s[-1]) == (1, 3600)


@pytest.mark.parametrize("nodes", [1, 24, 126, 560, 4360, 4392, 10624, 49152])
def test_size_classes_cover_the_machine_once(nodes: int) -> None:
    classes = size_classes(nodes)
    assert [size for first, last in classes for size in range(first, last + 1)] == list(range(1, nodes + 1))


def test_one_job_can_be_described_and_none_cannot(four_days) -> None:
    assert describe(four_days.first(1)).jobs == 1
    with pytest.raises(InputError, match="without jobs"):
        describe(four_days.take(np.array([], np.int64)))


@pytest.mark.parametrize(
    ("header", "asked", "clock", "busiest"),
    [
        ("; UnixStartTime: 1310000000\n; TimeZoneString: Europe/Paris\n", (), "UTC+1", 1),  # in July: standard time
        ("; UnixStartTime: 1310000000\n; TimeZoneString: UTC\n", (), "UTC-6", 18),
        ("; UnixStartTime: 1310000000\n; TimeZoneString: Nowhere/At All\n", (), "UTC-6", 18),
        ("; UnixStartTime: 1310000000\n", ("--utc-offset", "5.5"), "UTC+5.5", 5),
        ("; UnixStartTime: 1310000000\n; TimeZoneString: Europe/London\n", (), "UTC", 0),
        (" ; UnixStartTime: 1310000000\n ; TimeZoneString: Asia/Tokyo\n", (), "UTC+9", 9),
        ("; TimeZoneString: Asia/Tokyo\n", (), "UTC", 0),  # without dates: hours since the beginning
        ("", (), "UTC", 0),
    ],
)
def test_hours_are_those_of_the_place_that_the_trace_names(
    header: str, asked: tuple[str, ...], clock: str, busiest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPCSIM_CACHE", str(tmp_path / "cache"))
    midnight = 1_310_083_200 - 1_310_000_000 if "Unix" in header else 0
    rest = "60 1 -1 -1 1 60 -1 1 1 1 -1 1 -1 -1 -1\n"
    (tmp_path / "t.swf").write_text(header + "".join(f"{i} {midnight + 60 * i} 0 {rest}" for i in range(1, 10)))
    result = CliRunner().invoke(
        trace, ["describe", str(tmp_path / "t.swf"), "--no-plot", *asked], catch_exceptions=False
    )
    assert f"local time {clock}\n" in result.output
    rows = (line.split() for line in result.output.split(clock)[1].splitlines())
    hours = [cell for row in rows if row and row[0] in ("0-11", "12-23") for cell in row[1:]]
    assert hours.index("24.00") == busiest


def test_the_picture_is_the_same_every_time(four_days, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        plot_description(describe(four_days), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("columns", [80, 160])
def test_the_tables_fit_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    result = CliRunner().invoke(
        trace, ["describe", "mira", "theta", "--days", "5", "--no-plot"], catch_exceptions=False
    )
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= columns
    assert "…" not in result.output
    assert "16,385-49,152" in result.output


@pytest.mark.parametrize("ending", ["swf", "csv", "swf.gz"])
def test_a_synthetic_trace_is_written_and_described(ending: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HPCSIM_CACHE", str(tmp_path / "cache"))
    file, copy = f"t.{ending}", "copy.csv"
    for command in (
        ["synth", "theta", "--jobs", "200", "--seed", "3", "-o", file],
        ["describe", file],
        ["convert", file, copy],
    ):
        result = CliRunner().invoke(trace, command, catch_exceptions=False)
        assert result.exit_code == 0
        assert "200 jobs" in result.output
        if command[0] == "describe":
            assert result.output.endswith("\nits picture is t.describe.png; --no-plot makes none\n")
    assert (tmp_path / "t.describe.png").stat().st_size > 10_000


def test_a_wrong_name_says_which_profile_was_meant() -> None:
    with pytest.raises(InputError, match="Did you mean 'theta'"):
        CliRunner().invoke(trace, ["describe", "theat"], catch_exceptions=False)


def test_the_real_mira_trace_gives_the_published_figures(data: Path) -> None:
    from hpcsim.workload.trace import read_trace

    found = describe(read_trace(data / "traces" / "swf" / "mira_2018-08_2018-12.swf.gz"))
    assert found.summary["runtime median, s"] == 3646
    assert found.summary["share at the limit"] == pytest.approx(0.20, abs=0.005)
    assert found.users["repeats nodes"] == pytest.approx(0.80, abs=0.005)
    assert found.sizes[1].job_share == pytest.approx(0.499, abs=0.001)
