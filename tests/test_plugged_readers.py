"""A workload reader of a plug-in is chosen, cleaned, kept and complained of as hpcsim's own formats are."""

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner

import hpcsim
from hpcsim.cli import cli
from hpcsim.errors import InputError
from hpcsim.plugin import JobLog, JobRecord
from hpcsim.plugin.loader import load_plugins
from hpcsim.workload.records import PluggedReader
from hpcsim.workload.swf import write_swf
from hpcsim.workload.trace import cache_folder, read_trace

PLUGIN = '''
from hpcsim.plugin import JobRecord, hookimpl, trace_lines


class Lines:
    """Jobs a line."""

    name = "NAME"
    api = 1

    def matches(self, path, head):
        return MATCHES

    def read(self, path):
        for line, text in trace_lines(path):
            if line > 1:
                name, submit, nodes, runtime, user = text.split()
                yield JobRecord(name, int(submit), int(nodes), float(runtime), user=user, line=line)


@hookimpl
def hpcsim_workloads(register):
    register(Lines)
'''

LOG = """jobs
a 100 2 50 ann
b 40 3 60.4 bob
c 120 0 10 bob
d 130 1 0 bob
"""


def plugin(folder: Path, name: str = "lines", matches: str = "head.startswith(b'jobs\\n')", old="", new="") -> Path:
    assert old in PLUGIN
    file = folder / f"{name}.py"
    file.write_text(PLUGIN.replace("NAME", name).replace("MATCHES", matches).replace(old, new))
    return file


def readers(*files: Path) -> list[PluggedReader]:
    return [PluggedReader(name, kind) for name, kind in load_plugins(files).offers["workloads"].items()]


def reading(jobs) -> PluggedReader:
    """A reader that gives ``jobs`` for any file."""

    class Made:
        name = "made"
        api = 1

        def matches(self, path, head):
            return True

        def read(self, path):
            return jobs() if callable(jobs) else jobs

    return PluggedReader("made", Made)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "a.log"
    path.write_text(LOG)
    return path


def test_jobs_are_cleaned_sorted_and_counted_from_the_first_submission(log, tmp_path):
    workload = read_trace(log, readers=readers(plugin(tmp_path)))
    assert [tuple(job)[:6] for job in workload.jobs()] == [(0, "b", 0, 3, 60, "bob"), (1, "a", 60, 2, 50, "ann")]
    assert (workload.t0_utc, workload.form, workload.source) == (40, "lines", "a.log")
    met = {name: count for name, count in workload.cleaning.items() if count}
    assert met == {
        "rows_read": 4, "no_nodes": 1, "no_runtime": 1, "missing_walltime": 2, "unsorted_rows": 1, "rows_kept": 2,
    }  # fmt: skip
    with pytest.raises(InputError, match=rf"{log}:4: job 'c': strict reading refuses what no_nodes"):
        read_trace(log, readers=readers(plugin(tmp_path)), strict=True)


def test_a_packed_trace_is_recognised_by_what_is_in_it(log, tmp_path):
    packed = tmp_path / "b.gz"
    packed.write_bytes(gzip.compress(LOG.encode()))
    found = readers(plugin(tmp_path))
    assert read_trace(packed, readers=found).table.equals(read_trace(log, readers=found).table)


def test_a_run_takes_its_jobs_from_it_and_says_so(log, tmp_path):
    run = hpcsim.simulate("bare", {"trace": log, "machine.nodes": 4}, plugins=plugin(tmp_path), check=True)
    assert run.jobs["job_id"].tolist() == ["b", "a"]
    assert run.manifest["workload"]["format"] == "lines"
    assert hpcsim.simulate("polaris", {"jobs": 5, "physics": None}).manifest["workload"]["format"] is None


def test_what_was_read_is_kept_until_the_file_the_code_or_the_options_change(log, tmp_path, monkeypatch):
    monkeypatch.setenv("HPCSIM_CACHE", str(tmp_path / "kept"))

    def kept() -> int:
        return len(list(cache_folder().glob("traces/*")))

    first = read_trace(log, readers=readers(plugin(tmp_path)))
    again = read_trace(log, readers=readers(plugin(tmp_path)))
    assert again.table.equals(first.table)
    assert (again.form, again.cleaning, again.t0_utc) == (first.form, dict(first.cleaning), first.t0_utc)
    assert kept() == 1
    changed = read_trace(log, readers=readers(plugin(tmp_path, old="float(runtime)", new="2 * float(runtime)")))
    assert changed.column("runtime_s").tolist() == [121, 100]
    assert kept() == 2
    log.write_text(LOG + "e 140 1 5 bob\n")
    assert len(read_trace(log, readers=readers(plugin(tmp_path)))) == 3
    assert kept() == 3


