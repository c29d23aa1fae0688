"""Options by search: equal budgets, what can be searched, and windows that no test sees."""

from __future__ import annotations

import csv
from math import nextafter
from typing import Literal

import pytest
from pydantic import Field

from hpcsim.cli import _exit_code
from hpcsim.plugin import Options
from hpcsim.plugin.loader import load_plugins
from hpcsim.strict_yaml import read_mapping
from hpcsim.tournament.grid import Entrant
from hpcsim.tournament.tuning import Choice, Range, Trial, best, space_of

pytest.importorskip("optuna", reason="optuna is not installed: pip install '.[tune]'")

TUNING = """
name: tuning
scenarios:
  - {base: polaris, name: nodes-only, physics: null, days: 6}
schedulers:
  - fcfs
  - {name: hybrid, label: mine}
windows: {measured: 12h, warm_up: 1h, count: 2}
loads: [0.95]
metrics: [mean_bounded_slowdown]
"""
TEST = TUNING.replace("name: tuning", "name: test").replace("warm_up: 1h,", "warm_up: 1h, start: 3d,")


class Mine:
    class Options(Options):
        order: Literal["a", "b"] = "a"
        switch: bool = True
        depth: int | None = Field(64, ge=1)
        window: int = Field(32, ge=2, le=256)
        share: float = Field(0.5, ge=0, lt=1)
        weight: float = Field(1000.0, gt=0)
        offset: float = Field(0.0, ge=0)
        names: dict[str, float] = Field({})


def test_what_can_be_searched_is_choices_switches_and_numbers_with_a_scale():
    assert space_of(Mine, Entrant(name="mine")) == {
        "order": Choice(("a", "b")), "switch": Choice((False, True)), "depth": Range(8, 512, True, True),
        "window": Range(2, 256, True, True), "share": Range(0, nextafter(1, 0), False, False),
        "weight": Range(125, 8000, False, True),
    }  # fmt: skip


def test_what_the_file_says_is_not_searched():
    assert "order" not in space_of(Mine, Entrant.model_validate({"name": "mine", "order": "b"}))


def test_every_scheduler_takes_both_ends_of_every_range_that_is_searched():
    for scheduler in load_plugins().schedulers.values():
        for name, part in space_of(scheduler, Entrant(name=scheduler.name)).items():
            for end in (part.low, part.high) if isinstance(part, Range) else ():
                scheduler.Options.model_validate({name: int(end) if part.whole else end})


def test_the_best_trial_is_the_first_of_equals_and_none_that_failed():
    trials = [Trial("a", 0, {}, 1.0, 0), Trial("a", 1, {"x": 1}, float("nan"), 2), Trial("a", 2, {"x": 2}, 1.0, 0)]
    assert best(trials)["a"].number == 0
    assert best([*trials, Trial("a", 3, {"x": 3}, 0.9, 0)])["a"].options == {"x": 3}


def test_each_gets_the_same_budget_and_the_result_can_be_put_into_the_test(tmp_path, capsys):
    (tmp_path / "tuning.yaml").write_text(TUNING)
    (tmp_path / "test.yaml").write_text(TEST)
    command = ["tune", str(tmp_path / "tuning.yaml"), "--test", str(tmp_path / "test.yaml"), "--metric",
               "mean_bounded_slowdown", "--trials", "4", "--out", str(tmp_path / "out")]  # fmt: skip
    assert _exit_code(command) == 0
    told = capsys.readouterr().out
    with (tmp_path / "out" / "trials.csv").open() as file:
        rows = [*csv.DictReader(file)]
    assert [(row["scheduler"], row["trial"]) for row in rows] == [
        (name, str(number)) for name in ("fcfs", "mine") for number in range(4)
    ]
    for name in ("fcfs", "mine"):
        own = [float(row["score"]) for row in rows if row["scheduler"] == name]
        assert own[0] == 1.0
        assert f"  {name}: {min(own):.4f}: " in told
    found = read_mapping(tmp_path / "out" / "schedulers.yaml").data["schedulers"]
    assert [each["label"] for each in found] == ["fcfs", "mine"]
    first = (tmp_path / "out" / "trials.csv").read_bytes()
    assert _exit_code(command) == 0  # no cell is run again
    assert (tmp_path / "out" / "trials.csv").read_bytes() == first


def test_windows_of_the_test_are_refused(tmp_path, capsys):
    (tmp_path / "tuning.yaml").write_text(TUNING)
    (tmp_path / "test.yaml").write_text(TEST.replace("start: 3d", "start: 20h"))
    command = ["tune", str(tmp_path / "tuning.yaml"), "--test", str(tmp_path / "test.yaml"), "--metric", "utilisation"]
    assert _exit_code(command) == 2
    assert "is tuned on, and overlaps with" in capsys.readouterr().err
