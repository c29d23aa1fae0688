"""Telemetry: exact where it says so, noisy where it says so, bounded in memory, and never felt by what is watched."""

from __future__ import annotations

import copy
import gc
import re
import tempfile
import tracemalloc
from collections import Counter
from dataclasses import replace
from io import FileIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import blocks
from scipy.integrate import solve_ivp

import hpcsim
from hpcsim.engine.capabilities import CAPABILITIES
from hpcsim.engine.decisions import Kill, SetSpeed, Sleep, Start, Wake
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.site import Site
from hpcsim.errors import InputError, SchedulerError
from hpcsim.machine import telemetry as sensors
from hpcsim.machine.catalogue import load_machine
from hpcsim.machine.cluster import Cluster
from hpcsim.machine.facility import Facility
from hpcsim.machine.failures import SURGE_PER_H, FailureProcess
from hpcsim.machine.heat import Heat
from hpcsim.machine.readings import STATES
from hpcsim.machine.service import Outage
from hpcsim.machine.telemetry import BATCH_ROWS, DRIFT_K, Telemetry, WatchedHeat
from hpcsim.machine.thermal import recirculation_k_per_w
from hpcsim.results.energy import power_curve
from hpcsim.results.run import Run
from hpcsim.results.tables import attempts_table, interrupts_table
from hpcsim.results.telemetry import SCHEMA
from hpcsim.schedulers.backfilling import EASY
from hpcsim.streams import stream
from hpcsim.workload.behaviour import draw_behaviour
from hpcsim.workload.job import workload_from_columns

ROOT = Path(__file__).parents[1]
COOLEY = load_machine("cooley")
HOUR_S, DAY_S = 3600, 86_400
ON = {"machine.model": "polaris", "physics.heat": True}  # and all the rest by default
SAMPLED = ON | {"physics.telemetry.interval": "5m"}


def cooley(units=126, units_per_rack=21, **thermal):
    """A part of Cooley; units are nodes there."""
    return replace(
        COOLEY, nodes=units, racks=-(-units // units_per_rack), units_per_rack=units_per_rack,
        thermal=replace(COOLEY.thermal, **thermal),
    )  # fmt: skip


def workload(*jobs):
    """Jobs as (submit, runtime, nodes)."""
    submit, runtime, nodes = zip(*sorted(jobs), strict=True)
    return workload_from_columns(
        t0_utc=1_700_000_000, source="test", name=[f"j{i}" for i in range(len(jobs))], submit_s=submit,
        nodes=nodes, walltime_s=runtime, runtime_s=runtime,
    )  # fmt: skip


class Plan:
    name = "plan"
    api = 1
    needs = frozenset(CAPABILITIES)
    passes_when_idle = True

    def __init__(self, decide):
        self.decide = decide

    def schedule(self, view):
        yield from self.decide(view)


def first_come(view):
    room = view.room()
    for job in view.queue:
        if not room.take(job):
            return
        yield Start(job)


class Watched:
    """A simulation of ``jobs`` on ``spec`` that is sampled, and what was read."""

    def __init__(
        self, jobs, interval_s, *, spec=COOLEY, decide=None, heat=True, failures=False, units=None, noise=False,
        latency=0, start=0, cap_w=np.inf, **options,
    ):  # fmt: skip
        self.batches = []
        behaviour = draw_behaviour(jobs, 1)
        size = {"units": spec.units, "units_per_rack": spec.units_per_rack}
        cluster = Cluster(
            spec, behaviour, policy="packed", start=start,
            heat=WatchedHeat(
                spec.thermal, **size, now=start, supply_c=20.0, node_w=spec.power.idle_w,
                gpu_w=spec.power.gpu_idle_w, rng=stream(1, "r"),
            ) if heat else None,
            supply_c=supply_c,
            failures=FailureProcess(spec.failures, **size, seed=3, start=start) if failures else None,
            **options,
        )  # fmt: skip
        telemetry = Telemetry(
            cluster, behaviour, interval_s=interval_s, units=units, noise=noise, seed=1, start=start,
            take=self.batches.append,
        )  # fmt: skip
        site = Site(
            cluster, jobs, overrun="trace", requeues=True, checkpointing=None, telemetry=telemetry,
            facility=Facility(spec, jobs.t0_utc, cap_w=cap_w),
        )  # fmt: skip
        scheduler = EASY(EASY.Options()) if decide is None else Plan(decide)
        self.simulation = Simulation(jobs, scheduler, nodes=spec.nodes, start=start, site=site, launch_latency=latency)

    def run(self, until=None):
        self.simulation.run(until)
        self.simulation.site.telemetry.flush()
        return self

    @property
    def readings(self):
        """What was read, as a frame; states by name."""
        frames = [
            pd.DataFrame({name: values for name, values in batch._asdict().items() if values is not None})
            for batch in self.batches
        ]
        frame = pd.concat(frames, ignore_index=True)
        frame["state"] = np.array(STATES)[frame["state"]]
        return frame

    def of(self, column):
        """A column as samples by units."""
        return self.readings.pivot(index="time_s", columns="unit", values=column)


def supply_c(now):
    return 20.0 + now // 21_600 % 3


# -- the machine does not know that it is watched -------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"days": 4},
        {"days": 4, "physics.placement": "coolest"},
        {
            "days": 2,
            "physics.placement": "coolest",
            "scheduler": "conservative",
            "pass_interval": 30,
            "launch_latency": 45,
        },
        {"days": 2, "physics.cap_kw": 650.0, "until": "1d"},
    ],
    ids=["hot", "coolest", "passes at an interval", "capped, stopped"],
)
def test_a_run_that_is_watched_is_byte_for_byte_the_one_that_is_not(tmp_path, settings):
    plain = hpcsim.simulate("polaris", ON | settings, check=True)
    watched = hpcsim.simulate("polaris", ON | settings | {"physics.telemetry": {"interval": 97}}, check=True)
    for run, out in ((plain, "plain"), (watched, "watched")):
        run.write(tmp_path / out, plots=False)
    for name in ("jobs", "attempts", "timeline", "interrupts"):
        assert (tmp_path / "plain" / f"{name}.parquet").read_bytes() == (
            tmp_path / "watched" / f"{name}.parquet"
        ).read_bytes()
    assert plain.summary == watched.summary
    assert plain.timing["passes"] == watched.timing["passes"]
    assert plain.summary["hottest_node_c"] > 60.0  # the last bits of this show whether anybody asked


