"""The trace of a run keeps the rules of its format, and says what the tables say."""

import gzip
import json
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from click.testing import CliRunner

import hpcsim
from hpcsim.cli import cli
from hpcsim.errors import InputError
from hpcsim.results import perfetto
from hpcsim.results.lanes import lanes_of
from hpcsim.results.perfetto import extremes, write_trace
from hpcsim.results.run import Run
from hpcsim.results.units import spans_of

MICRO = 1_000_000
FIELDS = {  # of the Trace Event Format: what an event of each kind has to have, and what it may have
    "M": ({"name", "pid", "args"}, {"tid"}),
    "X": ({"name", "cat", "pid", "tid", "ts", "dur"}, {"args"}),
    "C": ({"name", "pid", "ts", "args"}, set()),
    "s": ({"name", "cat", "pid", "tid", "ts", "id"}, set()),
    "f": ({"name", "cat", "pid", "tid", "ts", "id", "bp"}, set()),
}

RUNS = {
    "nodes only counted": ("polaris", {"jobs": 400, "physics": None}),
    "a month with failures": ("polaris", {"days": 30}),
    "midplanes": ("mira", {"days": 6}),
    "shared nodes": ("polaris", {"jobs": 300, "physics.processors": "cores"}),
    "node classes": ("workflows", {}),
    "stopped early": ("polaris", {"days": 2, "until": 90_000, "launch_latency": 30}),
    "nobody came": ("polaris", {"jobs": 3, "machine.nodes": 1, "physics": None}),
}


@pytest.fixture(scope="module")
def runs() -> dict[str, Run]:
    return {name: hpcsim.simulate(*given) for name, given in RUNS.items()}


@pytest.fixture(scope="module")
def traces(runs, tmp_path_factory):
    return {name: trace_of(run, tmp_path_factory.mktemp("trace")) for name, run in runs.items()}


@pytest.fixture(params=RUNS)
def both(runs, traces, request):
    """A run and its trace."""
    return runs[request.param], traces[request.param]


def trace_of(run, folder):
    write_trace(run, folder / "trace.json.gz")
    return json.loads(gzip.decompress((folder / "trace.json.gz").read_bytes()))


def slices(trace, category):
    return [each for each in trace["traceEvents"] if each["ph"] == "X" and each["cat"] == category]


def names_of(trace):
    """What each track is called."""
    told = [each for each in trace["traceEvents"] if each["ph"] == "M" and each["name"] == "thread_name"]
    assert len({each["tid"] for each in told}) == len(told)
    return {each["tid"]: each["args"]["name"] for each in told}


def test_every_event_has_what_its_kind_needs_and_nothing_else(both):
    trace = both[1]
    tracks = names_of(trace)
    for each in trace["traceEvents"]:
        needed, allowed = FIELDS[each["ph"]]
        assert needed | {"ph"} <= each.keys() <= needed | allowed | {"ph"}
        assert all(type(each[key]) is int for key in ("pid", "tid", "ts", "dur", "id") if key in each)
        assert each.get("dur", 0) >= 0
        assert each.get("tid", min(tracks)) in tracks
        if each["ph"] == "C":
            assert all(type(value) in (int, float) for value in each["args"].values())


def test_no_slices_of_a_track_overlap(both):
    on = defaultdict(list)
    for each in both[1]["traceEvents"]:
        if each["ph"] == "X":
            on[each["tid"]].append((each["ts"], each["ts"] + each["dur"]))
    for spans in on.values():
        assert spans == sorted(spans)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_every_start_and_end_is_that_of_the_tables(both):
    run, trace = both
    attempts = run.attempts
    stopped_s = yaml.safe_load(run.scenario_yaml).get("until")  # where all that runs still is shown to end
    last = stopped_s or max(run.timeline.time_s.max(), attempts.end_s.max())
    wanted = {
        (each.job_id, each.start_s * MICRO, int((each.end_s if each.end_s == each.end_s else last) * MICRO))
        for each in attempts.itertuples()
    }
    found = slices(trace, "job")
    assert {(each["name"], each["ts"], each["ts"] + each["dur"]) for each in found} == wanted
    started = run.jobs.dropna(subset="start_s")
    assert set(zip(started.job_id, (started.start_s * MICRO).astype(int), strict=True)) <= {w[:2] for w in wanted}