def test_two_that_claim_a_trace_are_both_named_and_one_can_be_chosen(log, tmp_path):
    found = readers(plugin(tmp_path), plugin(tmp_path, "other", "True"))
    with pytest.raises(InputError, match="the readers lines and other all claim this trace; choose one with trace_for"):
        read_trace(log, readers=found)
    assert read_trace(log, readers=found, form="other").form == "other"
    with pytest.raises(InputError, match="there is no trace format 'othr'; did you mean 'other'"):
        read_trace(log, readers=found, form="othr")


def test_a_trace_of_hpcsims_own_formats_is_contested_by_its_header_only(log, tmp_path):
    greedy = readers(plugin(tmp_path, matches="True"))
    swf = tmp_path / "a.swf"
    write_swf(read_trace(log, readers=greedy), swf)
    with pytest.raises(InputError, match="the readers lines and swf all claim"):
        read_trace(swf, readers=greedy)
    assert read_trace(swf, readers=greedy, form="swf").form == "swf"
    assert read_trace(swf, readers=readers(plugin(tmp_path))).form == "swf"
    csv = log.rename(tmp_path / "a.csv")
    assert read_trace(csv, readers=greedy).form == "lines"
    csv.write_text("JOB_NAME,QUEUED_TIMESTAMP,START_TIMESTAMP,END_TIMESTAMP,USERNAME_GENID,NODES_USED,QUEUE_NAME\n")
    with pytest.raises(InputError, match="the readers lines and alcf all claim"):
        read_trace(csv, readers=greedy)
    with pytest.raises(InputError, match="the column PROJECT_NAME_GENID is missing from the header"):
        read_trace(csv, readers=readers(plugin(tmp_path)))


def test_one_that_breaks_while_it_looks_claims_nothing_and_is_named_if_nobody_reads_the_trace(log, tmp_path):
    broken = plugin(tmp_path, "broken", "1 / 0")
    assert read_trace(log, readers=readers(broken, plugin(tmp_path))).form == "lines"
    with pytest.raises(InputError, match=rf"{log}: reader broken raised ZeroDivisionError: division by zero \(.*:12\)"):
        read_trace(log, readers=readers(broken))


def test_a_trace_that_nobody_claims_is_refused_by_name(log, tmp_path):
    with pytest.raises(InputError, match=r"does not tell the format .*, and none of the readers lines claims it"):
        read_trace(log, readers=readers(plugin(tmp_path, matches="False")))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "x 1 2 three ann",
            " after line 5: reader lines raised ValueError: could not convert string to float: 'three' (",
        ),
        ("x 1 2 inf ann", "6: reader lines: job 'x': runtime_s: found inf, expected a number below 2^53"),
        (
            "x 9007199254740993 2 3 ann",
            "6: reader lines: job 'x': submit_s: found 9007199254740993, expected a number below 2^53",
        ),
    ],
)
def test_what_is_wrong_with_a_job_is_told_with_its_line(log, tmp_path, line, said):
    log.write_text(LOG + line + "\n")
    with pytest.raises(InputError) as caught:
        read_trace(log, readers=readers(plugin(tmp_path)))
    assert str(caught.value).startswith(f"{log}:{said}")


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"nodes": "2"}, ":7: reader made: job 'j': nodes: found '2', expected a number"),
        ({"user": 12}, ":7: reader made: job 'j': user: found 12, expected text"),
        ({"after": "k"}, ":7: reader made: job 'j': after: found 'k', expected a tuple of names"),
        ({"outcome": "ok"}, ":7: reader made: job 'j': outcome: found 'ok', expected one of completed, failed, timeo"),
        ({"name": ""}, ":7: reader made: job '': name: found '', expected text that is not empty"),
    ],
)
def test_a_record_that_is_none_is_refused(log, record, said):
    right = {"name": "j", "submit_s": 5, "nodes": 1, "runtime_s": 9, "line": 7}
    for jobs in ([JobRecord(**right | record)], [JobRecord(**right | {"line": 6}), JobRecord(**right | record)]):
        with pytest.raises(InputError) as caught:
            read_trace(log, readers=[reading(jobs)])
        assert str(caught.value).startswith(f"{log}{said}")