def test_watching_asks_for_no_pass_shifts_no_random_number_and_moves_no_bit_of_a_temperature():
    jobs = workload(*[(100 * i, 250 + 7 * i, 30) for i in range(12)])
    seen = []
    for interval_s in (1, 50, DAY_S):
        passes = []

        def decide(view, passes=passes):
            passes.append((view.now, view.rng.random()))
            yield from first_come(view)

        simulation = Watched(jobs, interval_s, decide=decide, failures=True).run().simulation
        temperatures_c = simulation.site.cluster.heat.temperatures(simulation.now)
        seen.append((passes, attempts_table(simulation).to_pylist(), [each.tolist() for each in temperatures_c]))
    assert seen[0] == seen[1] == seen[2]


def test_telemetry_keeps_no_simulation_going_and_begins_with_it():
    jobs = workload((1000, 500, 4), (1700, 10, 126))
    watched = Watched(jobs, 60, start=1000).run()
    assert watched.simulation.now == 1710
    assert watched.readings["time_s"].unique().tolist() == list(range(1000, 1710, 60))
    assert watched.simulation.is_over


def test_a_scheduler_that_leaves_jobs_waiting_is_still_found_out():
    with pytest.raises(SchedulerError, match="left jobs waiting"):
        Watched(workload((0, 10, 1), (5, 10, 1)), 3, decide=lambda view: []).run()


def test_running_in_pieces_samples_the_same():
    jobs = workload(*[(100 * i, 350, 40) for i in range(9)])
    whole = Watched(jobs, 60, noise=True, failures=True).run().readings
    pieces = Watched(jobs, 60, noise=True, failures=True)
    for second in (0, 59, 60, 61, 120, 400, 401):
        pieces.simulation.run(second)
    pd.testing.assert_frame_equal(pieces.run().readings, whole)


def test_a_fork_samples_nothing_and_disturbs_no_sample():
    jobs = workload(*[(100 * i, 350, 40) for i in range(9)])
    whole = Watched(jobs, 60, noise=True, failures=True).run()
    parent = Watched(jobs, 60, noise=True, failures=True)
    parent.simulation.run(500)
    fork = parent.simulation.fork()
    fork.run()
    assert fork.site.telemetry is None
    assert fork.site.cluster.heat.sensed == []
    assert not parent.batches
    parent.run()
    pd.testing.assert_frame_equal(parent.readings, whole.readings)
    assert attempts_table(fork) == attempts_table(parent.simulation)


# -- what a sample of a second shows --------------------------------------------------------------


def test_a_sample_shows_what_is_so_after_all_that_happens_in_its_second():
    # the first ends and the second begins at 200, both on the whole machine; then an outage of ten of its nodes
    jobs = workload((100, 100, 126), (150, 150, 126), (1000, 10, 1))
    outages = [Outage(400, 600, 10, "outage")]
    watched = Watched(jobs, 100, outages=outages).run()
    assert watched.of("state")[125].tolist() == ["idle", "busy", "busy", "busy", "down", "down", *["idle"] * 5]
    assert watched.of("job")[125].tolist() == [-1, 0, 1, 1, *[-1] * 7]
    assert watched.of("state")[0].tolist()[-2:] == ["idle", "busy"]  # submitted in the very second
    assert watched.of("state").loc[400].eq("down").sum() == 10


