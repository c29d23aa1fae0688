"""Ceilings: bounds against numbers worked out by hand and against what schedulers do; plans of one who knows all."""

from __future__ import annotations

import importlib
import sys
from math import inf

import numpy as np
import pytest

import hpcsim
from hpcsim.errors import InputError
from hpcsim.plugin.loader import load_plugins
from hpcsim.replay import begin, made, replay, source_of
from hpcsim.scenario.load import load_scenario
from hpcsim.schedulers.backfilling import FCFS
from hpcsim.tournament.bounds import WEEK_S, Truth, bounds, earliest_end_s, least_facility_j, most_node_s
from hpcsim.tournament.ceilings import HEADER, KEYS, append, rows_of
from hpcsim.tournament.clairvoyant import METRICS, Clairvoyant, Policy, first_policies, is_fair, search, to_fail

NODES, HOUR_S = 126, 3600
CALM = {
    "physics.heat": False, "physics.failures": False, "physics.outages": False, "physics.maintenance": False,
    "physics.variation": False, "physics.queues": False, "physics.checkpoint": None, "scheduler.name": "easy",
}  # fmt: skip
IDLE_W, SLEEP_W, FIXED_W = 190.0, 20.0, 2000.0
THRIFTY = Policy(slowest=0.0, sleep_after=0.0, warm=True)


@pytest.fixture
def cooley(tmp_path):
    """Cooley without chance, with jobs given as (submit, runtime, nodes, walltime[, status])."""

    def scenario(jobs, **overrides):
        lines = ["; UnixStartTime: 1704088800", f"; MaxNodes: {NODES}", f"; MaxProcs: {NODES}"]
        for number, (submit, runtime, nodes, walltime, *status) in enumerate(jobs, 1):
            ended = status[0] if status else 1
            lines.append(f"{number} {submit} 0 {runtime} {nodes} -1 -1 {nodes} {walltime} -1 {ended} 1 1 1 1 1 -1 -1")
        (tmp_path / "jobs.swf").write_text("\n".join(lines) + "\n")
        trace = {"trace": str(tmp_path / "jobs.swf"), "profile": None, "days": None}
        return {"base": "cooley", "name": "made", **trace}, CALM | overrides

    return scenario


def simulated(scenario):
    return begin(*scenario)


# -- bounds ---------------------------------------------------------------------------------------


def test_a_job_takes_no_less_than_at_the_best_of_all_clocks(cooley):
    simulation = simulated(cooley([(0, 5000 + 100 * k, 1 + k, 20_000) for k in range(30)]))
    truth = Truth(simulation)
    (dynamic_w_J, beta_J), power = simulation.site.cluster.programs(truth.job_J), simulation.site.cluster.spec.power
    clocks_K = np.linspace(power.least_speed, 1.0, 20_001)[:, None]
    watts = IDLE_W - SLEEP_W + dynamic_w_J * clocks_K**power.speed_exponent
    joules_KJ = truth.nodes_J * watts * truth.work_s_J * (1 + beta_J * (1 / clocks_K - 1))
    assert truth.joules_J == pytest.approx(joules_KJ.min(axis=0), rel=1e-7)
    assert truth.speed_J == pytest.approx(clocks_K[joules_KJ.argmin(axis=0), 0], abs=1e-3)
    assert (truth.speed_J < 1).any()


def test_the_least_energy_of_one_job_by_hand(cooley):
    simulation = simulated(cooley([(0, 2 * HOUR_S, 10, 4 * HOUR_S)]))
    truth = Truth(simulation)
    (job_j,), seconds = truth.joules_J, 2 * HOUR_S
    facility = simulation.site.facility
    overheads = []
    for mode in simulation.site.cluster.spec.cooling.modes:
        facility.set_cooling(mode[0], simulation.now)
        steps_s = simulation.now + np.arange(0, seconds + WEEK_S, 6 * HOUR_S)
        overheads.append([facility.overhead(int(second)) for second in steps_s])
    cheapest = np.min(overheads, axis=0)
    always_j = (FIXED_W + NODES * SLEEP_W) * seconds * (1 + cheapest[0])  # both hours lie in one step of the weather
    assert earliest_end_s(simulation, truth) == simulation.now + seconds
    assert least_facility_j(simulation, truth) == pytest.approx(always_j + job_j * (1 + cheapest.min()), rel=1e-9)
    found = bounds(simulation, truth)
    assert found.energy_kwh_per_work_node_hour == pytest.approx((always_j + job_j * (1 + cheapest.min())) / 3.6e6 / 20)
    assert found.work_node_hours == 20
    assert (found.lost_node_hours, found.variability, found.mean_bounded_slowdown) == (0, 0, 1)
    assert found.throughput_node_h_per_h is None