def test_a_job_has_a_slice_on_each_of_its_places_and_on_no_other(runs, traces):
    for name, called in (("a month with failures", "node"), ("midplanes", "midplane"), ("shared nodes", "node")):
        trace = traces[name]
        tracks = names_of(trace)
        found = defaultdict(set)
        for each in slices(trace, "job"):
            kind, number = tracks[each["tid"]].split(",")[0].split()
            assert kind == called
            found[each["name"], each["ts"]].add(int(number))
        for each in runs[name].attempts.itertuples():
            units = set()
            for part in each.units.split(","):
                first, _, last = part.partition("-")
                units |= set(range(int(first), int(last or first) + 1))
            assert found[each.job_id, each.start_s * MICRO] == units


def test_interrupts_are_where_they_were(runs, traces):
    run = runs["a month with failures"]
    found = slices(traces["a month with failures"], "interrupt")
    assert len(found) == run.interrupts.nodes.sum()
    assert {(each["name"], each["ts"]) for each in found} == {
        (each.cause, each.time_s * MICRO) for each in run.interrupts.itertuples()
    }


def test_lanes_are_as_few_as_jobs_run_at_once(runs, traces):
    lanes = [name for name in names_of(traces["nodes only counted"]).values() if name.startswith("lane ")]
    assert len(lanes) == runs["nodes only counted"].timeline.running.max()


def test_an_arrow_leads_from_the_queue_to_each_start(both):
    run, events = both[0], both[1]["traceEvents"]
    at = {(each["tid"], each["ts"], each["name"]) for each in events if each["ph"] == "X"}
    begins, ends = ({each["id"]: each for each in events if each["ph"] == kind} for kind in "sf")
    attempts = run.attempts.reset_index(drop=True)
    assert begins.keys() == ends.keys() == set(range(1, len(attempts) + 1))
    submit_s = run.jobs.set_index("job_id").submit_s
    ended_s = attempts.set_index(["job_id", "attempt"]).end_s
    for number, row in enumerate(attempts.itertuples(), 1):
        came_s = submit_s[row.job_id] if row.attempt == 1 else ended_s[row.job_id, row.attempt - 1]
        for arrow, second in ((begins[number], came_s), (ends[number], row.start_s)):
            assert arrow["ts"] == second * MICRO
            assert (arrow["tid"], arrow["ts"], row.job_id) in at
    assert not set(run.jobs.job_id) - {each["name"] for each in events if each.get("cat") == "queue"}