def test_a_job_is_on_its_units_from_the_second_in_which_it_got_them():
    watched = Watched(workload((0, 100, 3)), 10, latency=30).run()
    assert watched.simulation.attempts.start[0] == 30
    assert (watched.of("job")[0] == 0).all()
    assert len(watched.of("job")) == 13


def test_sleeping_units_look_asleep_and_cool_down():
    power = COOLEY.power

    def decide(view):
        if view.now == 0:
            yield Sleep(100)
        elif view.now == 5000:
            yield Wake(100)
        yield from first_come(view)

    jobs = workload((0, 4000, 1), (5000, 6000, 1))
    watched = Watched(jobs, 10, decide=decide, spec=cooley(recirculation=0.0, coupling_w_per_k=0.0)).run()
    state, node_w, node_c = (watched.of(column)[125] for column in ("state", "node_w", "node_c"))
    asleep = (state.index >= power.sleep_s) & (state.index < 5000)
    waking = (state.index < power.sleep_s) | ((state.index >= 5000) & (state.index < 5000 + power.wake_s))
    assert state[asleep].eq("asleep").all()
    assert state[waking].eq("waking").all()
    assert state[~asleep & ~waking].eq("idle").all()
    assert node_w[asleep].eq(power.sleep_w).all()
    assert node_w[~asleep].eq(power.idle_w).all()
    r = watched.simulation.site.cluster.heat.r_U[125]
    assert node_c[4990] == pytest.approx(20.0 + r * power.sleep_w, abs=0.1)
    assert node_c.iloc[-1] == pytest.approx(20.0 + r * power.idle_w, abs=0.1)


def test_a_sample_of_units_reads_the_same_of_them_and_another_seed_draws_others():
    settings = {"jobs": 300, "physics.telemetry.noise": False, "physics.failures": False}
    everything = hpcsim.simulate("polaris", SAMPLED | settings).telemetry
    some = hpcsim.simulate("polaris", SAMPLED | settings | {"physics.telemetry.units": 40}).telemetry
    others = hpcsim.simulate("polaris", SAMPLED | settings | {"physics.telemetry.units": 40, "seed": 2}).telemetry
    units = some["unit"].unique()
    assert units.size == 40
    assert np.all(np.diff(units) > 0)
    assert units.tolist() != others["unit"].unique().tolist()
    of_them = everything[everything["unit"].isin(units)].reset_index(drop=True)
    for table in (of_them, some):
        table["job_id"] = table["job_id"].astype(object)
    pd.testing.assert_frame_equal(of_them, some)


def test_what_a_machine_does_not_have_is_empty():
    mira = hpcsim.simulate("mira", {"machine.model": "mira", "physics.telemetry.interval": "1h", "jobs": 60}).telemetry
    assert mira["unit"].max() == 95  # units are midplanes, watts those of a node
    assert mira["node_w"].max() < 100.0
    assert mira[["gpu_c", "gpu_util"]].isna().all(axis=None)
    assert mira["node_c"].between(15.0, 60.0).all()
    off = {"physics.heat": False, "physics.failures": False}
    polaris = hpcsim.simulate("polaris", SAMPLED | off | {"jobs": 60}).telemetry
    assert polaris[["node_c", "gpu_c", "corrected_errors"]].isna().all(axis=None)
    assert polaris["gpu_util"].notna().all()


def test_jobs_and_utilisations_are_those_of_the_attempts_on_the_unit():
    run = hpcsim.simulate("polaris", SAMPLED | {"days": 1, "physics.telemetry.noise": False})
    telemetry = run.telemetry
    held = Counter()
    for attempt in run.attempts.itertuples():
        if attempt.end_s > attempt.start_s:
            times = [t for t in range(telemetry["time_s"].iloc[0], attempt.end_s, 300) if t >= attempt.start_s]
            for part in attempt.units.split(","):
                first, _, last = part.partition("-")
                for unit in range(int(first), int(last or first) + 1):
                    held.update((time, unit, attempt.job_id) for time in times)
    busy = telemetry[telemetry["state"] == "busy"]
    assert Counter(zip(busy["time_s"], busy["unit"], busy["job_id"], strict=True)) == held
    assert telemetry.loc[telemetry["state"] != "busy", "job_id"].isna().all()
    idle = telemetry[telemetry["state"] == "idle"]
    assert idle["node_w"].eq(490.0).all()
    assert idle[["cpu_util", "gpu_util"]].eq(0.0).all(axis=None)
    full_speed = 490.0 + 210.0 * busy["cpu_util"] + 1540.0 * busy["gpu_util"]
    assert (busy["node_w"] <= full_speed + 0.01).all()  # less where it throttles
    assert np.isclose(busy["node_w"], full_speed, atol=0.01).mean() > 0.95