@pytest.mark.parametrize(
    ("jobs", "said"),
    [
        ([("j", 1, 2, 3)], "read() gave ('j', 1, 2, 3), expected a JobRecord"),
        (None, "read() gave None, expected JobRecords or an Arrow table"),
        ([], "found no job, expected at least 1"),
        (JobLog([], t0_utc="now"), "t0_utc: found 'now', expected an int from 0 to 32503680000, or None"),
        (pa.table({"name": ["j"], "submit_s": [1], "nodes": [1]}), "the column runtime_s is missing"),
        (pa.table({"name": ["j"], "submits": [1]}), "found a column 'submits'; did you mean 'submit_s'?"),
        (
            pa.table({"name": ["j"], "submit_s": ["1"], "nodes": [1], "runtime_s": [1]}),
            "column submit_s: found string, expected a number each",
        ),
    ],
)
def test_what_is_no_log_is_refused(log, jobs, said):
    with pytest.raises(InputError) as caught:
        read_trace(log, readers=[reading(jobs)])
    assert str(caught.value) == f"{log}: reader made: {said}"


def test_a_table_and_records_of_the_same_jobs_give_the_same_workload(log):
    records = [
        JobRecord("a", 10, 2, 30.5, 60, 12, "ann", "p", "q", "failed", (), 1),
        JobRecord("b", 20, 1, 7, None, -1, "", "", "", "timeout", ("a", "zzz"), 2),
    ]
    table = pa.table(
        {name: [getattr(record, name) for record in records] for name in JobRecord._fields},
        schema=pa.schema(
            [(name, pa.list_(pa.string())) if name == "after" else (name, pa.array([getattr(records[0], name)]).type)
             for name in JobRecord._fields]
        ),
    )  # fmt: skip
    one = read_trace(log, readers=[reading(JobLog(iter(records), t0_utc=1_000, machine_nodes=8))])
    two = read_trace(log, readers=[reading(JobLog(table, t0_utc=1_000, machine_nodes=8))])
    assert one.table.equals(two.table)
    assert (one.t0_utc, one.machine_nodes, one.cleaning) == (two.t0_utc, 8, two.cleaning)
    assert one.column("submit_s").tolist() == [10, 20]  # its own zero is kept
    assert one.column("recorded_start_s").tolist() == [12, -1]
    assert [job.after for job in one.jobs()] == [None, (0,)]
    assert one.cleaning["unknown_job_before"] == 1
    assert one.table["outcome"].to_pylist() == [1, 2]


def test_options_reach_the_reader_that_the_scenario_chooses(log, tmp_path):
    options = (
        "api = 1\n\n    class Options(__import__('hpcsim.plugin').plugin.Options):\n        scale: float = 1.0\n\n"
        "    def __init__(self, options):\n        self.scale = options.scale\n"
    )
    file = plugin(tmp_path, old="api = 1\n", new=options)
    file.write_text(file.read_text().replace("float(runtime)", "self.scale * float(runtime)"))
    base = {"trace": log, "machine.nodes": 4}
    plain = hpcsim.simulate("bare", base, plugins=file)
    scaled = hpcsim.simulate("bare", base | {"trace_format": {"name": "lines", "scale": 2}}, plugins=file)
    assert scaled.jobs["runtime_s"].tolist() == [121, 100]
    assert plain.jobs["runtime_s"].tolist() == [60, 50]
    assert "trace_format:\n  name: lines\n  scale: 2.0\n" in scaled.scenario_yaml
    with pytest.raises(InputError, match=r"trace_format\.name: no reader named 'line'. Did you mean 'lines'"):
        hpcsim.simulate("bare", base | {"trace_format": "line"}, plugins=file)


def test_traces_are_described_and_converted_with_it(log, tmp_path):
    file, target = plugin(tmp_path), tmp_path / "out.swf"
    words = ["--plugin", str(file)]
    done = CliRunner().invoke(cli, ["trace", "convert", str(log), str(target), *words])
    assert (done.exit_code, done.exception) == (0, None)
    assert len(read_trace(target)) == 2
    shown = CliRunner().invoke(cli, ["trace", "describe", str(log), "--nodes", "4", "--no-plot", *words])
    assert "a.log: 2 jobs, machine of 4 nodes" in shown.output


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"NAME"', '"swf"', "the workload reader 'swf' is registered already, by hpcsim"),
        ("def matches", "def match", "Lines has no method matches(self, path, head)"),
        ("def read", "def reads", "Lines has no method read(self, path)"),
    ],
)
def test_a_reader_that_breaks_the_contract_is_refused(tmp_path, old, new, said):
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN.replace("MATCHES", "True").replace(old, new))
    with pytest.raises(InputError) as caught:
        load_plugins([file])
    assert said in str(caught.value)
