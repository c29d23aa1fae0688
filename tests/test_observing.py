"""The examples of docs/observing.md are whole plug-ins, and its tables say what there is."""

import csv
import inspect
import json
import re
import shlex
from pathlib import Path

import pytest
from pages import blocks

from hpcsim.cli import main
from hpcsim.engine.observers import HOOKS, Observer
from hpcsim.plugin import FinishedRun, JobRecord

DOC = (Path(__file__).parents[1] / "docs" / "observing.md").read_text()
EXAMPLES = dict(
    zip(("large_wait.py", "sacct.py", "queue_depth.py"), blocks("docs/observing.md", "python"), strict=True)
)
COMMANDS = re.findall(r"^    (hpcsim .*)$", DOC, re.M)

LOG = """JobID|User|Submit|Start|NNodes|ElapsedRaw|TimelimitRaw|State
11|ann|1700000000|1700000007|3|100|10|COMPLETED
12|bob|1700000010|Unknown|2|200|UNLIMITED|CANCELLED by 7
13|bob|1700000005|1700000011|128|200|10|TIMEOUT
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the examples lie as files, and the jobs of one of them."""
    for name, text in EXAMPLES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "jobs.txt").write_text(LOG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def hpcsim_command(line: str) -> None:
    words = shlex.split(line)[1:]
    if words[0] == "run":
        words += ["--no-plots", "--out", "out"] + ["--jobs", "300"] * ("polaris" in words)
    if words[1] == "describe":
        words += ["--no-plot"]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_does_what_it_says(line, folder, capfd):
    hpcsim_command(line)
    told = capfd.readouterr()
    assert told.err == ""
    if "large_wait" in line:
        assert re.search(r"^large_wait_s .* s\b", told.out, re.M)
    if "jobs.txt" in line and "run" in line:
        jobs = json.loads((folder / "out/summary.json").read_text())["jobs_by_state"]
        assert jobs == {"completed": 1, "failed": 1, "timeout": 1}
    if "queue_depth" in line:
        summary = json.loads((folder / "out/summary.json").read_text())
        rows = list(csv.DictReader((folder / "queue.csv").read_text().splitlines()))
        assert summary["observers"] == {
            "queue-depth": {"rows": len(rows), "longest_queue": max(int(row["queue"]) for row in rows)}
        }


def test_a_wrong_line_of_the_examples_trace_is_told_with_its_place(folder, capfd):
    (folder / "jobs.txt").write_text(LOG.replace("12|bob|1700000010", "12|bob|yesterday"))
    with pytest.raises(SystemExit) as ended:
        main(shlex.split("run bare --trace jobs.txt --plugin sacct.py --set machine.nodes=128"))
    assert ended.value.code == 2
    (said,) = capfd.readouterr().err.splitlines()
    assert said.startswith(
        f"hpcsim: {folder}/jobs.txt:3: ValueError: invalid literal for int() with base 10: 'yesterday'"
    )


def described(section: str) -> list[str]:
    """What the first column of the tables of a section names."""
    part = DOC[DOC.index(f"\n## {section}\n") :]
    part = part[: part.index("\n## ", 1)] if "\n## " in part[1:] else part
    return [
        name for row in re.findall(r"^\| (`.*)$", part, re.M) for name in re.findall(r"`([^`]+)`", row.split("|")[0])
    ]


def test_the_tables_name_all_that_there_is():
    assert described("Metrics") == list(FinishedRun.__dataclass_fields__)
    assert sorted(described("Workload readers")) == sorted(JobRecord._fields)
    signatures = [f"{hook}({', '.join(inspect.signature(getattr(Observer, hook)).parameters)})" for hook in HOOKS]
    assert described("Observers") == signatures