# -- exactness ------------------------------------------------------------------------------------

jobs_of_a_day = st.lists(
    st.tuples(st.integers(0, 30_000), st.integers(1, 20_000), st.integers(1, 5)), min_size=1, max_size=8
)


class Solver:
    """The equations of the reference, integrated by a general solver from one change of power to the next."""

    def __init__(self, spec, heat):
        thermal, self.power = spec.thermal, spec.power
        n, units = spec.units_per_rack, spec.units
        self.r, self.gpu_r = heat.r_U, heat.gpu_r_U
        self.thermal = thermal
        racks = np.arange(units) // n
        place = np.arange(units) % n
        inlet = recirculation_k_per_w(thermal, n)
        self.inlet = np.where(racks[:, None] == racks, inlet[np.ix_(place, place)], 0.0)
        joined = (np.abs(np.subtract.outer(np.arange(units), np.arange(units))) == 1) & (racks[:, None] == racks)
        self.laplacian = np.diag(joined.sum(axis=1)) - joined.astype(float)

    def run(self, start, seconds, y, node_w, gpu_w, supply_c, at):
        """The state at the end, and temperatures at seconds ``at`` after the beginning."""
        units, thermal = self.r.size, self.thermal
        inlet_c = supply_c + self.inlet @ node_w

        def slope(_, y):
            node_c, lag_k = y[:units], y[units:]
            out_w = (node_c - inlet_c) / self.r + thermal.coupling_w_per_k * self.laplacian @ node_c
            return np.concatenate(
                [(node_w - out_w) / thermal.node_j_per_k, (self.gpu_r * gpu_w - lag_k) / thermal.gpu_tau_s]
            )

        found = solve_ivp(slope, (0.0, seconds), y, method="DOP853", rtol=1e-12, atol=1e-12, t_eval=[*at, seconds])
        node_c = {start + t: found.y[:units, i] for i, t in enumerate(at)}
        gpu_c = {start + t: inlet_c + found.y[units:, i] for i, t in enumerate(at)}
        return found.y[:, -1], node_c, gpu_c


@settings(deadline=None, max_examples=15)
@given(jobs_of_a_day, st.integers(1, 5), st.integers(61, 4000), st.floats(0.6, 1.0))
def test_temperatures_and_powers_are_those_of_a_general_solver(jobs, rack, interval_s, speed):
    spec = cooley(5, rack, coupling_w_per_k=3.0, recirculation=0.1, cpu_throttle_c=150.0, gpu_throttle_c=150.0)
    jobs = workload(*jobs)
    first_s = int(jobs.column("submit_s")[0])

    def decide(view):
        for index, running in enumerate(view.running.values()):
            if index % 2 and view.now % 2:
                yield SetSpeed(running.job, speed)
        for decision in first_come(view):
            yield Start(decision.job, "", 1.0 if decision.job.id % 3 else speed)

    watched = Watched(jobs, interval_s, spec=spec, decide=decide, start=first_s)
    heat, told = watched.simulation.site.cluster.heat, []
    heat.set_power = lambda now, units, node_w, gpu_w, *was: (
        told.append((now, units.copy(), node_w, gpu_w)), WatchedHeat.set_power(heat, now, units, node_w, gpu_w, *was)
    )  # fmt: skip
    watched.run()
    solver, end_s = Solver(spec, heat), watched.simulation.now
    node_w, gpu_w = np.full(5, spec.power.idle_w), np.full(5, spec.power.gpu_idle_w)
    inlet_c = 20.0 + solver.inlet @ node_w
    resting = np.diag(1.0 / solver.r) + spec.thermal.coupling_w_per_k * solver.laplacian
    y = np.concatenate([np.linalg.solve(resting, node_w + inlet_c / solver.r), solver.gpu_r * gpu_w])
    supplies = [(s, supply_c(s)) for s in range(0, end_s, 21_600) if s > first_s]
    cuts = sorted({first_s, end_s, *(now for now, *_ in told), *(s for s, _ in supplies)} - {end_s + 1})
    supply, node_c, gpu_c, drawn_w = 20.0, {}, {}, {}
    samples = watched.readings["time_s"].unique()
    for begin, end in pairwise(cuts):
        for _, units, node, gpu in [item for item in told if item[0] == begin]:
            node_w[units], gpu_w[units] = node, gpu
        supply = dict(supplies).get(begin, supply)
        at = [int(t - begin) for t in samples if begin <= t < end]
        y, nodes, gpus = solver.run(begin, end - begin, y, node_w, gpu_w, supply, at)
        node_c |= nodes
        gpu_c |= gpus
        drawn_w |= {begin + t: node_w.copy() for t in at}
    for column, expected, tolerance in (("node_c", node_c, 1e-6), ("gpu_c", gpu_c, 1e-6), ("node_w", drawn_w, 1e-3)):
        found = watched.of(column)
        assert found.index.tolist() == sorted(expected)
        assert np.abs(found.to_numpy() - np.array([expected[t] for t in found.index])).max() < tolerance


