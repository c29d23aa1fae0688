"""Workflows of WfCommons as jobs: what they say, and what is wrong with those that cannot be read."""

import copy
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hpcsim.cli import cli
from hpcsim.errors import InputError
from hpcsim.workload.mosaic import mosaic
from hpcsim.workload.trace import read_trace, write_trace
from hpcsim.workload.wfcommons import read_workflow

SCENARIOS = Path(__file__).parents[1] / "scenarios"

SIZES = {"in": 1, "x": 10, "y": 200, "z": 3000, "log": 5}
PARTS = {
    "name": "three",
    "schemaVersion": "1.5",
    "workflow": {
        "specification": {
            "tasks": [
                {"name": "join", "id": "c", "parents": ["a", "b"], "children": [], "inputFiles": ["x", "y", "z"]},
                {"name": "make", "id": "a", "parents": [], "children": ["c"],
                 "inputFiles": ["in"], "outputFiles": ["x", "y"]},
                {"name": "make", "id": "b", "parents": ["a"], "children": [], "outputFiles": ["z", "log"]},
            ],
            "files": [{"id": name, "sizeInBytes": size} for name, size in SIZES.items()],
        },
        "execution": {
            "makespanInSeconds": 10, "executedAt": "2020-04-01T15:10:53-08:00",
            "tasks": [
                {"id": "a", "runtimeInSeconds": 4.2, "coreCount": 2.5},
                {"id": "b", "runtimeInSeconds": 0.0},
                {"id": "c", "runtimeInSeconds": 7, "coreCount": 1},
            ],
        },
    },
}  # fmt: skip


def files(link, *names):
    return [{"link": link, "name": name, "sizeInBytes": SIZES[name]} for name in names]


FLAT = {
    "name": "three",
    "schemaVersion": "1.4",
    "workflow": {
        "makespanInSeconds": 10, "executedAt": "2020-04-01T15:10:53-08:00",
        "tasks": [
            {"name": "c", "category": "join", "runtimeInSeconds": 7, "cores": 1, "parents": ["a", "b"],
             "files": files("input", "x", "y", "z")},
            {"name": "a", "category": "make", "runtimeInSeconds": 4.2, "cores": 2.5, "children": ["c", "b"],
             "files": files("input", "in") + files("output", "x", "y")},
            {"name": "b", "category": "make", "runtimeInSeconds": 0.0, "files": files("output", "z", "log")},
        ],
    },
}  # fmt: skip


def written(folder, data, name="flow.json"):
    file = folder / name
    text = json.dumps(data).encode()
    file.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return file


@pytest.mark.parametrize("data", [PARTS, FLAT, PARTS | {"schemaVersion": "1.6"}], ids=["1.5", "1.4", "1.6"])
def test_every_version_gives_the_same_jobs(tmp_path, data):
    for name in ("flow.json", "flow.json.gz"):
        workload = read_trace(written(tmp_path, data, name))
        jobs = [(job.name, job.project, job.nodes, job.walltime, job.after, job.after_bytes) for job in workload.jobs()]
        assert jobs == [
            ("a", "make", 3, 5, None, None),
            ("b", "make", 1, 1, (0,), (0,)),
            ("c", "join", 1, 7, (0, 1), (210, 3000)),
        ]
        assert {job.user for job in workload.jobs()} == {"three"}
        assert workload.t0_utc == 1585782653
        assert workload.column("runtime_s").tolist() == [5, 1, 7]


def test_a_part_of_a_workflow_forgets_what_it_no_longer_has(tmp_path):
    part = read_trace(written(tmp_path, PARTS)).take(np.array([1, 2]))
    assert [(job.name, job.after, job.after_bytes) for job in part.jobs()] == [("b", (), ()), ("c", (0,), (3000,))]


def at(data, *path, value=None, without=False):
    """The data with another value at a place."""
    data = copy.deepcopy(data)
    *above, last = path
    part = data
    for step in above:
        part = part[step]
    if without:
        del part[last]
    else:
        part[last] = value
    return data