def test_what_fails_by_itself_and_what_is_rejected_counts_for_no_work(cooley):
    jobs = [(0, HOUR_S, 10, 2 * HOUR_S), (0, HOUR_S, 4, 2 * HOUR_S, 0), (0, HOUR_S, NODES + 1, 2 * HOUR_S)]
    simulation = simulated(cooley(jobs))
    found = bounds(simulation, Truth(simulation))
    assert (found.work_node_hours, found.failed_node_hours) == (10, 4)
    assert bounds(simulation, Truth(simulation, rejected=[0])).energy_kwh_per_work_node_hour is None


def test_no_run_ends_before_the_work_is_done(cooley):
    jobs = [(0, HOUR_S, NODES, 2 * HOUR_S)] * 3 + [(HOUR_S, 600, 1, 900)]
    simulation = simulated(cooley(jobs))
    assert earliest_end_s(simulation, Truth(simulation)) == simulation.now + 3 * HOUR_S + 600 // NODES


def test_throughput_is_bounded_by_what_has_come_and_by_the_nodes_there_are(cooley):
    def most_h(jobs, begin_s, finish_s):
        simulation = simulated(cooley(jobs))
        truth = Truth(simulation)
        truth.beta_J = np.zeros(len(truth.job_J))  # no clock makes a job longer
        return most_node_s(simulation, truth, begin_s, finish_s) / HOUR_S

    hour = (0, HOUR_S, 10, 2 * HOUR_S)
    assert most_h([hour, hour], 0, 2 * HOUR_S) == 20
    assert most_h([hour, (HOUR_S + 1, *hour[1:])], 0, 2 * HOUR_S) == 10  # the second cannot end in time
    full = (0, HOUR_S, NODES, 2 * HOUR_S)
    assert most_h([full] * 5, 0, 2 * HOUR_S) == 2 * NODES
    # one of them may have run for up to an hour before the interval begins
    assert most_h([full] * 9, 2 * HOUR_S, 4 * HOUR_S) == 3 * NODES
    # of programs that fail nothing completes
    assert most_h([(*full, 0)] * 5, 0, 2 * HOUR_S) == 0


@pytest.mark.parametrize(("machine", "day"), [("cooley", 3), ("theta", 12), ("mira", 5), ("polaris", 8)])
def test_no_scheduler_and_no_plan_beats_a_bound(machine, day):
    scenario = {
        "base": machine, "name": "one", "seed": 11, "days": 20, "load": 0.9,
        "window": {"start": 86_400 * day, "end": 86_400 * (day + 1), "warm_up": 14_400, "cool_down": 14_400},
    }  # fmt: skip
    plugins = load_plugins()

    def load(**overrides):
        return load_scenario(
            scenario, overrides, schedulers=plugins.schedulers, twins=plugins.twins, parts=plugins.offers
        )

    loaded = load()
    source = source_of(loaded, plugins)
    under_easy = []
    found = [replay(loaded, plugins, source=source, begun=under_easy.append)]
    whole = made(loaded, plugins, source=source)
    truth = Truth(whole.simulation, under_easy[0].rejected)
    bound = bounds(whole.simulation, truth, whole.piece.measured_from, whole.piece.measured_to)
    failures = to_fail(whole.simulation, earliest_end_s(whole.simulation, truth) + WEEK_S)
    levers = {"levers.sleep_idle": 60, "levers.speed.factor": 0.6, "scheduler.order": "saf"}
    slow = load(**{"scheduler.name": "easy", "physics.cooling_mode": "warm", **levers})
    found.append(replay(slow, plugins, source=source))
    for policy in (Policy(1.0, 1.0, 0.0), THRIFTY):

        def begun(simulation, policy=policy):
            simulation.take_over(Clairvoyant(simulation, truth, failures, policy))

        run = replay(loaded, plugins, source=source, check=True, begun=begun)
        found.append(run)
    for run in found:
        summary = run.summary
        assert summary["energy_kwh_per_work_node_hour"] > bound.energy_kwh_per_work_node_hour
        assert summary["throughput_node_h_per_h"] < bound.throughput_node_h_per_h
        for metric in ("lost_node_hours", "variability", "mean_bounded_slowdown"):
            assert summary[metric] >= getattr(bound, metric)
    energy = [run.summary["energy_kwh_per_work_node_hour"] for run in found]
    assert energy[-1] == min(energy)  # who knows all and cares for nothing else takes the least