@settings(deadline=None, max_examples=12)
@given(
    st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 600), st.integers(1, 20)), min_size=1, max_size=8),
    st.booleans(),
)  # fmt: skip
def test_samples_of_every_second_add_up_to_the_energy_and_to_the_time_in_each_state(jobs, capped):
    def decide(view):
        if view.now in (500, 1300) and view.free_nodes > 5:
            yield Sleep(5)
        elif view.now == 1500 and view.asleep_nodes:
            yield Wake(view.asleep_nodes)  # without those that the outage took
        elif view.now % 5 == 0 and len(view.running) > 1:
            yield Kill(next(iter(view.running.values())).job)
        else:
            yield from first_come(view)

    jobs = workload(*jobs, (0, 1, 1), (500, 1, 1), (1300, 1, 1), (1500, 1, 1), (2500, 1, 1))
    cap_w = COOLEY.power.idle_w * 20 * 1.7 + COOLEY.power.fixed_w if capped else np.inf
    outages = [Outage(700, 1200, 7, "outage")]
    watched = Watched(jobs, 1, spec=cooley(20), decide=decide, heat=False, outages=outages, cap_w=cap_w).run()
    simulation, cluster = watched.simulation, watched.simulation.site.cluster
    cluster.meter.settle(simulation.now)
    counts = watched.readings["state"].value_counts()
    assert {state: counts.get(state, 0) for state in STATES} == cluster.meter.node_seconds
    curve = power_curve(simulation, simulation.site)
    fixed_j = COOLEY.power.fixed_w * (simulation.now - simulation.start)
    assert watched.readings["node_w"].sum() == pytest.approx(curve.joules(curve.it_w) - fixed_j, rel=1e-12)


def test_noise_has_the_spread_it_says_and_no_bias():
    settings = {"jobs": 150, "physics.failures": False, "physics.outages": False, "physics.maintenance": False}
    exact = hpcsim.simulate("polaris", SAMPLED | settings | {"physics.telemetry.noise": False}).telemetry
    noisy = hpcsim.simulate("polaris", SAMPLED | settings).telemetry
    for column, sigma, step in (
        ("node_c", sensors.TEMPERATURE_SIGMA_K, sensors.TEMPERATURE_STEP_K),
        ("gpu_c", sensors.TEMPERATURE_SIGMA_K, sensors.TEMPERATURE_STEP_K),
        ("node_w", sensors.POWER_SIGMA, sensors.POWER_STEP_W),
    ):
        error = (noisy[column] - exact[column]).to_numpy(np.float64)
        if column == "node_w":
            step_share = step / exact["node_w"].to_numpy(np.float64)
            error /= exact["node_w"]
        else:
            step_share = np.full(error.size, step)
        spread = np.sqrt(sigma**2 + np.mean(step_share**2) / 12.0)  # rounding is uniform within a step
        assert abs(error.mean()) < 5.0 * spread / np.sqrt(error.size)
        assert error.std() == pytest.approx(spread, rel=0.01)
        assert np.allclose(np.rint(noisy[column] / step), noisy[column] / step)
    inside = (exact["cpu_util"] > 0.1) & (exact["cpu_util"] < 0.9)  # else readings are cut off at 0 and 1
    error = (noisy["cpu_util"] - exact["cpu_util"])[inside]
    assert error.std() == pytest.approx(sensors.UTILISATION_SIGMA, rel=0.03)
    assert noisy["cpu_util"].between(0.0, 1.0).all()
    resting = noisy["state"] != "busy"
    assert noisy.loc[resting, ["cpu_util", "gpu_util"]].eq(0.0).all(axis=None)
    pd.testing.assert_frame_equal(noisy[["time_s", "unit", "state"]], exact[["time_s", "unit", "state"]])


# -- signs of faults to come ----------------------------------------------------------------------


class Expecting:
    """A generator whose Poisson numbers are their expectations."""

    def poisson(self, expected):
        return expected


