"""Rows of evidence of several files are one table, and several trainings one scheduler in it."""

import csv

import pytest

from benchmarks.aims_rows import rows_in, with_means
from hpcsim.errors import InputError

HEADER = ["scenario", "window", "scheduler", "seed", "load", "state", "mean_wait_s"]


def table(path, *rows, header=HEADER):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def row(scheduler, wait, window="w1", state="done"):
    return ["polaris", window, scheduler, "11", "0.9", state, wait]


def test_trainings_that_differ_in_a_number_are_compared_by_their_mean_where_all_have_ended(tmp_path):
    question = table(
        tmp_path / "question.csv",
        row("aims", 10), row("backfilling", 5), row("aims", 7, "w2"), row("backfilling", 6, "w2"),
    )  # fmt: skip
    seeds = table(
        tmp_path / "seeds.csv",
        ["v1", *row("aims seed 2", 13)], ["v1", *row("aims seed 3", 19)], ["v1", *row("aims seed 2", 8, "w2")],
        ["v1", *row("aims seed 3", 9, "w2", "failed")], header=["version", *HEADER],
    )  # fmt: skip
    cells = with_means(rows_in([question, seeds]))
    assert cells.schedulers == ("aims", "backfilling", "aims, mean of 3")
    assert cells.rows[-1] == ("polaris", "w1", "aims, mean of 3", "11", "0.9", "done", "14.0")
    assert [each for each in cells.rows if each[2] == "aims, mean of 3"] == [cells.rows[-1]]
    assert cells.place == f"{question} {seeds}"


def test_a_single_training_keeps_its_name_and_a_later_row_of_a_cell_counts(tmp_path):
    one = table(tmp_path / "a.csv", row("without dueling 1", 4), row("without dueling 2", 6), row("only 1", 3))
    again = table(tmp_path / "b.csv", row("without dueling 1", 8))
    cells = with_means(rows_in([one, again]))
    assert {each[2]: each[-1] for each in cells.rows} == {"only 1": "3", "without dueling, mean of 2": "7.0"}


def test_what_is_no_table_is_refused(tmp_path):
    with pytest.raises(InputError, match="not the directory of a tournament"):
        rows_in([tmp_path])