def test_counters_run_forward_and_say_what_the_tables_say(both):
    run, trace = both
    found = defaultdict(list)
    for each in trace["traceEvents"]:
        if each["ph"] == "C":
            ((unit, value),) = each["args"].items()
            found[f"{each['name']} [{unit}]"].append((each["ts"] // MICRO, value))
    wanted = {
        "waiting [jobs]": (run.timeline.time_s, run.timeline.queue),
        "running [jobs]": (run.timeline.time_s, run.timeline.running),
        "busy [nodes]": (run.timeline.time_s, run.timeline.busy_nodes),
    }
    if "power" in run.tables:
        for name, column in (("facility power", "facility_w"), ("IT power", "it_w")):
            wanted[f"{name} [kW]"] = (run.power.time_s, run.power[column] * 1e-3)
    assert wanted.keys() <= found.keys()
    for name, (time_s, value) in wanted.items():
        seconds, values = map(list, zip(*found[name], strict=True))
        assert seconds == sorted(set(seconds))
        assert len(seconds) <= perfetto.MOST_POINTS
        assert (min(values), max(values)) == (value.min(), value.max())
        table = dict(zip(time_s, value, strict=True))
        assert all(table[second] == each for second, each in found[name] if second in table)
        assert [second for second in seconds[:-1] if second not in table] == []


def test_temperatures_are_counters_where_a_run_has_them(runs, tmp_path):
    run = runs["stopped early"]
    table = pa.table({"time_s": [0, 600], "hottest_c": [40.0, 50.5], "mean_c": [30.0, 31.0]})
    with_heat = Run({**run.tables, "temperature": table}, run.summary, run.manifest, run.scenario_yaml, run.timing)
    events = trace_of(with_heat, tmp_path)["traceEvents"]
    hottest = [(each["ts"], each["args"]) for each in events if each["name"] == "hottest node"]
    assert hottest[:2] == [(0, {"°C": 40.0}), (600 * MICRO, {"°C": 50.5})]


def test_dates_cover_the_run_day_by_day(runs, traces):
    days = slices(traces["stopped early"], "date")
    at = np.datetime64(runs["stopped early"].manifest["t0_utc"], "s")
    for each in days:
        assert each["name"] == str((at + np.timedelta64(each["ts"] // MICRO, "s")).astype("M8[D]"))
    assert days[0]["ts"] + sum(each["dur"] for each in days) == days[-1]["ts"] + days[-1]["dur"]


def test_the_same_bytes_again(runs, tmp_path):
    for name in ("first", "second"):
        write_trace(runs["shared nodes"], tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]


# -- large runs ---------------------------------------------------------------------------------


def made_up(jobs, *, places=True, machine=50_000):
    """A run of so many jobs, no two of which are on a node at once."""
    number = np.arange(jobs)
    nodes = number % 400 + 1
    row, start_s = number % 100, number // 100 * 1000 + number % 7
    names = pa.array([f"{each}.big" for each in number.tolist()])
    same = {"user": "u", "project": "p", "queue": "q", "state": "completed"}
    texts = {name: pa.array([text] * jobs) for name, text in same.items()}
    common = {"job_id": names, "start_s": start_s, "end_s": start_s + 900, "nodes": nodes, "state": texts.pop("state")}
    tables = {
        "jobs": pa.table(
            {
                **common,
                **texts,
                "submit_s": start_s - number % 500,
                "attempts": np.ones(jobs, np.int32),
                "walltime_s": np.full(jobs, 3600),
                "rejected_by": pa.nulls(jobs, pa.string()),
            }
        ),
        "attempts": pa.table({**common, "attempt": np.ones(jobs, np.int32), "why": pa.array(["it fits"] * jobs)}),
        "timeline": pa.table(dict.fromkeys(("time_s", "queue", "running", "busy_nodes"), number)),
    }
    if places:
        first = row * 500
        spans = [
            f"{a}-{b}" if a < b else f"{a}" for a, b in zip(first.tolist(), (first + nodes - 1).tolist(), strict=True)
        ]
        tables["attempts"] = tables["attempts"].append_column("units", pa.array(spans))
        empty = {name: pa.array([], pa.int64()) for name in ("time_s", "until_s", "nodes", "jobs", "precursor_s")}
        tables["interrupts"] = pa.table({**empty, **{n: pa.array([], pa.string()) for n in ("cause", "units")}})
    manifest = {
        "hpcsim": "0",
        "scenario": "<big>",
        "scheduler": '"s"',
        "seed": 1,
        "t0_utc": 0,
        "machine": {"nodes": machine},
        "workload": {"source": "made"},
    }
    return Run(tables, {}, manifest, "machine: {model: null}", {})


def test_a_large_run_is_joined_until_it_is_small_enough_and_shows_every_start(monkeypatch, tmp_path):
    monkeypatch.setattr(perfetto, "MOST_SLICES", 3000)
    run = made_up(2_000)
    trace = trace_of(run, tmp_path)
    found = slices(trace, "job")
    assert trace["otherData"]["units_per_track"] > 1
    assert len(found) <= 3000
    assert {each["name"] for each in found} == set(run.jobs.job_id)
    tracks = names_of(trace)
    size = trace["otherData"]["units_per_track"]
    assert all(name.startswith(("nodes ", "date", "submitted")) for name in tracks.values())
    for each in found:
        first, last = map(int, tracks[each["tid"]].split(",")[0].split()[1].split("-"))
        assert last - first + 1 == size


def test_more_starts_than_a_trace_may_have_slices_are_counted_on_their_lanes(monkeypatch, tmp_path):
    monkeypatch.setattr(perfetto, "MOST_SLICES", 500)
    for places in (True, False):
        trace = trace_of(made_up(1_900, places=places), tmp_path)
        found = slices(trace, "job") + slices(trace, "jobs")
        assert trace["otherData"]["starts_per_slice"] == 4
        assert len(found) <= 500
        assert sum(each["args"].get("starts", 1) for each in found) == 1_900
        assert not [each for each in trace["traceEvents"] if each["ph"] in "sf"]


def test_a_run_of_390_000_jobs_is_written_in_seconds(tmp_path):
    run = made_up(390_000)
    began = time.process_time()
    write_trace(run, tmp_path / "trace.json.gz")
    assert time.process_time() - began < 20


# -- parts --------------------------------------------------------------------------------------


def test_extremes_keep_each_intervals_first_lowest_highest_and_last():
    value = np.random.default_rng(1).normal(size=10_000)
    kept = extremes(value, 400)
    assert kept.size <= 400
    assert [*kept] == sorted({*kept.tolist()})
    for part in np.split(np.arange(10_000), 100):
        assert {part[0], part[-1], part[value[part].argmin()], part[value[part].argmax()]} <= {*kept.tolist()}
    assert extremes(value[:400], 400).size == 400


def test_lanes_are_the_fewest_in_each_group():
    rng = np.random.default_rng(2)
    group, start = rng.integers(0, 5, 600), rng.integers(0, 300, 600)
    end = start + rng.integers(0, 20, 600)
    lane = lanes_of(group, start, end)
    for number in range(5):
        mine = group == number
        at_once = max(((start[mine] <= second) & (end[mine] > second)).sum() for second in range(330))
        assert lane[mine].max() + 1 in (at_once, at_once + (end[mine] == start[mine]).any())
        for each in range(lane[mine].max() + 1):
            on = sorted(zip(start[mine & (lane == each)].tolist(), end[mine & (lane == each)].tolist(), strict=True))
            assert all(before <= after for (_, before), (after, _) in pairwise(on))


def test_spans_are_the_numbers_in_the_text():
    spans = spans_of(pa.chunked_array([["0-13,20", "5"], ["7-8,9-10,16"]]))
    row, unit = spans.each()
    assert [[*unit[row == each].tolist()] for each in range(3)] == [[*range(14), 20], [5], [7, 8, 9, 10, 16]]
    row, group = spans.in_groups(8).each()
    assert [[*group[row == each].tolist()] for each in range(3)] == [[0, 1, 2], [0], [0, 1, 2]]


# -- the command --------------------------------------------------------------------------------


def test_the_command_writes_beside_the_tables_or_where_it_is_told(runs, tmp_path):
    runs["nodes only counted"].write(tmp_path / "run", plots=False)
    done = CliRunner().invoke(cli, ["perfetto", str(tmp_path / "run")])
    assert (done.exit_code, done.output.split(":")[0]) == (0, str(tmp_path / "run" / "trace.json.gz"))
    CliRunner().invoke(
        cli, ["perfetto", str(tmp_path / "run"), "-o", str(tmp_path / "mine.gz")], catch_exceptions=False
    )
    assert (tmp_path / "mine.gz").read_bytes() == (tmp_path / "run" / "trace.json.gz").read_bytes()


def test_a_file_that_is_no_trace_is_not_written_over(runs, tmp_path):
    runs["nodes only counted"].write(tmp_path / "run", plots=False)
    words = ["perfetto", str(tmp_path / "run"), "-o", str(tmp_path / "mine.gz")]
    for content in (b"my thesis", gzip.compress(b'{"my": "thesis"}')):
        (tmp_path / "mine.gz").write_bytes(content)
        assert "is no trace of hpcsim" in str(CliRunner().invoke(cli, words).exception)
        assert (tmp_path / "mine.gz").read_bytes() == content
    (tmp_path / "mine.gz").unlink()
    assert [CliRunner().invoke(cli, words).exit_code for _ in range(2)] == [0, 0]


def test_what_is_no_run_or_cannot_be_written_is_refused(runs, tmp_path):
    refused = CliRunner().invoke(cli, ["perfetto", str(tmp_path)])
    assert isinstance(refused.exception, InputError)
    with pytest.raises(InputError, match="cannot be written"):
        write_trace(runs["nodes only counted"], Path(tmp_path / "no such folder" / "trace.json.gz"))