def test_there_is_no_bound_of_what_is_not_known():
    with pytest.raises(InputError, match="ceilings are of a machine with physics"):
        Truth(begin("polaris", {"jobs": 5, "physics": None}))
    with pytest.raises(InputError, match=r"no ceiling is known with jobs that follow others"):
        Truth(begin("cooley", {"days": 2, "closed_loop.think": 600}))


# -- the plan -------------------------------------------------------------------------------------


def planned(scenario, policy, failures=None):
    simulation = simulated(scenario)
    truth = Truth(simulation)
    known = to_fail(simulation, earliest_end_s(simulation, truth) + WEEK_S) if failures is None else failures
    simulation.take_over(Clairvoyant(simulation, truth, known, policy))
    simulation.run()
    return simulation


def starts_of(simulation):
    attempts = simulation.attempts
    return dict(zip(attempts.column("job").tolist(), attempts.column("start").tolist(), strict=True))


SHORTEST = Policy(runtime=1.0, size=0.0, age=0.0, sleep_after=inf)


def test_it_knows_how_long_jobs_run_whatever_they_ask_for(cooley):
    jobs = [(0, HOUR_S, NODES, 2 * HOUR_S), (1, 3000, NODES, 3100), (2, 600, NODES, 6 * HOUR_S)]
    starts = starts_of(planned(cooley(jobs), SHORTEST))
    assert starts[0] < starts[2] < starts[1]


def test_it_backfills_what_will_be_over_in_time(cooley):
    # the head waits for the first job, which ends long before its walltime
    jobs = [(0, 1000, 100, 10 * HOUR_S), (1, 5000, NODES, 6000), (2, 900, 20, 8 * HOUR_S), (3, 1100, 20, 1200)]
    starts = starts_of(planned(cooley(jobs), Policy(sleep_after=inf)))
    assert starts[2] == 2
    assert starts[1] == pytest.approx(1000, abs=2)
    assert starts[3] > starts[1]


def test_it_keeps_off_nodes_that_will_fail(cooley):
    scenario = cooley([(0, HOUR_S, 2, 2 * HOUR_S), (1, HOUR_S, 3, 2 * HOUR_S)])
    first, second = planned(scenario, Policy(sleep_after=inf), [(1800, (0, 3))]).site.units
    assert first.tolist() == [1, 2]
    assert second.tolist() == [4, 5, 6]
    unwarned = planned(scenario, Policy(sleep_after=inf), [(3 * HOUR_S, (0, 3))]).site.units
    assert unwarned[0].tolist() == [0, 1]


def test_the_failures_that_it_knows_are_those_that_come():
    simulation = begin("theta", {"days": 4, "seed": 3, "physics.heat": False, "physics.failure_rate": 20.0})
    known = set(to_fail(simulation, simulation.now + 10 * 86_400))
    simulation.run()
    seen = [each for each in simulation.site.cluster.service.interrupts if each.cause == "hardware"]
    assert len(seen) > 5
    by_second = dict(known)
    assert all(set(each.units.tolist()) <= set(by_second[each.time_s]) for each in seen)


def test_nobody_can_name_it_in_a_scenario():
    assert "clairvoyant" not in load_plugins().schedulers


def outcome(policy, **changes):
    """What a made-up cell comes to: best near runtime 1 for slowdowns, near the slowest clock for energy."""
    summary = {
        "energy_kwh_per_work_node_hour": 2.0 + policy.slowest, "lost_node_hours": 0.0,
        "throughput_node_h_per_h": None, "variability": 3.0 + abs(policy.age), "mean_bounded_slowdown":
        5.0 + abs(policy.runtime - 1.3), "max_wait_s": 5000.0, "energy_facility_kwh": 100.0 * (2.0 + policy.slowest),
    }  # fmt: skip
    return summary | changes


