"""Laws of the levers that a scenario puts around any scheduler: sleep_idle, speed, power_cap, placement."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hpcsim
from hpcsim.engine.decisions import SetCooling
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.site import Site
from hpcsim.engine.sleeping import Idle
from hpcsim.engine.twins import Prediction
from hpcsim.errors import InputError
from hpcsim.levers import Levered
from hpcsim.levers.cooling import Cooling
from hpcsim.levers.placement import Placement
from hpcsim.levers.power_cap import PowerCap
from hpcsim.levers.sleep_idle import SleepIdle
from hpcsim.levers.speed import Speed
from hpcsim.machine.catalogue import load_machine
from hpcsim.machine.cluster import Cluster
from hpcsim.machine.facility import Facility
from hpcsim.machine.heat import Heat
from hpcsim.machine.series import StepSeries
from hpcsim.plugin.loader import load_plugins
from hpcsim.results.check import check
from hpcsim.results.energy import energy_summary, ledger_j, power_curve
from hpcsim.results.tables import attempts_table, jobs_table, timeline_table
from hpcsim.scenario import levers as rules
from hpcsim.scenario.levers import Levers
from hpcsim.scenario.load import load_scenario
from hpcsim.schedulers.backfilling import EASY, FCFS, Conservative
from hpcsim.schedulers.tetris import Tetris
from hpcsim.streams import stream
from hpcsim.workload.behaviour import draw_behaviour
from hpcsim.workload.job import workload_from_columns

HOUR, DAY = 3600, 86_400
T0 = 1_719_792_000  # 1 July 2024, 0 h
COOLEY = load_machine("cooley")
MIRA = load_machine("mira")
POWER = COOLEY.power
CYCLE_S = POWER.sleep_s + POWER.wake_s
SCHEDULERS = {
    "fcfs": lambda: FCFS(FCFS.Options()),
    "easy": lambda: EASY(EASY.Options()),
    "conservative": lambda: Conservative(Conservative.Options()),
    "tetris": lambda: Tetris(Tetris.Options(reservation="easy")),
}
by_name = st.sampled_from([*SCHEDULERS])


def workload(*jobs):
    """Jobs as (submit, runtime, nodes), or with a walltime besides."""
    submit, runtime, nodes, walltime = zip(*[(*job, job[1])[:4] for job in jobs], strict=True)
    return workload_from_columns(
        t0_utc=T0, source="test", name=[f"j{i}" for i in range(len(jobs))], submit_s=submit, nodes=nodes,
        walltime_s=walltime, runtime_s=runtime,
    )  # fmt: skip


def simulation(jobs, scheduler, *levers, spec=COOLEY, policy="packed", heat=False, twins=None, **surroundings):
    facility = Facility(spec, jobs.t0_utc, **surroundings)
    warm = Heat(
        spec.thermal, units=spec.units, units_per_rack=spec.units_per_rack, now=0, supply_c=facility.supply_c(0),
        node_w=spec.power.idle_w, gpu_w=spec.power.gpu_idle_w, rng=stream(1, "r"),
    ) if heat else None  # fmt: skip
    cluster = Cluster(spec, draw_behaviour(jobs, 1), policy=policy, start=0, heat=warm, supply_c=facility.supply_c)
    site = Site(cluster, jobs, overrun="trace", requeues=True, checkpointing=None, facility=facility)
    if levers:
        scheduler = Levered(scheduler, [lever for lever in levers if lever is not None])
    return Simulation(jobs, scheduler, nodes=spec.units * spec.unit_nodes, site=site, twins=twins or {})


def tables(sim):
    return jobs_table(sim, np.ones(len(sim.workload), bool)), attempts_table(sim), timeline_table(sim)


def run(sim):
    """The attempts of a run that keeps the laws, whose joules add up."""
    sim.run()
    made = tables(sim)
    check(sim, *made)
    curve = power_curve(sim, sim.site)
    energy_summary(sim, sim.site, curve, work_node_hours=1.0, ended=1)  # which settles the books
    parts = ledger_j(sim, sim.site, curve)
    parts.pop("of_which_conversion")
    assert sum(parts.values()) == pytest.approx(curve.joules(curve.facility_w), rel=1e-9)
    return sorted(made[1].to_pylist(), key=lambda row: int(row["job_id"][1:]))


def energy_j(sim):
    curve = power_curve(sim, sim.site)
    return curve.joules(curve.facility_w)


def sleep(after="auto", reserve=0):
    return SleepIdle(rules.SleepIdle(after=after, reserve=reserve))


rows = st.lists(
    st.tuples(st.integers(0, 20_000), st.integers(1, 9000), st.integers(1, 126), st.integers(0, 4000)).map(
        lambda row: (*row[:3], row[1] + row[3])
    ),
    min_size=1, max_size=14,
).map(sorted)  # fmt: skip


# -- none -----------------------------------------------------------------------------------------


def idle_levers():
    """Each as it changes nothing."""
    return {
        "none": None,
        "sleep_idle": sleep(after=10**9),
        "speed": Speed(rules.Speed(factor=1.0)),
        "power_cap": PowerCap(rules.PowerCap(kw=1e6)),
        "placement": Placement([rules.Placement(policy="packed")]),
    }


@settings(deadline=None, max_examples=60)
@given(rows, by_name, st.sampled_from([*idle_levers()]))
def test_without_levers_and_with_levers_that_change_nothing_the_schedule_is_the_schedulers(jobs, name, lever):
    plain = simulation(workload(*jobs), SCHEDULERS[name]())
    levered = simulation(workload(*jobs), SCHEDULERS[name](), idle_levers()[lever])
    plain.run()
    levered.run()
    assert [table.to_pylist() for table in tables(plain)] == [table.to_pylist() for table in tables(levered)]


def test_a_scenario_without_levers_has_the_scheduler_itself(tmp_path):
    bare = {"jobs": 200, "seed": 3}
    runs = [hpcsim.simulate("polaris", bare | more) for more in ({}, {"levers": None}, {"levers": {}})]
    assert runs[0].jobs.equals(runs[1].jobs)
    assert runs[0].jobs.equals(runs[2].jobs)
    assert [run.manifest["levers"] for run in runs] == [[], [], []]


# -- sleep ----------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 20), min_size=1, max_size=30), st.integers(0, 30))
def test_idle_nodes_are_counted_as_if_the_latest_went_busy_first(levels, at):
    """Compared with a list of every single node."""
    idle, nodes = Idle(), []
    for now, level in enumerate(levels):
        nodes = nodes[:level] if level < len(nodes) else [*nodes, *[now] * (level - len(nodes))]
        idle.follow(level, now)
        assert idle.nodes == level
        assert idle.before(at) == sum(since <= at for since in nodes)
        assert idle.oldest() == (min(nodes) if nodes else None)
        if level > 3 and now % 3 == 0:
            idle.leave(2)
            nodes = nodes[2:]
            idle.follow(level, now)
            nodes += [now, now]


@settings(deadline=None, max_examples=60)
@given(rows, by_name, st.sampled_from(["auto", 0, 300, 2000]), st.integers(0, 60))
def test_every_job_runs_though_nodes_sleep_and_the_books_close(jobs, name, after, reserve):
    assert all(
        row["state"] == "completed"
        for row in run(simulation(workload(*jobs), SCHEDULERS[name](), sleep(after, reserve)))
    )


@settings(deadline=None, max_examples=60)
@given(rows, by_name, st.sampled_from(["auto", 0, 300, 2000]))
def test_on_a_half_empty_machine_no_job_waits_longer_than_nodes_take_to_sleep_and_wake(jobs, name, after):
    small = [(submit, runtime, min(nodes, 126 // len(jobs)), walltime) for submit, runtime, nodes, walltime in jobs]
    plain, sleepy = (simulation(workload(*small), SCHEDULERS[name](), lever) for lever in (None, sleep(after)))
    for before, after_ in zip(run(plain), run(sleepy), strict=True):
        assert before["start_s"] <= after_["start_s"] <= before["start_s"] + CYCLE_S
    assert plain.is_over
    assert sleepy.is_over


def test_sleeping_saves_energy_on_a_half_empty_machine():
    jobs = workload((0, 40_000, 40), (30_000, 40_000, 30), (100_000, 9000, 50))
    plain, sleepy = (simulation(jobs, SCHEDULERS["easy"](), lever) for lever in (None, sleep()))
    for sim in (plain, sleepy):
        run(sim)
    asleep_s = sleepy.site.cluster.meter.node_seconds["asleep"]
    assert asleep_s > 0.4 * 126 * sleepy.now
    assert energy_j(sleepy) < 0.75 * energy_j(plain)


def test_nodes_go_to_sleep_after_the_break_even_time():
    after = POWER.sleep_s + POWER.wake_s  # they wake at idle power: nothing is lost but the time
    sim = simulation(workload((0, 20_000, 26)), SCHEDULERS["fcfs"](), sleep())
    sim.run(after)
    assert sim.site.cluster.meter.nodes_in["idle"] == 100
    sim.run(after + 1)
    assert sim.site.cluster.meter.nodes_in["waking"] == 100
    sim.run(after + POWER.sleep_s + 1)
    assert sim.site.cluster.meter.nodes_in["asleep"] == 100


def test_a_job_alone_waits_exactly_for_its_nodes_to_wake():
    jobs = workload((0, 20_000, 26), (10_000, 500, 100), (10_010, 500, 5))
    starts = [row["start_s"] for row in run(simulation(jobs, SCHEDULERS["easy"](), sleep()))]
    assert starts == [0, 10_000 + POWER.wake_s, 10_000 + POWER.wake_s + 500]


def test_a_job_that_comes_while_nodes_fall_asleep_waits_for_that_too():
    asleep_from = 1000 + 300
    jobs = workload((0, 1000, 126), (asleep_from + 10, 500, 126))
    starts = [row["start_s"] for row in run(simulation(jobs, SCHEDULERS["easy"](), sleep(after=300)))]
    assert starts == [0, asleep_from + CYCLE_S]


def test_nodes_wake_in_time_for_a_job_whose_start_is_foreseen():
    """The second waits for the first, which ends when it is expected to; the nodes beside have slept meanwhile."""
    jobs = workload((0, 20_000, 26), (100, 500, 126))
    sim = simulation(jobs, SCHEDULERS["easy"](), sleep())
    assert [row["start_s"] for row in run(sim)] == [0, 20_000]
    assert sim.site.cluster.meter.node_seconds["asleep"] > 100 * 15_000


def test_nodes_do_not_sleep_if_the_next_job_comes_too_soon_for_that():
    jobs = workload((0, 1000, 26), (100, 500, 126))
    sim = simulation(jobs, SCHEDULERS["easy"](), sleep(after=900))
    run(sim)
    assert sim.site.cluster.meter.node_seconds["asleep"] == 0


def test_a_reserve_stays_awake_and_takes_small_jobs_at_once():
    jobs = workload((0, 500, 126), *((10_000 * i, 100, 20) for i in range(1, 6)))
    sim = simulation(jobs, SCHEDULERS["easy"](), sleep(after=0, reserve=20))
    assert [row["start_s"] for row in run(sim)] == [0, *(10_000 * i for i in range(1, 6))]
    assert sim.site.cluster.meter.node_seconds["asleep"] > 90 * 40_000


mira_rows = st.lists(
    st.tuples(st.integers(0, 30_000), st.integers(1, 9000), st.sampled_from([512, 1024, 4096, 8192, 24_576, 49_152])),
    min_size=1, max_size=10,
).map(sorted)  # fmt: skip


@settings(deadline=None, max_examples=30)
@given(mira_rows, by_name, st.sampled_from(["auto", 0, 700]))
def test_midplanes_of_a_torus_sleep_and_wake(jobs, name, after):
    sim = simulation(workload(*jobs), SCHEDULERS[name](), sleep(after), spec=MIRA, policy="torus")
    assert all(row["state"] == "completed" for row in run(sim))


def test_a_machine_that_draws_no_less_asleep_never_sleeps():
    spec = replace(COOLEY, power=replace(POWER, sleep_w=POWER.idle_w))
    sim = simulation(workload((0, 50_000, 10), (90_000, 10, 10)), SCHEDULERS["easy"](), sleep(), spec=spec)
    run(sim)
    assert sim.site.cluster.meter.node_seconds["asleep"] == 0


# -- speed ----------------------------------------------------------------------------------------


class Slowly(EASY):
    needs = frozenset({"speed"})

    def __init__(self, speed):
        super().__init__(EASY.Options())
        self.speed = speed

    def schedule(self, view):
        for start in super().schedule(view):
            yield start._replace(speed=self.speed)


@settings(deadline=None, max_examples=30)
@given(rows, st.floats(POWER.least_speed, 1.0))
def test_a_fixed_clock_is_that_of_every_start(jobs, factor):
    slow = simulation(workload(*jobs), Slowly(factor))
    levered = simulation(workload(*jobs), SCHEDULERS["easy"](), Speed(rules.Speed(factor=factor)))
    assert run(slow) == run(levered)


def test_auto_is_the_clock_of_least_energy_by_brute_force():
    sim = simulation(workload((0, 5000, 100)), SCHEDULERS["easy"](), Speed(rules.Speed(factor="auto", beta=0.6)))
    run(sim)
    speeds = np.linspace(POWER.least_speed, 1.0, 100_001)
    half_w = (POWER.cpu_dyn_w + POWER.gpu_dyn_w) / 2
    joules = (POWER.idle_w + half_w * speeds**POWER.speed_exponent) * (1 + 0.6 * (1 / speeds - 1))
    lever = sim.scheduler.levers[0]
    assert lever._factor == pytest.approx(speeds[joules.argmin()], abs=2e-5)


class Bound:
    """Jobs with an even id take less energy at a lower clock."""

    name, api, answers = "bound", 1, "energy"

    def energy(self, jobs, speeds, view):
        joules = np.array([s if job.id % 2 == 0 else 1 / s for job, s in zip(jobs, speeds, strict=True)])
        return Prediction(joules, np.zeros(len(jobs)), np.zeros(len(jobs)))


def test_memory_bound_jobs_are_those_that_the_energy_twin_says_to_save_by_it():
    jobs = workload(*((0, 1000, 10) for _ in range(6)))
    lever = Speed(rules.Speed(factor=0.5, jobs="memory-bound"))
    assert lever.needs == {"speed", "energy-twin"}
    slow = run(simulation(jobs, SCHEDULERS["easy"](), lever, twins={"energy": Bound()}))
    assert [row["end_s"] > 1000 for row in slow] == [True, False] * 3


def prices(*usd):
    return StepSeries(HOUR * np.arange(len(usd)), usd, end_s=HOUR * len(usd))


DEAR = prices(*([10.0] * 5 + [90.0] * 3 + [10.0] * 64))


def test_while_power_is_dear_running_jobs_are_slow_too_and_then_fast_again():
    jobs = workload((0, 10 * HOUR, 100), (6 * HOUR, HOUR, 10))
    when = rules.When(price_above=0.8)
    beta = draw_behaviour(jobs, 1).beta_J
    for running, expected in ((False, 10 * HOUR), (True, 10 * HOUR + 3 * HOUR * (1 - 1 / (1 + beta[0])))):
        lever = Speed(rules.Speed(factor=0.5, when=when, running=running))
        first, second = run(simulation(jobs, SCHEDULERS["easy"](), lever, price=DEAR))
        assert first["end_s"] == pytest.approx(expected, abs=2)
        assert second["end_s"] - 6 * HOUR > HOUR


# -- cap ------------------------------------------------------------------------------------------

IDLE_W = 126 * POWER.idle_w + POWER.fixed_w
FULL_W = IDLE_W + 126 * (POWER.cpu_dyn_w + POWER.gpu_dyn_w)


@settings(deadline=None, max_examples=80)
@given(rows, by_name, st.floats(IDLE_W / FULL_W + 0.001, 1.0))
def test_the_facility_never_draws_more_than_the_cap_but_for_a_job_alone_that_no_clock_can_keep_below(jobs, name, share):
    sim = simulation(workload(*jobs), SCHEDULERS[name](), PowerCap(rules.PowerCap(share=share)))
    attempts = run(sim)
    curve = power_curve(sim, sim.site)
    cap_w = share * FULL_W * curve.facility_w / curve.it_w
    for time in curve.time_s[curve.facility_w > cap_w * (1 + 1e-9)].tolist():
        assert sum(row["start_s"] <= time < row["end_s"] for row in attempts) == 1


def test_a_cap_of_hours_holds_in_these_and_the_scenarios_own_at_all_times():
    jobs = workload(*((HOUR * i, 2 * HOUR, 60) for i in range(40)))
    worst = 1 + Facility(COOLEY, T0).worst_overhead(0)
    low_w, high_w = ((IDLE_W + part * (FULL_W - IDLE_W)) * worst for part in (0.27, 0.4))
    lever = PowerCap(rules.PowerCap(kw=low_w / 1000, when=rules.When(hours_utc=[20, 6])))
    sim = simulation(jobs, SCHEDULERS["easy"](), lever, cap_w=high_w)
    run(sim)
    curve = power_curve(sim, sim.site)
    hour = curve.time_s // HOUR % 24
    night = (hour >= 20) | (hour < 6)
    assert curve.cap_w[night & (curve.time_s >= 0)].max() == pytest.approx(low_w)
    assert set(np.round(curve.cap_w[~night])) == {round(high_w)}
    assert curve.facility_w[night].max() <= low_w * (1 + 1e-9)
    assert low_w < curve.facility_w[~night].max() <= high_w * (1 + 1e-9)


# -- places ---------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(rows, by_name, st.sampled_from(["packed", "spread", "contiguous", "coolest", "most-reliable"]))
def test_a_rule_for_all_jobs_places_them_as_the_policy_itself_does(jobs, name, policy):
    by_rule = simulation(
        workload(*jobs), SCHEDULERS[name](), Placement([rules.Placement(policy=policy)]), heat=True,
        policy="packed" if policy != "packed" else "spread",
    )  # fmt: skip
    itself = simulation(workload(*jobs), SCHEDULERS[name](), policy=policy, heat=True)
    assert run(by_rule) == run(itself)


def test_the_first_rule_that_holds_for_a_job_counts_and_others_stay_with_the_scenarios_policy():
    levers = [
        rules.Placement(policy="spread", least_nodes=12, most_nodes=20),
        rules.Placement(policy="contiguous", least_nodes=12, least_walltime=5000),
    ]
    jobs = workload((0, 100, 4), (0, 100, 16), (0, 100, 5))
    racks = [
        len({int(unit) // COOLEY.units_per_rack for unit in units_of(row["units"])})
        for row in run(simulation(jobs, SCHEDULERS["fcfs"](), Placement(levers)))
    ]
    assert racks == [1, min(COOLEY.racks, 16), 1]


def units_of(text):
    for part in text.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


# -- all of them ----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(rows, by_name, st.integers(0, 25_000))
def test_a_fork_goes_on_as_its_parent_does(jobs, name, at):
    def levers():
        return (
            PowerCap(rules.PowerCap(share=0.6, when=rules.When(carbon_above=0.5))),
            sleep(after=200, reserve=4),
            Speed(rules.Speed(factor=0.8, when=rules.When(price_above=0.5), running=True)),
            Placement([rules.Placement(policy="spread", least_nodes=20)]),
        )

    sim = simulation(workload(*jobs), SCHEDULERS[name](), *levers())
    sim.run(at)
    fork = sim.fork()
    sim.run()
    fork.run()
    assert [table.to_pylist() for table in tables(sim)] == [table.to_pylist() for table in tables(fork)]


@pytest.mark.parametrize("scheduler", ["fcfs", "easy", "tetris"])
def test_easy_with_idle_sleep_is_one_line_and_works_with_queues_heat_failures_and_maintenance(scheduler):
    settings_ = {"jobs": 1500, "days": None, "profile": "polaris-nodebug", "scheduler": scheduler}
    plain = hpcsim.simulate("polaris", settings_, check=True)
    sleepy = hpcsim.simulate("polaris", settings_ | {"levers.sleep_idle": "15m"}, check=True)
    assert sleepy.manifest["levers"] == ["sleep_idle"]
    assert "sleep" in sleepy.manifest["needs"]
    assert sleepy.manifest["scheduler"] == scheduler
    assert sleepy.summary["energy_facility_kwh"] < 0.97 * plain.summary["energy_facility_kwh"]
    assert sleepy.summary["jobs_by_state"].keys() == plain.summary["jobs_by_state"].keys()


def test_jobs_that_share_nodes_sleep_and_wake_too():
    settings_ = {"jobs": 400, "physics.processors": "cores", "physics.queues": False}
    levers = {"sleep_idle": 300, "power_cap": {"share": 0.9}}
    assert hpcsim.simulate("polaris", settings_ | {"levers": levers}, check=True).summary["jobs"] == 400


@pytest.mark.parametrize(
    ("levers", "said"),
    [
        (
            {"sleep_idle": "abc"},
            r"levers\.sleep_idle\.after: Input should be whole seconds .*, or 'auto' \(got 'abc'\)",
        ),
        ({"speed": 0.3}, r"levers\.speed: found the factor 0\.3, expected one that Polaris has: 0\.5 to 1"),
        ({"power_cap": {}}, r"levers\.power_cap: Input should have either kw or share"),
        ({"power_cap": {"kw": 10.0}}, r"levers\.power_cap: found 10 kW, expected at least the \d+\.\d kW that idle"),
        ({"power_cap": {"share": 0.01}}, r"levers\.power_cap: found the share 0\.01, expected at least the 0\.2\d\d"),
        ({"cooling": "icy"}, r"levers\.cooling: found 'icy', expected auto or one of \['normal', 'cold', 'warm'\]"),
        ({"sleep_idle": {"reserve": 600}}, r"levers\.sleep_idle: found a reserve of 600 of 560 nodes"),
        ({"placement": "coolst"}, r"levers\.placement\.0\.policy: .*'coolst'"),
        (
            {"speed": {"jobs": "memory-bound"}},
            r"levers\.speed: speed needs energy-twin, which polaris lacks; set twins",
        ),
        (
            {"speed": {"when": {"hours_utc": [5.0, 5.0]}}},
            r"levers\.speed\.when: hours_utc should be two different hours",
        ),
        ({"sleepidle": 5}, r"levers\.sleepidle: no such key\. Did you mean 'sleep_idle'\?"),
    ],
)
def test_what_cannot_be_is_refused_with_the_lever_and_what_would_be_right(levers, said):
    with pytest.raises(InputError, match=said):
        hpcsim.simulate("polaris", {"jobs": 5, "levers": levers})


def test_levers_without_a_machine_or_against_its_torus_are_refused():
    with pytest.raises(InputError, match=r"sleep_idle needs sleep, which polaris lacks; set machine.model and physics"):
        hpcsim.simulate("polaris", {"jobs": 5, "physics": None, "levers.sleep_idle": "auto"})
    with pytest.raises(InputError, match=r"levers.placement: with physics.placement torus jobs start in blocks"):
        hpcsim.simulate("mira", {"jobs": 5, "physics.placement": "torus", "levers.placement": "spread"})


def test_every_short_form_means_its_mapping():
    short = {"sleep_idle": "15m", "speed": 0.8, "placement": "coolest"}
    whole = {"sleep_idle": {"after": 900}, "speed": {"factor": 0.8}, "placement": [{"policy": "coolest"}]}
    assert Levers.model_validate(short) == Levers.model_validate(whole)
    plugins = load_plugins()
    loaded = load_scenario("polaris", {"levers": short}, schedulers=plugins.schedulers, twins=plugins.twins)
    again = load_scenario(loaded.resolved(), schedulers=plugins.schedulers, twins=plugins.twins)
    assert again.scenario == loaded.scenario


def test_a_start_that_the_cap_holds_back_holds_back_those_behind_it():
    lever = PowerCap(rules.PowerCap(share=(IDLE_W + 0.25 * 60 * (POWER.cpu_dyn_w + POWER.gpu_dyn_w)) / FULL_W))
    jobs = workload((0, 1000, 40), (0, 1000, 40), (0, 100, 10))
    starts = [row["start_s"] for row in run(simulation(jobs, SCHEDULERS["easy"](), lever))]
    assert starts[0] == 0 < starts[1] == starts[2]


# -- cooling ---------------------------------------------------------------------------------------


def cooled(mode, *jobs, spec=COOLEY, until=None):
    sim = simulation(workload(*jobs), SCHEDULERS["easy"](), Cooling(mode), spec=spec, heat=True)
    if until is None:
        run(sim)
    else:
        sim.run(until)
    return sim


def test_the_plant_is_warm_while_nodes_stand_it_and_cold_while_they_do_not():
    """All nodes of Cooley, full for ten hours, with a throttle far off, just above the normal mode, and below all."""
    full = (600, 36_000, 126, 40_000)
    hot_c = {}
    for mode in ("normal", "warm"):
        sim = cooled(mode, full, until=30_000)
        assert sim.site.facility.cooling_mode == mode
        hot_c[mode] = float(np.sort(sim.site.cluster.heat.temperatures(30_000)[0])[-2])  # all but one of 126
    assert hot_c["warm"] == pytest.approx(hot_c["normal"] + 4.0, abs=0.1)
    gpu_c = float(np.sort(cooled("normal", full, until=30_000).site.cluster.heat.temperatures(30_000)[1])[-2])
    for spare_k, mode in ((5.0, "warm"), (2.0, "normal"), (-2.0, "cold"), (-20.0, "cold")):
        far_k = spare_k + 6.0  # so much that no node is slowed in the warm hours, which would cool all
        of_nodes = {"cpu_throttle_c": hot_c["normal"] + far_k, "node_shutdown_c": hot_c["normal"] + far_k + 50.0}
        of_gpus = {"gpu_throttle_c": gpu_c + far_k, "gpu_shutdown_c": gpu_c + far_k + 50.0}
        far_off = {"cpu_throttle_c": 200.0, "node_shutdown_c": 250.0, "gpu_throttle_c": 200.0, "gpu_shutdown_c": 250.0}
        for limits in (of_nodes, of_gpus):
            thermal = replace(COOLEY.thermal, margin_k=6.0, **(far_off | limits))
            sim = cooled("auto", full, spec=replace(COOLEY, thermal=thermal), until=30_000)
            assert sim.site.facility.cooling_mode == mode, limits
            sim.run()
            assert sim.is_over


def test_the_lever_has_the_plant_for_itself():
    class Cools(EASY):
        needs = frozenset({"power"})

        def schedule(self, view):
            yield SetCooling("cold")
            yield from super().schedule(view)

    jobs = workload(*[(k * 500, 3000, 20, 4000) for k in range(5)])
    for mode in ("warm", "auto"):
        sim = simulation(jobs, Cools(EASY.Options()), Cooling(mode), heat=True)
        sim.run()
        assert [mode for mode in sim.decided.objects("mode") if mode] == ["warm"]


def test_nodes_are_looked_at_every_quarter_of_an_hour_while_there_are_jobs():
    sim = cooled("auto", *[(k * 60, 7200, 1, 7200) for k in range(30)])  # a pass a minute, and then none but by holds
    holds = [t for t, kind in zip(sim.decided.column("time_s"), sim.decided.column("kind"), strict=True) if kind == 0]
    assert set(np.diff(holds)) == {900}
    assert holds[0] == 0
    assert sim.attempts.column("end").max() - 900 <= holds[-1] <= sim.attempts.column("end").max()


def test_a_warmer_plant_takes_less_energy_and_changes_no_start():
    jobs = [(k * 500, 3000, 20, 4000) for k in range(30)]
    runs = {mode: cooled(mode, *jobs) for mode in ("cold", "normal", "warm", "auto")}
    joules = {mode: energy_j(sim) for mode, sim in runs.items()}
    assert joules["cold"] > joules["normal"] > joules["warm"]
    assert joules["auto"] == pytest.approx(joules["warm"], rel=1e-3)
    starts = {mode: tuple(sim.attempts.column("start")) for mode, sim in runs.items()}
    assert len(set(starts.values())) == 1