def failing(days, interval_s, mean_gap_h=12.0):
    """126 nodes that fail often, one small job for so many days, sampled without noise."""
    spec = replace(COOLEY, failures=replace(COOLEY.failures, mean_gap_h=mean_gap_h))
    return Watched(workload((0, days * DAY_S, 1)), interval_s, spec=spec, heat=False, failures=True).run(days * DAY_S)


@pytest.mark.parametrize("interval_s", [300, 7001, DAY_S])
def test_corrected_errors_add_up_to_what_the_process_expects(interval_s):
    days = 60
    watched = failing(days, interval_s)
    failures = replace(COOLEY.failures, mean_gap_h=12.0)
    process = FailureProcess(failures, units=126, units_per_rack=21, seed=3, start=0)
    expected, begin, last_s = np.zeros(126), 0, int(watched.readings["time_s"].max())
    while begin < last_s:  # from one candidate to the next, so that no sampling is involved
        while process.next_time <= begin:
            process.take(None)
        end = min(last_s, process.next_time)
        expected += process.corrected_errors(np.arange(126), begin, end, Expecting())
        begin = end
    found = watched.readings.groupby("unit")["corrected_errors"].sum().to_numpy()
    assert expected.sum() > 5000
    assert abs(found.sum() - expected.sum()) < 4.0 * np.sqrt(expected.sum())
    assert np.all(np.abs(found - expected) < 5.0 * np.sqrt(expected) + 5.0)
    assert (watched.readings.query("time_s == 0")["corrected_errors"] == 0).all()


def test_errors_surge_before_a_warned_failure_and_not_before_one_that_is_not():
    watched = failing(250, 900)
    counts = watched.of("corrected_errors")
    usual = counts.mean(axis=0)  # of each unit, with its own surges
    surges = {True: [0.0, 0.0, 0.0], False: [0.0, 0.0, 0.0]}  # warned: errors seen, usual ones, those to come on top
    interrupts = watched.simulation.site.cluster.service.interrupts
    for failure in interrupts:
        warned = failure.precursor_s > 0
        window_s = failure.precursor_s if warned else 6 * HOUR_S
        if failure.units.size > 1 or failure.time_s < window_s:
            continue
        unit, until = failure.units[0], failure.time_s
        seen = counts.loc[until - window_s + 900 : until, unit]  # wholly within it
        surges[warned][0] += seen.sum()
        surges[warned][1] += usual[unit] * len(seen)
        shown_s = seen.index.max() - (until - window_s) if len(seen) else 0
        if warned:
            surges[warned][2] += SURGE_PER_H / HOUR_S * shown_s**2 / (2 * window_s)
    seen, base, surge = surges[True]
    assert surge > 1000
    assert seen > 3.0 * base
    assert abs(seen - base - surge) < 4.0 * np.sqrt(seen) + base
    seen, base, _ = surges[False]
    assert seen < 2.0 * base + 4.0 * np.sqrt(base)


def test_the_temperature_of_a_node_drifts_away_before_a_fault_that_is_announced():
    spec = replace(COOLEY, failures=replace(COOLEY.failures, mean_gap_h=12.0))
    jobs = workload((0, 1, 1), (20 * DAY_S, 1, 1))  # idle in between, so that nothing but signs makes a difference
    failing, sound = (Watched(jobs, 600, spec=spec, failures=failures).run() for failures in (True, False))
    drift_k = failing.of("node_c") - sound.of("node_c")
    interrupts = failing.simulation.site.cluster.service.interrupts
    warned = [each for each in interrupts if each.units.size == 1 and 1200 < each.precursor_s < each.time_s]
    assert len(warned) > 5
    for each in warned:
        before = drift_k.loc[each.time_s - each.precursor_s : each.time_s - 1, each.units[0]]
        grown = DRIFT_K * (before.index - (each.time_s - each.precursor_s)) / each.precursor_s
        assert np.all(before >= grown - 1e-9)  # more only where the precursor of another fault is stronger
        assert np.isclose(before, grown).mean() > 0.5
    assert drift_k.min(axis=None) > -1e-9
    assert drift_k.max(axis=None) < DRIFT_K


# -- the files ------------------------------------------------------------------------------------


def test_no_more_rows_are_held_than_a_batch_has():
    sizes = []
    watched = Watched(workload((0, 3 * DAY_S, 1)), 30, heat=True, failures=True, noise=True)
    telemetry = watched.simulation.site.telemetry
    telemetry.take = lambda readings: sizes.append(readings.unit.size)
    tracemalloc.start()
    watched.run()
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    rows = 126 * 3 * DAY_S // 30
    assert sum(sizes) == rows > 1_000_000
    assert max(sizes) <= BATCH_ROWS
    assert max(sizes) > BATCH_ROWS - 126
    assert peak_bytes < 25e6 < rows * 81  # bytes of a row as it is read