SPEC, EXEC = ("workflow", "specification"), ("workflow", "execution")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (at(PARTS, "schemaVersion", value="1.2"), "schemaVersion: found '1.2', expected one of 1.4, 1.5, 1.6"),
        ([PARTS], "the file: found list, expected an object"),
        (at(PARTS, "workflow", without=True), "workflow: found nothing, expected an object"),
        (at(PARTS, *EXEC, without=True), "workflow.execution: found nothing"),
        (at(PARTS, *SPEC, "tasks", value=[]), "workflow.specification.tasks: found none, expected a list"),
        (at(PARTS, *SPEC, "tasks", 1, "id", value=7), "workflow.specification.tasks[1].id: found 7, expected text"),
        (at(PARTS, *SPEC, "tasks", 1, "id", value="b"), "tasks[2]: found the task 'b' again, first in workflow.sp"),
        (at(PARTS, *SPEC, "tasks", 0, "parents", value=["q"]), "tasks[0].parents: found 'q', which is no task"),
        (at(PARTS, *SPEC, "tasks", 0, "inputFiles", value=["q"]), "task 'c' names the file 'q', which workflow.spec"),
        (at(PARTS, *SPEC, "tasks", 1, "parents", value=["c"]), "found tasks that wait for each other: c, a, b"),
        (at(PARTS, *EXEC, "tasks", 0, without=True), "task 'a' has no runtimeInSeconds in workflow.execution.tasks"),
        (at(PARTS, *EXEC, "tasks", 0, "runtimeInSeconds", value=-1), "runtimeInSeconds: found -1, expected a number"),
        (at(PARTS, *EXEC, "tasks", 0, "runtimeInSeconds", value=float("nan")), "runtimeInSeconds: found nan"),
        (at(PARTS, *EXEC, "tasks", 0, "id", value="q"), "execution.tasks[0].id: found 'q', which is no task of work"),
        (at(PARTS, *SPEC, "files", 1, "sizeInBytes", value="9"), "files[1].sizeInBytes: found '9', expected a number"),
        (at(FLAT, "workflow", "tasks", 0, "files", 0, "link", value="inout"), "files[0].link: found 'inout', expected"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(tmp_path, data, told):
    file = written(tmp_path, data)
    with pytest.raises(InputError) as caught:
        read_workflow(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [(b'{"name":\n  oops}', ":2:3: no JSON"), (b"", "the file is empty"), (b'{"name": "\xff"}', "no UTF-8")],
)
def test_a_file_that_is_no_json_is_told_with_line_and_column(tmp_path, content, told):
    file = tmp_path / "flow.json"
    file.write_bytes(content)
    with pytest.raises(InputError, match=told):
        read_trace(file)


def test_workflows_are_read_and_not_written(tmp_path):
    workload = read_trace(written(tmp_path, PARTS))
    with pytest.raises(InputError, match="workflows are read and not written"):
        write_trace(workload, tmp_path / "copy.json")


def test_the_packaged_workflow_is_what_its_command_makes(tmp_path):
    (line,) = [
        line for line in (SCENARIOS / "workflows.yaml").read_text().splitlines() if "hpcsim trace workflow" in line
    ]
    words = line.split("hpcsim ")[1].split()
    made = tmp_path / words[-1]
    result = CliRunner().invoke(cli, [*words[:-1], str(made)])
    assert result.exit_code == 0, result.output
    assert made.read_text() == (SCENARIOS / words[-1]).read_text()


def test_a_mosaic_has_a_task_for_every_image_and_every_overlap(tmp_path):
    file = tmp_path / "mosaic.json"
    file.write_text(mosaic(3, 2, 7))
    jobs = list(read_workflow(file).jobs())
    counts = {program: sum(job.project == program for job in jobs) for program in {job.project for job in jobs}}
    # of 3 x 2 images 4 pairs lie side by side, 3 above each other and 4 corner to corner
    assert counts == {"project": 6, "difference": 11, "correct": 6} | dict.fromkeys(
        ("fit", "model", "table", "add", "shrink", "picture"), 1
    )
    assert mosaic(3, 2, 7) == file.read_text() != mosaic(3, 2, 8)
    with pytest.raises(InputError, match="2 images at the least"):
        mosaic(1, 1, 7)
