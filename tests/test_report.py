"""The report page says what the tables hold, is small, and takes whatever a run may contain."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

import hpcsim
from hpcsim.cli import cli
from hpcsim.errors import InputError
from hpcsim.results.page import write_report
from hpcsim.results.page.document import page
from hpcsim.results.page.job_table import job_table
from hpcsim.results.page.pack import named, real, size_of, unpack, whole
from hpcsim.results.page.steps import packed_steps

HERE = Path(__file__).parent


def data_of(text):
    """What the scripts of a page are given."""
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(found)


def report_of(*runs):
    return data_of(page(runs))


@pytest.fixture(scope="module")
def run():
    """Jobs enough for a queue, of which some are stopped, rejected or routed."""
    return hpcsim.simulate("polaris", {"jobs": 1500, "physics.cap_kw": 900})


@pytest.fixture(scope="module")
def report(run):
    return report_of(run)


def test_every_figure_of_the_summary_is_in_the_page_and_nothing_else(run, report):
    shown = {row["key"]: row["values"][0] for row in report["summary"]}
    expected = {}
    for key, value in run.summary.items():
        parts = {f"{key}: {part}": each for part, each in value.items()} if isinstance(value, dict) else {key: value}
        expected |= {name: each for name, each in parts.items() if each is not None}
    assert shown == expected


def test_all_jobs_are_counted_alike_in_the_words_the_cards_and_the_states():
    run = hpcsim.simulate("polaris", {"jobs": 2000})
    report = report_of(run)
    rejected = run.summary["jobs_by_state"]["rejected"]
    assert run.summary["jobs"] + rejected == len(run.jobs) == sum(run.summary["jobs_by_state"].values())
    assert report["runs"][0]["what"]["jobs"] == run.jobs_in_words == "2,000 jobs (1 rejected)"
    cards = {row["label"]: row["values"] for row in report["tiles"]}
    assert (cards["jobs"], cards["jobs rejected"]) == ([2000], [1])


def test_the_headline_names_options_that_are_not_the_default_and_no_other(run):
    assert run.title == "polaris under easy"
    assert hpcsim.simulate("polaris", {"jobs": 5, "scheduler.order": "sjf"}).title == "polaris under easy (order=sjf)"
    many = {"a": 1, "b": "x" * 40, "c": None, "d": True, "e": 2.5}
    other = replace(run, manifest={**run.manifest, "scheduler_options": many})
    assert other.title == f"polaris under easy (a=1, b={'x' * 23}…, c=null, 2 more)"


def test_jobs_unpack_to_the_columns_of_the_table(run, report):
    jobs, packed = run.jobs, report["runs"][0]["jobs"]
    assert packed["count"] == len(jobs)
    assert (packed["dropped"], packed["left_out"]) == ([], 0)
    columns = packed["columns"]
    for name in ("submit_s", "nodes", "walltime_s", "wait_s", "runtime_s", "attempts"):
        np.testing.assert_array_equal(unpack(columns[name]), jobs[name].astype(float), name)
    np.testing.assert_allclose(unpack(columns["energy_j"]), jobs["energy_j"], rtol=1e-7)
    np.testing.assert_array_equal(unpack(columns["eligible_s"]) + jobs["submit_s"], jobs["eligible_s"].astype(float))
    for name in ("user", "project", "queue", "state"):
        assert unpack(columns[name]) == jobs[name].tolist()
    ids = columns["job_id"]
    numbers = unpack(ids["numbers"])
    assert [f"{ids['before']}{int(n)}{ids['after']}" for n in numbers] == jobs["job_id"].tolist()


def test_a_job_has_the_reason_of_its_last_start(run, report):
    last = run.attempts.groupby("job_id", observed=True)["why"].last()
    expected = [last.get(name) for name in run.jobs["job_id"]]
    assert unpack(report["runs"][0]["jobs"]["columns"]["why"]) == expected
    assert run.attempts["job_id"].duplicated().any()  # or the last start were the only one


def test_short_curves_are_in_the_page_as_they_are(run, report):
    curves = report["runs"][0]["timelines"]["curves"]
    for table, columns in (
        ("timeline", ("queue", "running", "busy_nodes")),
        ("power", ("it_w", "facility_w")),
        ("grid", ("cap_w", "price_usd_per_kwh", "carbon_g_per_kwh")),
        ("temperature", ("hottest_c", "mean_c", "supply_c", "throttled_nodes")),
    ):
        frame = getattr(run, table)
        np.testing.assert_array_equal(unpack(curves[table]["time_s"]), frame["time_s"])
        for column in columns:
            np.testing.assert_allclose(unpack(curves[table]["columns"][column]["mean"]), frame[column], rtol=1e-6)


def test_jobs_so_far_are_counted_as_the_table_counts_them(run, report):
    completed = report["runs"][0]["timelines"]["curves"]["completed"]
    ends = np.sort(run.jobs.loc[run.jobs["state"] == "completed", "end_s"])
    second, count = unpack(completed["time_s"]), unpack(completed["columns"]["jobs"]["mean"])
    np.testing.assert_array_equal(count, np.searchsorted(ends, second, side="right"))
    assert count[-1] == len(ends)


def test_long_curves_keep_their_mean_and_every_extreme():
    random = np.random.default_rng(3)
    time_s = np.sort(random.choice(10**7, 100_000, replace=False))
    value = random.normal(50, 5, time_s.size)
    value[[20_000, 70_000]] = 1e4, -1e4  # for moments only
    packed = packed_steps(time_s, {"v": value}, 10**7)
    parts = {what: unpack(column) for what, column in packed["columns"]["v"].items()}
    assert parts["most"].max() == pytest.approx(1e4)
    assert parts["least"].min() == pytest.approx(-1e4)
    exact = np.dot(np.diff(time_s, append=10**7), value) / (10**7 - time_s[0])
    assert parts["mean"].mean() == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize(
    "values", [[], [0], [5, 5, 5], [3, -7, 2**52], list(range(1000)), [2**31, 2**31 + 1], [-(2**40), 0]]
)
@pytest.mark.parametrize("changes", [False, True])
def test_whole_numbers_come_back(values, changes):
    assert unpack(whole(np.array(values, np.int64), changes=changes)).tolist() == values


def test_what_is_unknown_comes_back_as_unknown():
    assert str(unpack(whole(pa.chunked_array([[None, 0, 7, None]], pa.int64()))).tolist()) == "[nan, 0.0, 7.0, nan]"
    assert str(unpack(whole(pa.chunked_array([[None, None]], pa.int64()))).tolist()) == "[nan, nan]"
    assert unpack(named(pa.chunked_array([["b", None, "b"], ["a"]], pa.string()))) == ["b", None, "b", "a"]
    assert str(unpack(real(np.array([np.nan, 1.5]))).tolist()) == "[nan, 1.5]"


def test_waits_by_size_are_shares_of_the_jobs_that_started(run, report):
    waits = report["waits"]
    started = run.jobs[run.jobs["wait_s"].notna() & run.jobs["measured"] & (run.jobs["state"] != "rejected")]
    assert sum(each["runs"][0]["jobs"] for each in waits["classes"]) == len(started)
    (small,) = [each["runs"][0] for each in waits["classes"] if each["name"] == "3 to 9 nodes"]
    own = started[started["nodes"].between(3, 9)]
    assert small["median_wait_s"] == own["wait_s"].median()
    expected = [(own["wait_s"] <= second).mean() for second in waits["scale_s"]]
    np.testing.assert_allclose(small["shares"], expected, atol=2e-3)


def test_the_same_run_gives_the_same_bytes_also_from_its_directory(run, tmp_path):
    directory = run.write(tmp_path / "run")
    first = (directory / "report.html").read_bytes()
    result = CliRunner().invoke(cli, ["report", str(directory)])
    assert (result.exit_code, result.output) == (0, f"{directory / 'report.html'}\n")
    assert (directory / "report.html").read_bytes() == first


def test_a_year_of_390_000_jobs_on_50_000_nodes_takes_less_than_15_mb_20_s_and_2_gib(tmp_path):
    script = [sys.executable, HERE / "large_run.py", tmp_path / "large.html"]
    cost = json.loads(subprocess.run(script, check=True, capture_output=True, text=True).stdout)
    assert cost["bytes"] < 15e6
    assert cost["cpu_s"] < 20
    assert cost["peak_mib"] < 2048


def test_what_has_no_room_is_left_out_column_by_column_and_then_from_the_last_job_on_and_said(run):
    jobs, attempts = run.tables["jobs"], run.tables["attempts"]
    whole_table = job_table(jobs, attempts, 10**7)
    size = sum(map(size_of, whole_table["columns"].values()))
    less = job_table(jobs, attempts, size - 100)
    assert (less["dropped"], less["left_out"]) == (["energy_j"], 0)
    least = job_table(jobs, attempts, 8_000)
    assert sum(map(size_of, least["columns"].values())) <= 8_000
    assert 0 < least["count"] == jobs.num_rows - least["left_out"]
    assert unpack(least["columns"]["nodes"]).tolist() == run.jobs["nodes"].tolist()[: least["count"]]


def test_the_page_asks_no_network_for_anything_and_its_policy_would_not_let_it(run):
    text = page([run])
    assert not re.findall(r'(?:src|href)="(?!#)', text)
    assert not re.findall(r"@import|url\(", text)
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', text)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy


HOSTILE = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>&amp;\"'\u2028"


def test_what_a_run_holds_cannot_leave_the_data_of_the_page(run):
    hostile = replace(
        run,
        manifest={**run.manifest, "scenario": HOSTILE, "scheduler": HOSTILE},
        scenario_yaml=f"name: {HOSTILE}",
        summary={**run.summary, "metrics": {HOSTILE: 1.0}},
    )
    text = page([hostile])
    assert text.count("<script") == page([run]).count("<script")
    assert "<img" not in text
    assert "alert(1)</script><!--" not in text
    assert data_of(text)["runs"][0]["what"]["scenario"] == HOSTILE
    assert {row["key"] for row in data_of(text)["summary"]} >= {f"metrics: {HOSTILE}"}


def test_a_run_without_physics_says_that_it_has_no_power_and_shows_the_rest():
    shown = report_of(hpcsim.simulate("polaris", {"jobs": 100, "physics": None}))
    assert [panel["id"] for panel in shown["panels"]] == ["utilisation", "queue", "completed"]
    assert "no physics" in shown["runs"][0]["timelines"]["missing"][0]
    assert "energy_j" not in shown["runs"][0]["jobs"]["columns"]


def test_a_run_of_an_older_version_says_which_tables_it_lacks(run):
    without = ("grid", "temperature", "decisions")
    tables = {name: table for name, table in run.tables.items() if name not in without}
    missing = ("cites", "levers", "twins", "warm_start_jobs", "metric_units", "needs")
    manifest = {key: value for key, value in run.manifest.items() if key not in missing}
    shown = report_of(replace(run, tables=tables, manifest=manifest))
    assert {"price", "carbon", "temperature", "throttled"}.isdisjoint(panel["id"] for panel in shown["panels"])
    said = " ".join(shown["runs"][0]["timelines"]["missing"])
    assert "grid.parquet" in said
    assert "temperature.parquet" in said
    assert "no cites" in shown["runs"][0]["cited"]["missing"]


@pytest.mark.parametrize(("jobs", "physics"), [(0, True), (1, True), (0, False), (1, False)])
def test_none_and_one_job_are_a_run_as_well(run, jobs, physics):
    few = hpcsim.simulate("polaris", {"jobs": 1} | ({} if physics else {"physics": None}))
    if not jobs:
        few = replace(few, tables={name: table.slice(0, name == "power") for name, table in few.tables.items()})
    shown = report_of(few)
    assert shown["runs"][0]["jobs"]["count"] == jobs
    assert len(shown["waits"]["classes"]) == jobs


def test_a_run_that_was_stopped_early_shows_who_waits_and_runs_still():
    stopped = hpcsim.simulate("polaris", {"jobs": 1500, "until": 300_000})
    columns = report_of(stopped)["runs"][0]["jobs"]["columns"]
    assert unpack(columns["state"]) == stopped.jobs["state"].tolist()
    running = stopped.jobs["state"] == "running"
    assert running.any()
    assert np.isnan(unpack(columns["runtime_s"])[running]).all()


@pytest.fixture(scope="module")
def fcfs():
    return hpcsim.simulate("polaris", {"jobs": 1500, "physics.cap_kw": 900, "scheduler": "fcfs"})


def test_runs_side_by_side_have_a_value_each_and_say_what_differs(run, fcfs):
    shown = report_of(run, fcfs)
    assert [each["name"] for each in shown["runs"]] == ["easy", "fcfs"]
    waits = {row["key"]: row["values"] for row in shown["summary"]}["mean_wait_s"]
    assert waits == [run.summary["mean_wait_s"], fcfs.summary["mean_wait_s"]]
    better = {row["key"]: row["better"] for row in (*shown["summary"], *shown["tiles"])}
    judged = [better[key] for key in ("mean_wait_s", "utilisation", "node_hours", "interrupts")]
    assert judged == ["lower", "higher", None, None]
    assert {"key": "scheduler.name", "values": ["easy", "fcfs"]} in shown["differing"]
    assert "-  name: easy\n+  name: fcfs" in shown["differences"][0]
    (queue,) = [panel for panel in shown["panels"] if panel["id"] == "queue"]
    assert [(line["run"], line["curve"]) for line in queue["lines"]] == [(0, "timeline.queue"), (1, "timeline.queue")]
    assert shown["warnings"] == []


def test_runs_of_other_jobs_or_seeds_are_said_to_be_hard_to_compare(run):
    other = hpcsim.simulate("polaris", {"jobs": 100, "seed": 2})
    said = " ".join(report_of(run, other)["warnings"])
    assert "The runs did not have the same jobs: 1,500 jobs" in said
    assert "The seeds differ: 1, then 2. So nothing is called better or worse." in said
    assert {row["better"] for row in (*report_of(run, other)["summary"], *report_of(run, other)["tiles"])} == {None}


def test_runs_that_nothing_else_tells_apart_go_by_their_directories(run):
    assert [each["name"] for each in data_of(page([run, run], ["a", "b"]))["runs"]] == ["a", "b"]


def refused(*arguments):
    with pytest.raises(InputError) as caught:
        CliRunner().invoke(cli, ["report", *map(str, arguments)], catch_exceptions=False, standalone_mode=False)
    return str(caught.value)


def test_what_is_no_run_directory_is_refused(tmp_path):
    assert "not a complete run directory" in refused(tmp_path)
    assert (
        refused(tmp_path / "nowhere") == f"{tmp_path / 'nowhere'}: there is no such directory; expected a run directory"
    )
    assert "cannot be read" in refused(tmp_path / ("a" * 300))
    (tmp_path / "cells.csv").touch()
    assert ": a tournament; expected a run directory" in refused(tmp_path)


def test_a_manifest_that_does_not_say_what_ran_is_refused(run, tmp_path):
    directory = run.write(tmp_path / "run", plots=False)
    manifest = {key: value for key, value in run.manifest.items() if key not in ("scheduler", "seed")}
    (directory / "manifest.json").write_text(json.dumps(manifest))
    (directory / "SHA256SUMS").unlink()
    assert refused(directory) == f"{directory}: not a complete run directory: its manifest.json has no scheduler, seed"


def test_a_file_that_is_no_report_is_not_written_over(run, tmp_path):
    directory = run.write(tmp_path / "run", plots=False)
    (tmp_path / "mine.html").write_text("<!doctype html> my thesis")
    assert "is no report of hpcsim" in refused(directory, "-o", tmp_path / "mine.html")
    assert (tmp_path / "mine.html").read_text() == "<!doctype html> my thesis"
    assert "is no report of hpcsim" in refused(directory, "-o", "/dev/full")  # which could be read for ever


def test_texts_that_no_file_can_hold_do_no_harm(run, tmp_path):
    write_report(tmp_path / "report.html", [replace(run, manifest={**run.manifest, "scenario": "half \ud800 a pair"})])
    assert data_of((tmp_path / "report.html").read_text("utf-8"))["runs"][0]["what"]["seed"] == 1