def test_a_sample_larger_than_a_batch_is_given_away_at_once(monkeypatch):
    monkeypatch.setattr(sensors, "BATCH_ROWS", 100)
    watched = Watched(workload((0, 600, 1)), 60)
    watched.simulation.run()
    assert [batch.unit.size for batch in watched.batches] == [126] * 10


def test_a_run_with_telemetry_writes_it_and_opens_again(tmp_path):
    settings = SAMPLED | {"jobs": 80}
    run = hpcsim.simulate("polaris", settings)
    directory = run.write(tmp_path / "one", plots=False)
    table = pq.read_table(directory / "telemetry.parquet")
    assert table.schema.equals(SCHEMA)
    assert table.num_rows == len(run.telemetry) > 2 * BATCH_ROWS
    assert pq.read_metadata(directory / "telemetry.parquet").num_row_groups == -(-table.num_rows // BATCH_ROWS)
    again = Run.open(directory)
    assert again.telemetry_file.table() == run.telemetry_file.table()
    pd.testing.assert_frame_equal(again.interrupts, run.interrupts)
    assert table.nbytes > 4 * (directory / "telemetry.parquet").stat().st_size
    for seed, same in ((1, True), (2, False)):
        other = hpcsim.simulate("polaris", settings | {"seed": seed}).write(tmp_path / f"seed-{seed}", plots=False)
        assert (other / "telemetry.parquet").read_bytes() == (directory / "telemetry.parquet").read_bytes() or not same
    # what was opened can be written elsewhere, also when it is gone
    (directory / "telemetry.parquet").unlink()
    copied = again.write(tmp_path / "copy", plots=False)
    assert Run.open(copied).telemetry_file.table() == table


def test_a_broken_file_of_telemetry_is_no_complete_run(tmp_path):
    directory = hpcsim.simulate("polaris", SAMPLED | {"jobs": 5}).write(tmp_path / "out", plots=False)
    whole = (directory / "telemetry.parquet").read_bytes()
    (directory / "telemetry.parquet").write_bytes(whole[:-100])
    with pytest.raises(InputError, match="not a complete run directory"):
        Run.open(directory)


def test_a_run_without_telemetry_has_none_and_loads_nothing_for_it(tmp_path):
    run = hpcsim.simulate("polaris", {"jobs": 20, "physics": None})
    with pytest.raises(AttributeError, match=r"set physics\.telemetry"):
        _ = run.telemetry
    with pytest.raises(AttributeError, match="no interrupts"):
        _ = run.interrupts
    written = {file.name for file in run.write(tmp_path / "out", plots=False).iterdir()}
    assert not written & {"telemetry.parquet", "interrupts.parquet", "power.parquet"}


def test_a_run_that_is_not_written_leaves_no_file_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run = hpcsim.simulate("polaris", SAMPLED | {"jobs": 50})
    assert len(run.telemetry) > 0
    with pytest.raises(SchedulerError):
        hpcsim.simulate("polaris", SAMPLED | {"jobs": 50, "scheduler": "broken"}, plugins=[_broken(tmp_path)])
    del run
    gc.collect()
    assert [file.name for file in tmp_path.iterdir()] == ["broken.py"]


def _broken(folder):
    file = folder / "broken.py"
    file.write_text(
        "from hpcsim.plugin import hookimpl\n\n\n"
        "class Broken:\n    name = 'broken'\n    api = 1\n\n"
        "    def schedule(self, view):\n        raise RuntimeError('no')\n\n\n"
        "@hookimpl\ndef hpcsim_schedulers(register):\n    register(Broken)\n"
    )
    return file


def test_a_full_disk_is_said_in_the_users_words(monkeypatch):
    monkeypatch.setattr("hpcsim.results.telemetry.TemporaryFile", lambda **_: FileIO("/dev/full", "wb"))
    with pytest.raises(InputError, match=r"physics\.telemetry: cannot be kept in .*: No space left.*TMPDIR"):
        hpcsim.simulate("polaris", SAMPLED | {"jobs": 50})
    gc.collect()


@pytest.mark.parametrize(
    ("telemetry", "complaint"),
    [
        (
            "{interval: 0}",
            r":4:33: physics\.telemetry\.interval: Input should be at least 1 s and at most 1d \(got 0\)",
        ),
        ("{interval: 25h}", "at least 1 s and at most 1d"),
        ("{interval: 1m, units: 0}", r"physics\.telemetry\.units: Input should be greater than or equal to 1"),
        ("{units: 561}", r":4:30: physics\.telemetry\.units: found 561, but Polaris has 560 units"),
        ("{every: 5m}", r"physics\.telemetry\.every: no such key"),
    ],
)
def test_telemetry_that_cannot_be_is_refused_with_its_place(tmp_path, telemetry, complaint):
    file = tmp_path / "s.yaml"
    file.write_text(f"base: polaris\nmachine: {{model: polaris}}\njobs: 5\nphysics: {{telemetry: {telemetry}}}\n")
    with pytest.raises(InputError, match=complaint):
        hpcsim.simulate(file)


# -- interrupts -----------------------------------------------------------------------------------


def test_interrupts_say_which_units_went_when_and_why():
    jobs = workload((0, 1000, 100), (0, 100, 2), (2000, 10, 1))
    outages = [Outage(400, 600, 30, "outage"), Outage(1500, 1600, 126, "maintenance")]
    simulation = Watched(jobs, 60, outages=outages).run().simulation
    assert interrupts_table(simulation.site).to_pylist() == [
        {
            "time_s": 400, "until_s": 600, "cause": "outage", "units": "96-125", "nodes": 30, "jobs": 1,
            "precursor_s": 0, "slept_nodes": 0,
        },
        {
            "time_s": 1500, "until_s": 1600, "cause": "maintenance", "units": "0-125", "nodes": 126, "jobs": 0,
            "precursor_s": 0, "slept_nodes": 0,
        },
    ]  # fmt: skip
    assert interrupts_table(Watched(workload((0, 1, 1)), 60).run().simulation.site).num_rows == 0


def test_units_are_down_from_the_second_of_an_interrupt_to_that_of_its_repair():
    run = hpcsim.simulate("polaris", SAMPLED | {"days": 10, "physics.telemetry.noise": False})
    assert len(run.interrupts) == run.summary["interrupts"] > 3
    telemetry = run.telemetry
    down = telemetry.loc[telemetry["state"] == "down", ["time_s", "unit"]]
    expected = set()
    times = telemetry["time_s"].unique()
    for each in run.interrupts.itertuples():
        for part in each.units.split(","):
            first, _, last = part.partition("-")
            for unit in range(int(first), int(last or first) + 1):
                expected |= {(time, unit) for time in times[(times >= each.time_s) & (times < each.until_s)]}
    assert set(down.itertuples(index=False, name=None)) == expected


# -- the documentation ----------------------------------------------------------------------------


def test_every_column_is_documented_and_no_other():
    text = (ROOT / "docs" / "telemetry.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert [re.findall(r"`(\w+)`", row.split("|")[1]) for row in rows] == [[name] for name in SCHEMA.names]
    assert "telemetry.md" in (ROOT / "README.md").read_text()
    assert "telemetry.md" in (ROOT / "docs" / "results.md").read_text()


def test_the_example_of_labels_works(tmp_path, monkeypatch):
    hpcsim.simulate("polaris", SAMPLED | {"days": 6}).write(tmp_path / "runs" / "polaris-easy-1", plots=False)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec("\n".join(blocks("docs/telemetry.md", "python")), names)
    labelled, interrupts = names["telemetry"], names["interrupts"]
    hardware = interrupts[interrupts["cause"] == "hardware"]
    assert len(hardware) > 0
    for each in hardware.itertuples():
        units = [int(part) for part in re.split("[-,]", each.units)][:1]
        label = labelled[labelled["unit"].isin(units)].set_index("time_s")["fails_within_6h"]
        assert label[(label.index > each.time_s - 6 * HOUR_S) & (label.index < each.time_s)].all()
    shares = labelled.groupby("fails_within_6h")["corrected_errors"].mean()
    assert shares[True] > shares[False]
    assert labelled["fails_within_6h"].mean() < 0.05


def test_what_is_sensed_is_what_a_heat_that_nobody_watches_says():
    options = {"units": 4, "units_per_rack": 2, "now": 0, "supply_c": 20.0, "node_w": 100.0, "gpu_w": 10.0}
    plain = Heat(COOLEY.thermal, **options, rng=stream(1, "r"))
    watched = WatchedHeat(COOLEY.thermal, **options, rng=stream(1, "r"))
    sensed = watched.watch()
    for heat in (plain, watched):
        heat.set_power(100, np.arange(2), 200.0, 50.0, 100.0, 10.0)
        heat.set_supply(200, 25.0)
    sensed.advance(300)
    sensed_c, sensed_gpu_c = sensed.node_c_N[:4], sensed.gpu_c_N[:4]
    assert np.array_equal(plain.temperatures(300)[0], sensed_c)
    assert np.array_equal(plain.temperatures(300)[1], sensed_gpu_c)
    twin = copy.deepcopy(watched)
    twin.set_power(400, np.arange(2), 300.0, 50.0, 200.0, 50.0)
    sensed.advance(500)
    assert sensed.node_c_N.max() < twin.temperatures(500)[0].max()
