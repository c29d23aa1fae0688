"""The statistics of tournaments: against scipy, against published tables and worked examples, and by hand."""

from __future__ import annotations

import csv
import re
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from made_tournaments import FIELD, write_cells
from scipy import stats

from hpcsim.errors import InputError
from hpcsim.results import directions
from hpcsim.results.citations import references
from hpcsim.results.figures import FIGURES, FIGURES_OF_MACHINE, FIGURES_OF_WORKFLOW
from hpcsim.tournament.blocks import complete_blocks
from hpcsim.tournament.bootstrap import drawn_again, factor_of_best, improvement, interquartile_mean, interval, profile
from hpcsim.tournament.cells import read_cells
from hpcsim.tournament.ranks import cliffs_delta, friedman, holm, nemenyi_distance, not_separable, ranks, wilcoxon
from hpcsim.tournament.statistics import conclusion, judge, warnings

# Demsar (2006), table 6: AUC of C4.5, and of C4.5 with m, with cf and with both tuned, on 14 sets of data
DEMSAR = np.array([
    [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
    [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
    [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
    [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
    [0.972, 0.981, 0.975, 0.975], [0.957, 0.978, 0.946, 0.970],
])  # fmt: skip
# table 5: critical values of the two-tailed Nemenyi test, for 2 to 10 classifiers
Q_05 = (1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164)
Q_10 = (1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920)


def table(tmp_path, rows, metric="mean_wait_s"):
    """Cells of ``scenario window scheduler seed load value``, a string each; no value: failed."""
    with (tmp_path / "cells.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["scenario", "window", "scheduler", "seed", "load", "state", metric])
        for row in rows:
            *key, value = (*row.split(), "")[:6]
            out.writerow([*key, "done" if value else "failed", value])
    return read_cells(tmp_path / "cells.csv")


def blocks_of(value_RK, tmp_path, metric="mean_wait_s"):
    """One machine, one load, one seed: a row a window, a column a scheduler."""
    rows = [f"m w{w} s{k} 0 1 {v!r}" for w, row in enumerate(value_RK.tolist()) for k, v in enumerate(row)]
    return complete_blocks(table(tmp_path, rows, metric), metric)


@pytest.mark.parametrize(("alpha", "q"), [(0.05, Q_05), (0.10, Q_10)])
def test_nemenyi_has_the_tabulated_critical_values(alpha, q):
    for k, tabulated in enumerate(q, 2):
        unit = k * (k + 1) / 6  # as many windows as make the distance q itself
        assert nemenyi_distance(k, 1, alpha) / sqrt(unit) == pytest.approx(tabulated, abs=0.0011)


@pytest.mark.parametrize(("windows", "distance"), [(10, 3.32), (20, 2.35), (30, 1.92), (40, 1.66)])
def test_eight_schedulers_have_to_be_so_many_ranks_apart(windows, distance):
    assert round(nemenyi_distance(8, windows), 2) == distance


def test_ranks_and_friedman_are_those_of_demsars_example(tmp_path):
    found = ranks(blocks_of(DEMSAR, tmp_path, "utilisation"))  # higher is better, as of AUC
    # in his table voting has 2 and 3 for what is equal as printed: he ranked by more digits
    found[12] = 4, 1, 2, 3
    mean = found.mean(axis=0)
    assert mean.round(3).tolist() == [3.143, 2.000, 2.893, 1.964]
    assert round(nemenyi_distance(4, 14), 2) == 1.25
    # his chi-squared is not corrected for ties: 9.28; three pairs and a four among 14 rows of four raise it
    chi2 = 12 * 14 / 20 * ((mean**2).sum() - 25)
    assert chi2 == pytest.approx(9.28, abs=0.005)
    test = friedman(found)
    assert test.chi2 == pytest.approx(chi2 / (1 - (3 * 6 + 60) / (14 * 60)))
    assert test.f == pytest.approx(13 * test.chi2 / (14 * 3 - test.chi2))
    assert test.p == pytest.approx(stats.f.sf(test.f, 3, 39))
    assert 13 * chi2 / (14 * 3 - chi2) == pytest.approx(3.69, abs=0.005)  # his F
    assert not_separable(mean, nemenyi_distance(4, 14)) == [[3, 1, 2, 0]]  # by Nemenyi, as he found


def test_wilcoxon_is_that_of_demsars_example():
    difference = (DEMSAR[:, 1] - DEMSAR[:, 0]).round(3)
    ranked = stats.rankdata(abs(difference))
    against = ranked[difference < 0].sum() + ranked[difference == 0].sum() / 2
    assert against == 12
    assert wilcoxon(difference) == pytest.approx(2 * stats.norm.cdf((12 - 52.5) / sqrt(14 * 15 * 29 / 24)), abs=3e-4)


def test_wilcoxon_is_exact_for_few_windows():
    assert wilcoxon(np.arange(1.0, 9.0)) == 2 / 2**8
    assert wilcoxon(np.zeros(9)) == 1.0


def test_holm_steps_down():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_schedulers_that_always_come_in_one_order_are_as_different_as_can_be():
    test = friedman(np.tile([1.0, 2.0, 3.0], (6, 1)))
    assert (test.chi2, test.f, test.p) == (12.0, np.inf, 0.0)
    assert friedman(np.full((6, 3), 2.0)).p == 1.0
    assert friedman(np.tile([1.0, 2.0], (6, 1))) is None  # Wilcoxon's is the test of two


def test_groups_are_the_longest_that_a_bar_can_join():
    assert not_separable(np.array([1.0, 4.0, 2.0, 3.9]), 1.5) == [[0, 2], [3, 1]]
    assert not_separable(np.array([1.0, 2.0, 3.0]), 1.5) == [[0, 1], [1, 2]]
    assert not_separable(np.array([1.0, 2.0, 3.0]), 1.0) == []  # as far apart as the distance is separated


def test_interquartile_means_are_the_trimmed_means_of_each_resample():
    rng = np.random.default_rng(2)
    value = rng.lognormal(size=(23, 3))
    count = drawn_again(np.zeros(23, dtype=np.int64), 20)
    found = interquartile_mean(value, count)
    for resample, means in zip(count.astype(int), found, strict=True):
        assert stats.trim_mean(np.repeat(value, resample, axis=0), 0.25) == pytest.approx(means)


def test_the_interval_is_scipys_percentile_interval_at_levels_moved_outwards():
    sample = np.random.default_rng(3).exponential(size=15)
    scenario = np.zeros(15, dtype=np.int64)
    low, high = interval(drawn_again(scenario, 100_000) @ sample / 15, scenario)
    level = 1 - 2 * stats.norm.cdf(sqrt(15 / 14) * stats.t.ppf(0.025, 14))
    scipys = stats.bootstrap(
        (sample,), np.mean, confidence_level=level, n_resamples=100_000, method="percentile", rng=4
    ).confidence_interval
    assert (low, high) == pytest.approx((scipys.low, scipys.high), rel=0.01)


@pytest.mark.parametrize("machines", [(12,), (30,), (10, 10, 10, 10)])
def test_intervals_hold_a_known_mean_in_95_of_100_samples(machines):
    rng = np.random.default_rng(5)
    scenario = np.repeat(np.arange(len(machines)), machines)
    offset = np.array([0.0, 50.0, -20.0, 7.0])[scenario]  # of the machines, which strata keep out of the interval
    sample = rng.normal(offset, 3.0, size=(8000, scenario.size))
    low, high = interval(drawn_again(scenario, 3000) @ sample.T / scenario.size, scenario)
    held = np.mean((low <= offset.mean()) & (offset.mean() <= high))
    assert 0.94 <= held <= 0.96


def test_every_machine_keeps_its_number_of_windows():
    scenario = np.repeat([0, 1, 2], [4, 1, 7])
    count = drawn_again(scenario, 500)
    assert count[0].tolist() == [1] * 12
    for number, windows in enumerate((4, 1, 7)):
        assert set(count[:, scenario == number].sum(axis=1)) == {windows}


def test_more_seeds_or_copies_of_a_load_make_no_interval_narrower(tmp_path):
    wait = np.random.default_rng(6).lognormal(5, 0.5, size=(12, 3))
    cells = [(w, k, v) for w, row in enumerate(wait.tolist()) for k, v in enumerate(row)]

    def judged(seeds, loads):
        rows = [f"m w{w} s{k} {n} {load} {v!r}" for w, k, v in cells for n in range(seeds) for load in loads]
        return judge(complete_blocks(table(tmp_path, rows), "mean_wait_s"), "s0", resamples=500).standings

    once = judged(1, ["0.7"])
    for again in (judged(5, ["0.7"]), judged(1, ["0.7", "0.9"])):
        for a, b in zip(once, again, strict=True):
            assert b.relative == pytest.approx(a.relative)
            assert b.difference == pytest.approx(a.difference)
            assert (b.p_wilcoxon == a.p_wilcoxon) or a.verdict == "control"


def test_effect_sizes_are_scipys(tmp_path):
    wait = np.random.default_rng(7).lognormal(5, 0.5, size=(9, 2)).round(-1)
    blocks = blocks_of(wait, tmp_path)
    u = stats.mannwhitneyu(wait[:, 0], wait[:, 1]).statistic  # pairs in which the control waits longer
    assert cliffs_delta(blocks, 0)[1] == pytest.approx(2 * u / 81 - 1)
    standing = next(each for each in judge(blocks, "s0", resamples=100).standings if each.scheduler == "s1")
    assert standing.a12 == pytest.approx(u / 81)
    t = stats.ttest_rel(wait[:, 0], wait[:, 1]).statistic
    assert standing.standardised == pytest.approx(t / 3)  # t is the square root of nine windows times it


def test_profiles_and_improvement_by_hand(tmp_path):
    blocks = blocks_of(np.array([[10.0, 20.0], [30.0, 15.0], [5.0, 5.0], [0.0, 8.0]]), tmp_path)
    once = np.ones((1, 4))
    assert factor_of_best(blocks).tolist() == [[1, 2], [2, 1], [1, 1], [1, np.inf]]
    assert profile(blocks, np.array([1.0, 1.9, 2.0]), once)[0].tolist() == [[0.75, 0.5], [0.75, 0.5], [1.0, 0.75]]
    assert improvement(blocks, 0, once)[0].tolist() == [0.5, 0.375]
    higher = blocks_of(np.array([[0.5, 1.0], [0.8, 0.8]]), tmp_path, "utilisation")
    assert factor_of_best(higher).tolist() == [[2, 1], [1, 1]]


def test_differences_are_paired_and_relative_to_the_control(tmp_path):
    rows = [f"{m} w{w} {s} 0 1 {f * level * w!r}" for m, level in (("a", 100.0), ("b", 9.0)) for w in range(1, 11)
            for s, f in (("easy", 1.0), ("sjf", 0.8))]  # fmt: skip
    cells = table(tmp_path, rows)
    sjf, easy = judge(complete_blocks(cells, "mean_wait_s"), "easy", resamples=500).standings
    assert sjf.relative == pytest.approx((-0.2, -0.2, -0.2))  # windows differ tenfold, pairs not at all
    assert (sjf.mean, sjf.difference) == (None, None)  # seconds of two machines are no figure
    assert (sjf.mean_rank, easy.mean_rank, sjf.verdict, easy.verdict) == (1, 2, "better", "control")
    alone = judge(complete_blocks(cells, "mean_wait_s", scenarios=["a"]), "easy", resamples=500).standings[0]
    assert alone.mean.value == pytest.approx(440)
    assert alone.difference.value == pytest.approx(-110)


def test_only_complete_blocks_count_and_what_is_left_out_is_said(tmp_path):
    cells = read_cells(
        write_cells(
            tmp_path, failed=lambda m, w, k, n, _: (w, k) == (3, "wfp") or (m, w, k, n) == ("mira", 5, "sjf", 0)
        )
    )
    blocks = complete_blocks(cells, "mean_wait_s")
    left = blocks.left_out
    assert (left.blocks, left.incomplete, left.windows) == (40, 5, 2)
    assert dict(left.missing) == {"wfp": 4, "sjf": 1}
    assert blocks.windows == 18
    assert sorted(blocks.seeds_R)[:2] == [1, 2]
    said = " ".join(warnings(judge(blocks, "easy", resamples=100)))
    assert "5 of 40 blocks" in said
    assert "2 windows" in said
    assert "sjf in 1, wfp in 4" in said


def test_a_scheduler_that_never_ran_on_a_machine_does_not_take_the_machine_away(tmp_path):
    cells = read_cells(write_cells(tmp_path, failed=lambda m, w, k, n, _: (m, k) == ("mira", "nsga2")))
    blocks = complete_blocks(cells, "mean_wait_s")
    assert blocks.left_out.schedulers == (("nsga2", ("mira",)),)
    assert (blocks.windows, blocks.left_out.incomplete) == (20, 0)
    assert "nsga2" not in blocks.schedulers
    assert "nsga2" in complete_blocks(cells, "mean_wait_s", scenarios=["polaris"]).schedulers


def test_ten_windows_do_not_separate_eight_schedulers(tmp_path):
    cells = read_cells(write_cells(tmp_path, seeds=1))
    judged = judge(complete_blocks(cells, "mean_wait_s", scenarios=["polaris"]), "easy", resamples=500)
    said = " ".join(warnings(judged))
    assert "10 windows cannot separate the whole field of 8 schedulers" in said
    assert "3.32" in said
    assert "20 windows would make that 2.35" in said
    assert conclusion(judged).startswith("Nobody is first: sjf has the lowest mean rank, but is not separable from wfp")


def test_somebody_is_first_only_if_ranks_and_paired_differences_say_so(tmp_path):
    apart = {"easy": 1.0, "fcfs": 3.0, "sjf": 0.3}
    cells = read_cells(write_cells(tmp_path, field=apart, windows=20, noise=0.3))
    judged = judge(complete_blocks(cells, "mean_wait_s"), "easy", resamples=500)
    assert judged.first == "sjf"
    assert conclusion(judged).startswith("sjf is first")
    assert [each.verdict for each in judged.standings] == ["better", "control", "worse"]


def test_schedulers_that_do_not_differ_are_seldom_said_to(tmp_path):
    found = []
    for seed in range(40):
        cells = read_cells(write_cells(tmp_path, field=dict.fromkeys(FIELD, 1.0), seed=seed, seeds=1))
        judged = judge(complete_blocks(cells, "mean_wait_s"), "easy", resamples=200)
        found.append({each.verdict for each in judged.standings} != {"control", "not separated"})
        assert judged.first is None
    assert sum(found) <= 6  # 40 at 5 % are more than that once in 100 times


def test_few_windows_are_warned_of(tmp_path):
    cells = read_cells(write_cells(tmp_path, windows=1, seeds=1))
    judged = judge(complete_blocks(cells, "mean_wait_s"), "easy", resamples=100)
    said = " ".join(warnings(judged))
    assert "2 windows cannot separate any of 8 schedulers by their ranks" in said
    assert "no signed-rank test" in said
    assert "no interval" in said
    assert np.isnan(judged.standings[0].relative.low)
    assert {each.verdict for each in judged.standings} == {"control", "not separated"}


def test_every_figure_of_a_run_has_one_direction_or_is_said_to_have_none():
    sets = (directions.LOWER, directions.HIGHER, directions.NEITHER)
    names = [name for figure in (*FIGURES, *FIGURES_OF_WORKFLOW, *FIGURES_OF_MACHINE) for name in figure.names]
    assert sorted(name for each in sets for name in each) == sorted(names)
    with pytest.raises(InputError, match="judges no scheduler"):
        directions.better("jobs")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("mean_wait_s", "wait"), "no column 'mean_wait_s'"),
        (("scheduler", "policy"), "cells.csv:1: no column 'scheduler'"),
        (("w01,easy,1", "w01,easy,0"), "the cell .* stands in line 2 already"),
        (("easy,0,,done,", "easy,0,,done,much"), "cells.csv:2: column 'mean_wait_s': found 'much"),
    ],
)
def test_a_table_that_is_none_is_refused_with_its_place(tmp_path, change, message):
    path = write_cells(tmp_path, windows=1)
    path.write_text(path.read_text().replace(*change, 1))
    with pytest.raises(InputError, match=message):
        complete_blocks(read_cells(path), "mean_wait_s")


def test_the_documentation_has_the_directions_and_distances_that_hold():
    text = (Path(__file__).parents[1] / "docs" / "statistics.md").read_text()
    rows = [
        line.split("|")[1:3] for line in text.splitlines() if line.startswith(("| lower ", "| higher ", "| neither"))
    ]
    said = [{*re.findall(r"`(\w+)`", names)} for _, names in rows]
    assert said == [directions.LOWER, directions.HIGHER, directions.NEITHER]
    shown = " | ".join(f"{nemenyi_distance(8, windows):.2f}" for windows in (10, 20, 30, 40))
    assert f"| windows | 10 | 20 | 30 | 40 |\n|---|---|---|---|---|\n| ranks, of at most 7 | {shown} |" in text
    keys = {key for cited in re.findall(r"\[([A-Z]\w+\d{4}(?:, \w+)*)\]", text) for key in cited.split(", ")}
    assert keys <= references().keys()
    assert len(keys) > 10