def test_a_search_keeps_the_best_of_each_metric_and_repeats():
    asked = []

    def played(policy):
        asked.append(policy)
        return outcome(policy)

    easy = outcome(Policy(slowest=0.9))
    one, other = (search(easy, played, 600.0, tries=40, seed=1, name="cell") for _ in range(2))
    assert one == other
    assert asked[: len(asked) // 2] == asked[len(asked) // 2 :]
    assert one.keys() == set(METRICS) - {"throughput_node_h_per_h"}
    for metric, best in one.items():
        assert best.value == min(easy[metric], *(outcome(policy)[metric] for policy in asked))
    assert one["mean_bounded_slowdown"].value < 5.25  # better than all that it began with
    assert one["lost_node_hours"].policy == "easy"
    assert search(easy, played, 600.0, tries=40, seed=2, name="cell") != one


def test_a_search_begins_with_full_clocks_and_sleep_after_the_break_even_time_for_plain_orders():
    plain = [each for each in first_policies(330.0) if each.sleep_after == 330.0]
    assert {each[:3] for each in plain} == {(0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (1.0, 1.0, 0.0)}
    assert {(each.slowest, each.fastest, each.warm) for each in plain} == {(1.0, 1.0, True)}


def test_no_plan_is_bought_by_work_undone_or_by_a_job_that_starves():
    easy = outcome(Policy())
    assert is_fair(outcome(Policy(), max_wait_s=9_999.0), easy)
    assert not is_fair(outcome(Policy(), max_wait_s=10_001.0), easy)
    assert is_fair(outcome(Policy(), max_wait_s=3_600.0), outcome(Policy(), max_wait_s=0.0))
    less = easy["energy_facility_kwh"] * 0.998
    assert not is_fair(outcome(Policy(), energy_facility_kwh=less), easy)
    starving = search(easy, lambda policy: outcome(policy, max_wait_s=1e6), 600.0, tries=3, seed=1, name="cell")
    assert {best.policy for best in starving.values()} == {"easy"}


# -- rows, and the pages of them ------------------------------------------------------------------

SMALL = """
name: small
scenarios: [{base: cooley, name: cooley, physics: {heat: false}}]
schedulers:
  - {name: easy, label: aims, order: saf, levers: {sleep_idle: auto}}
  - {name: easy, label: backfilling}
control: backfilling
windows: {measured: 12h, warm_up: 2h, cool_down: 2h, count: 2}
seeds: [11]
loads: [0.7, saturation]
metrics: [energy_kwh_per_work_node_hour, lost_node_hours, throughput_node_h_per_h, variability,
  mean_bounded_slowdown, max_wait_s, energy_facility_kwh, energy_split_kwh.idle]
"""


def benchmark(name, *arguments, monkeypatch, capsys):
    """What a module of benchmarks/ prints, which is no package of the distribution, and its exit code."""
    module = importlib.import_module(f"benchmarks.{name}")
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    code = 0
    try:
        module.main()
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    return code, said.out, said.err


def test_rows_are_made_once_and_stand_beside_the_results(tmp_path, monkeypatch, capsys):
    from hpcsim.tournament.directories import Directory
    from hpcsim.tournament.execute import order_of, run_cell
    from hpcsim.tournament.grid import read_grid
    from hpcsim.tournament.plan import plan
    from hpcsim.tournament.tables import write_tables

    def called(name, *arguments):
        return benchmark(name, *arguments, monkeypatch=monkeypatch, capsys=capsys)

    (tmp_path / "small.yaml").write_text(SMALL)
    directory = Directory(tmp_path / "small")
    directory.root.mkdir()
    planned = plan(read_grid(tmp_path / "small.yaml"), load_plugins())
    for cell in planned.cells:
        run_cell(order_of(cell, planned, directory))
    write_tables(planned, directory)
    (directory.root / "tournament.yaml").write_text(SMALL)

    code, out, _ = called("aims_question", directory.root)
    assert code == 0
    assert "ceiling" not in out

    code, out, err = called("aims_ceilings", directory.root, "--tries", 1, "--load", "0.7")
    assert (code, out.count("\n")) == (0, 2)
    assert "all 2 cells are in" in err
    code, out, _ = called("aims_question", directory.root)  # what is there is shown, though no load but one is whole
    assert (code, out.count("| plan | bound |")) == (0, 6)
    code, out, err = called("aims_ceilings", directory.root, "--tries", 1)
    assert (code, out.count("\n")) == (0, 2)
    assert all("saturation" in line for line in out.splitlines())
    assert called("aims_ceilings", directory.root)[1] == ""
    rows = rows_of(directory.root / "ceilings.csv")
    assert len({tuple(row[key] for key in KEYS) for row in rows}) == len(rows) == 4
    for row in rows:
        assert row["plans"] == "21"
        assert float(row["energy_kwh_per_work_node_hour.bound"]) < float(row["energy_kwh_per_work_node_hour.plan"])

    code, out, _ = called("aims_question", directory.root)
    assert code == 0
    sections = {part.splitlines()[0]: part for part in out.split("\n## ")}
    energy = next(
        part for head, part in sections.items() if head.startswith("Facility energy per work node-hour: claimed")
    )
    line = next(line for line in energy.splitlines() if line.startswith("| backfilling"))
    _, _, plan_text, bound_text, *_, windows = line.strip("| ").split(" | ")
    assert windows.endswith("] of 2")
    assert float(bound_text) < float(plan_text) < 0
    fair = [line.split(" | ") for line in sections["What it was bought with"].splitlines() if line.startswith("| ")]
    assert next(each for each in fair if "backfilling" in each[0])[1:] == [
        "4",
        "+0.00 %",
        "+0.00 %",
        "1.00",
        "1.00",
        "0 |",
    ]

    file = directory.root / "ceilings.csv"
    file.write_text(file.read_text().replace(rows[0]["made_by"], "0" * 20))
    assert called("aims_ceilings", directory.root, "--keep")[1] == ""  # of an earlier version, and all there

    code, _, err = called("aims_ceilings", directory.root, "--window", "yesterday")
    assert code == 2
    assert "window: found 'yesterday', expected one of" in err
    assert called("aims_ceilings", directory.root, "--tries", -1)[0] == 2
    assert called("aims_ceilings", "nothing")[0] == 2
    (directory.root / "ceilings.csv").write_text("a,b\n")
    code, _, err = called("aims_question", directory.root)
    assert code == 2
    assert "ceilings.csv:1: found a, b" in err
    assert called("aims_question", tmp_path / "nothing")[0] == 2
    (directory.root / "ceilings.csv").unlink()
    code, _, err = called("aims_question", directory.root, "--of", "nobody")
    assert code == 2
    assert "--of: found 'nobody', expected one of aims, backfilling" in err


def test_the_best_of_each_kind_is_that_against_which_least_is_gained(capsys):
    page = importlib.import_module("benchmarks.aims_question")

    def found(**value):
        return {name: page.Against(page.Estimate(each, each - 0.01, each + 0.01)) for name, each in value.items()}

    less = found(backfilling=-0.3, flux=-0.1, tetris=-0.2, other=0.5) | {"heft+levers": page.Against()}
    more = found(backfilling=0.3, flux=0.1, tetris=0.2) | found(**{"flux+levers": -0.2, "heft+levers": 0.4})
    page.in_short({what: more if claim > 0 else less for _, _, claim, what in page.CLAIMS})
    energy, _, throughput, _ = capsys.readouterr().out.replace("\u00a0", " ").splitlines()[2:]
    assert energy.endswith("| -16.2 | -30.0 [-31.0, -29.0] | -10.0 [-11.0, -9.0], flux | - |")
    assert throughput.endswith(
        "| +30.0 [+29.0, +31.0] | +10.0 [+9.0, +11.0], flux | -20.0 [-21.0, -19.0], flux+levers |"
    )


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "ceilings.csv"
    assert rows_of(path) == []
    append(path, dict.fromkeys(HEADER, "1"))
    append(path, dict.fromkeys(HEADER, "2"))
    assert [row["plans"] for row in rows_of(path)] == ["1", "2"]
    with path.open("a") as file:
        file.write("cooley,2024")
    with pytest.raises(InputError, match=r"ceilings.csv:4: found a row of another length"):
        rows_of(path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"ceilings.csv:1: found a, b, expected scenario"):
        rows_of(path)


def test_a_scheduler_may_take_over_at_the_first_second():
    plugins = load_plugins()
    loaded = load_scenario(
        "toy", {"jobs": 300}, schedulers=plugins.schedulers, twins=plugins.twins, parts=plugins.offers
    )
    shortest = FCFS(FCFS.Options(order="sjf"))
    taken_over = replay(loaded, plugins, begun=lambda simulation: simulation.take_over(shortest)).summary
    named = hpcsim.simulate("toy", {"jobs": 300, "scheduler": {"name": "fcfs", "order": "sjf"}}).summary
    assert taken_over == named != replay(loaded, plugins).summary


def test_the_page_has_the_deviation_of_slowdowns_and_says_in_how_many_windows_it_is_better():
    """Two trainings with a variability of 1 and 3 and means of 10 and 2: the mean of their deviations is 8."""
    rows = importlib.import_module("benchmarks.aims_rows")
    page = importlib.import_module("benchmarks.aims_question")
    header = (*rows.KEYS, "state", "variability", "mean_bounded_slowdown")
    place = {"scenario": "polaris", "window": "w", "seed": "11", "load": "0.7"}
    made = [
        (*((place | {"scheduler": name})[key] for key in rows.KEYS), "done", variability, mean)
        for name, variability, mean in (("aims 1", "1", "10"), ("aims 2", "3", "2"))
    ]
    cells = rows.with_means(rows.with_deviation(rows.Cells("here", header, tuple(made))))
    assert cells.schedulers == ("aims, mean of 2",)
    assert cells.values(rows.DEVIATION).tolist() == [8.0]
    assert page._better(page.Against(None, page.Estimate(0.5, 0.25, 0.75), 4)) == "50 [25,\u00a075] of 4"
    assert page._better(page.Against()) == "-"
