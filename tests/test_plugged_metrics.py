"""Metrics of plug-ins are computed of every run, and one that is wrong harms neither the run nor another."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import hpcsim
from hpcsim.cli import cli, main
from hpcsim.errors import InputError
from hpcsim.plugin.loader import load_plugins
from hpcsim.results.run import Run

PLUGIN = '''
import numpy as np
import pyarrow.compute as pc
from pydantic import Field

from hpcsim.plugin import Options, hookimpl


class LongWaits:
    """Jobs that waited for longer than `patience`.

    More about it.
    """

    name = "long_waits"
    api = 1
    unit = "jobs [all]"

    class Options(Options):
        patience: int = Field(3600, ge=0, description="seconds")

    def __init__(self, options):
        self.patience = options.patience

    def compute(self, run):
        return np.int64(pc.sum(pc.greater(run.jobs["wait_s"], self.patience)).as_py() or 0)


class Nodes:
    """Nodes of the machine."""

    name = "nodes"
    api = 1
    unit = "nodes"

    def compute(self, run):
        assert run.power is None and run.interrupts is None
        assert run.timeline.num_rows and run.attempts.num_rows and run.t0_utc > 0
        assert run.summary["jobs"] == pc.sum(run.jobs["measured"]).as_py()
        return RETURNED


@hookimpl
def hpcsim_metrics(register):
    register(LongWaits)
    register(Nodes)
'''

SMALL = {"jobs": 200, "physics": None}


def plugin(folder: Path, old: str = "RETURNED", new: str = "float(run.nodes)") -> Path:
    assert old in PLUGIN
    file = folder / "mine.py"
    file.write_text(PLUGIN.replace(old, new).replace("RETURNED", "float(run.nodes)"))
    return file


def test_every_run_has_the_metrics_that_are_there(tmp_path):
    run = hpcsim.simulate("polaris", SMALL, plugins=plugin(tmp_path))
    waited = int((run.jobs["wait_s"] > 3600).sum())
    assert run.summary["metrics"] == {"long_waits": waited, "nodes": 560.0}
    assert "metric_errors" not in run.summary
    assert run.manifest["metric_units"] == {"long_waits": "jobs [all]", "nodes": "nodes"}
    assert Run.open(run.write(tmp_path / "out", plots=False)).summary == run.summary


def test_a_run_without_metrics_says_nothing_of_them():
    assert not {"metrics", "metric_errors", "observers", "observer_errors"} & set(
        hpcsim.simulate("polaris", SMALL).summary
    )


def test_options_come_from_the_scenario_and_are_written_down(tmp_path):
    file = plugin(tmp_path)
    run = hpcsim.simulate("polaris", SMALL | {"metrics.long_waits.patience": 0}, plugins=file)
    assert run.summary["metrics"]["long_waits"] == int((run.jobs["wait_s"] > 0).sum())
    assert "metrics:\n  long_waits:\n    patience: 0\n" in run.scenario_yaml
    with pytest.raises(InputError) as caught:
        hpcsim.simulate(
            "polaris", ["metrics.long_waits.patience=-1", "metrics.long_waits.x=1", "metrics.nods={}"], plugins=file
        )
    assert [line.split(": ", 1)[1] for line in str(caught.value).splitlines()] == [
        "metrics.long_waits.patience: Input should be greater than or equal to 0 (got -1)",
        "metrics.long_waits.x: long_waits has no such option. Known: patience. (got 1)",
        "metrics.nods: no metric named 'nods'. Did you mean 'nodes'?",
    ]


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("float('nan')", "returned nan, expected a finite number or None"),
        ("'560'", "returned '560', expected a finite number or None"),
        ("True", "returned True, expected a finite number or None"),
        ("1 / 0", "raised ZeroDivisionError: division by zero ("),
        ("exit(3)", "raised SystemExit: 3 ("),
    ],
)
def test_one_that_gives_no_number_is_named_and_the_others_count(returned, said, tmp_path):
    run = hpcsim.simulate("polaris", SMALL, plugins=plugin(tmp_path, new=returned))
    assert list(run.summary["metrics"]) == ["long_waits"]
    assert list(run.summary["metric_errors"]) == ["nodes"]
    assert run.summary["metric_errors"]["nodes"].startswith(said)


def test_a_metric_of_nothing_is_null(tmp_path):
    assert hpcsim.simulate("polaris", SMALL, plugins=plugin(tmp_path, new="None")).summary["metrics"]["nodes"] is None


def test_the_command_prints_values_with_their_units_and_a_line_for_each_error(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["run", "polaris", "--jobs", "200", "--set", "physics=null", "--no-plots", "--out", "out"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--plugin", str(plugin(tmp_path, new="1 / 0"))])
    assert ended.value.code == 0
    told = capfd.readouterr()
    value = json.loads((tmp_path / "out/summary.json").read_text())["metrics"]["long_waits"]
    assert any(line.split() == ["long_waits", str(value), "jobs", "[all]"] for line in told.out.splitlines())
    (said,) = told.err.splitlines()
    assert said.startswith("hpcsim: metric nodes: raised ZeroDivisionError: division by zero (")


def test_the_list_of_metrics_has_each_with_its_unit_and_its_plugin(tmp_path):
    file = plugin(tmp_path)
    shown = CliRunner().invoke(cli, ["metrics", "--plugin", str(file)], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    lines = [line.rstrip() for line in shown.output.splitlines()]
    assert f"metrics of {file}" in lines
    assert any(line.split("  ")[0] == "long_waits" and line.endswith("longer than patience.") for line in lines)
    assert any(line.split()[:2] == ["mean_turnaround_s", "s"] for line in lines)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('    unit = "nodes"\n', "", "Nodes.unit should be text, empty for a number without one, found None"),
        ('    """Nodes of the machine."""\n', "", "Nodes has no docstring"),
        (
            "patience: int = Field(3600, ",
            "patience: int = Field(",
            "needs a default for patience: every run computes it",
        ),
        ("def compute(self, run):\n        assert", "def computes(self, run):\n        assert", "no method compute"),
        ('name = "nodes"', 'name = "a.b"', "a name without '.'"),
        ('name = "nodes"', 'name = "long_waits"', "the metric 'long_waits' is registered already, by itself"),
    ],
)
def test_a_metric_that_breaks_the_contract_is_refused(old, new, said, tmp_path):
    with pytest.raises(InputError) as caught:
        load_plugins([plugin(tmp_path, old, new)])
    assert said in str(caught.value)
