"""Laws of the machine inside a simulation: nothing changes without cause, and every joule is booked once."""

import re
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hpcsim
from hpcsim.engine.capabilities import CAPABILITIES
from hpcsim.engine.decisions import Kill, SetCap, SetSpeed, Sleep, Start, Wake
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.site import Site
from hpcsim.errors import InvariantBroken, SchedulerError
from hpcsim.machine import catalogue
from hpcsim.machine.catalogue import load_machine
from hpcsim.machine.checkpoint import Checkpointing
from hpcsim.machine.cluster import Cluster
from hpcsim.machine.facility import Facility
from hpcsim.machine.failures import FailureProcess
from hpcsim.machine.heat import Heat
from hpcsim.machine.service import Effects, Outage
from hpcsim.results.check import check
from hpcsim.results.energy import ledger_j, power_curve
from hpcsim.results.frames import frame_of
from hpcsim.results.tables import attempts_table, jobs_table, timeline_table
from hpcsim.schedulers.backfilling import EASY, Conservative
from hpcsim.streams import stream
from hpcsim.workload.behaviour import draw_behaviour
from hpcsim.workload.job import workload_from_columns

COOLEY = load_machine("cooley")
OFF = dict.fromkeys(("variation", "heat", "failures", "outages", "maintenance", "queues"), False) | {"checkpoint": None}


def workload(*jobs):
    """Jobs as (submit, runtime, nodes, walltime)."""
    submit, runtime, nodes, walltime = zip(*jobs, strict=True)
    return workload_from_columns(
        t0_utc=1_700_000_000, source="test", name=[f"j{i}" for i in range(len(jobs))], submit_s=submit,
        nodes=nodes, walltime_s=walltime, runtime_s=runtime,
    )  # fmt: skip


def simulation(
    jobs, scheduler, *, spec=COOLEY, heat=False, failures=False, requeues=True, checkpointing=None, cap_w=np.inf,
    twins=MappingProxyType({}), **options,
):  # fmt: skip
    """The jobs on Cooley's 126 nodes."""
    facility = Facility(spec, jobs.t0_utc, cap_w=cap_w)
    cluster = Cluster(
        spec,
        draw_behaviour(jobs, 1),
        policy="packed",
        start=0,
        heat=Heat(
            spec.thermal, units=126, units_per_rack=21, now=0, supply_c=30.0, node_w=COOLEY.power.idle_w,
            gpu_w=COOLEY.power.gpu_idle_w, rng=stream(1, "r"),
        ) if heat else None,
        supply_c=facility.supply_c,
        failures=FailureProcess(COOLEY.failures, units=126, units_per_rack=21, seed=3, start=0) if failures else None,
        **options,
    )  # fmt: skip
    site = Site(cluster, jobs, overrun="trace", requeues=requeues, checkpointing=checkpointing, facility=facility)
    return Simulation(jobs, scheduler, nodes=126, site=site, twins=twins)


class Plan:
    name = "plan"
    api = 1
    needs = frozenset(CAPABILITIES)

    def __init__(self, decide, passes_when_idle=False):
        self.decide = decide
        self.passes_when_idle = passes_when_idle

    def schedule(self, view):
        yield from self.decide(view)


def easy():
    return EASY(EASY.Options())


def checked(simulation):
    """Run it, verify every law and that the ledger closes; its jobs and attempts."""
    simulation.run()
    made = jobs_table(simulation, np.ones(len(simulation.workload), bool)), attempts_table(simulation)
    check(simulation, *made, timeline_table(simulation))
    books_close(simulation)
    return [table.to_pylist() for table in made]


def books_close(simulation):
    site = simulation.site
    site.cluster.meter.settle(simulation.now)
    curve = power_curve(simulation, site)
    parts = ledger_j(simulation, site, curve)
    parts.pop("of_which_conversion")
    drawn = curve.joules(curve.facility_w)
    assert sum(parts.values()) == pytest.approx(drawn, rel=1e-9)
    span = simulation.now - simulation.start
    assert sum(site.cluster.meter.node_seconds.values()) == 126 * span


# -- nothing changes without cause ----------------------------------------------------------------


@pytest.mark.parametrize("scheduler", ["easy", "conservative"])
@pytest.mark.parametrize("machine", ["polaris", "theta"])
def test_a_machine_with_all_its_physics_off_keeps_the_schedule(machine, scheduler):
    settings = {"jobs": 1500, "scheduler": scheduler}
    counted = hpcsim.simulate(machine, settings | {"physics": None})
    placed = hpcsim.simulate(machine, settings | {"machine.model": machine, "physics": OFF}, check=True)
    columns = ["job_id", "start_s", "end_s", "state"]
    assert counted.jobs[columns].equals(placed.jobs[columns])
    assert placed.summary["energy_it_kwh"] > 0


@pytest.mark.parametrize("trace", ["sdsc5k", "syn-ties"])
def test_the_oracles_hold_on_a_machine_with_places_and_power(data, trace):
    path = str(data / "oracles" / f"{trace}.swf.gz")
    counted = hpcsim.simulate("bare", {"trace": path})
    nodes = counted.manifest["machine"]["nodes"]
    model = {"machine.model": "polaris", "machine.nodes": nodes, "physics": OFF}
    placed = hpcsim.simulate("bare", {"trace": path} | model, check=True)
    assert counted.jobs["start_s"].equals(placed.jobs["start_s"])


def polaris_with(folder, **values):
    """A machine file as that of Polaris but for some values."""
    text = (Path(catalogue.__file__).parent / "catalog" / "polaris.yaml").read_text("utf-8")
    for key, value in values.items():
        text, count = re.subn(rf"(\b{key}: {{value: )[^,]+", rf"\g<1>{value}", text)
        assert count == 1, key
    file = folder / f"polaris-{len(list(folder.iterdir()))}.yaml"
    file.write_text(text, "utf-8")
    return str(file)


@pytest.mark.parametrize("placement", ["packed", "spread", "coolest"])
@pytest.mark.parametrize("trace", ["sdsc5k", "syn-ties"])
def test_a_machine_that_never_gets_hot_keeps_the_schedule(data, tmp_path, trace, placement):
    path = str(data / "oracles" / f"{trace}.swf.gz")
    counted = hpcsim.simulate("bare", {"trace": path})
    nodes = counted.manifest["machine"]["nodes"]
    physics = OFF | {"heat": True, "placement": placement}

    def starts(**values):
        settings = {"trace": path, "machine.nodes": nodes, "machine.model": polaris_with(tmp_path, **values)}
        run = hpcsim.simulate("bare", settings | {"physics": physics}, check=True)
        return run.jobs["start_s"], run.summary

    cool, summary = starts(node_k_per_w=1e-9, gpu_k_per_w=1e-9)
    assert cool.equals(counted.jobs["start_s"])
    assert summary["throttled_node_hours"] == 0
    assert summary["hottest_node_c"] < 35  # as warm as what cools it
    hot, summary = starts(node_k_per_w=0.04)  # twice as hot as Polaris: the same test sees that
    assert not hot.equals(counted.jobs["start_s"])
    assert summary["throttled_node_hours"] > 0


@pytest.mark.parametrize("machine", ["polaris", "mira", "theta", "cooley", "aurora"])
def test_every_machine_runs_with_everything_on(machine):
    physics = {"checkpoint": {"cost": "3m"}, "queues": machine != "aurora"}
    run = hpcsim.simulate(machine, {"jobs": 800, "machine.model": machine, "physics": physics}, check=True)
    summary = run.summary
    assert set(run.jobs["state"]) <= {"completed", "failed", "timeout", "rejected"}
    assert summary["energy_facility_kwh"] / summary["energy_it_kwh"] == pytest.approx(summary["pue"])
    assert 1.03 < summary["pue"] < 1.6
    split = dict(summary["energy_split_kwh"])
    split.pop("of_which_conversion")
    assert sum(split.values()) == pytest.approx(summary["energy_facility_kwh"], rel=1e-9)
    attempts = run.attempts.groupby("job_id")["energy_j"].sum()
    ran = run.jobs[run.jobs["attempts"] > 0].set_index("job_id")
    assert np.allclose(ran["energy_j"], attempts[ran.index])


@pytest.mark.parametrize("policy", ["torus", "packed"])
def test_a_job_larger_than_any_block_is_rejected_and_holds_up_nobody(policy):
    spec = catalogue.build_spec(catalogue.machine_data("mira") | {"block_units": [1, 2, 4]})
    jobs = workload((0, 10, 8 * 512, 10), (1, 10, 4 * 512, 10), (2, 10, 49_153, 10))
    site = Site(
        Cluster(spec, draw_behaviour(jobs, 1), policy=policy, start=0), jobs, overrun="trace", requeues=True,
        checkpointing=None,
    )  # fmt: skip
    sim = Simulation(jobs, easy(), nodes=49_152, site=site)
    sim.run()
    assert sim.rejected == {0: "larger than any block", 2: "larger than the machine"}
    assert list(sim.attempts.start) == [1]


def test_physics_needs_a_machine():
    with pytest.raises(hpcsim.errors.InputError, match=r"physics: needs machine\.model"):
        hpcsim.simulate("polaris", {"jobs": 5, "machine.model": None})


def test_the_same_seed_gives_the_same_run_and_another_another():
    settings = {"jobs": 600, "machine.model": "polaris", "physics": {"heat": True}}
    one, two, other = (hpcsim.simulate("polaris", settings | {"seed": seed}) for seed in (1, 1, 2))
    assert one.tables["attempts"].equals(two.tables["attempts"])
    assert one.summary == two.summary
    assert one.summary != other.summary


# -- what decisions do ----------------------------------------------------------------------------


def test_half_speed_stretches_the_run_by_beta_and_saves_dynamic_power():
    jobs = workload((0, 1000, 4, 2000))
    full = checked(simulation(jobs, Plan(lambda view: [Start(*view.queue)])))[1][0]
    half = checked(simulation(jobs, Plan(lambda view: [Start(*view.queue, "", 0.5)])))[1][0]
    behaviour = draw_behaviour(jobs, 1)
    beta, cpu, gpu = (float(x[0]) for x in (behaviour.beta_J, behaviour.cpu_util_J, behaviour.gpu_util_J))
    assert half["end_s"] == np.ceil(1000 * (1 + beta))
    power = COOLEY.power
    dynamic = power.cpu_dyn_w * cpu + power.gpu_dyn_w * gpu
    assert full["energy_j"] == pytest.approx(4 * (power.idle_w + dynamic) * 1000, rel=1e-5)
    slow = dynamic * 0.5**power.speed_exponent
    assert half["energy_j"] == pytest.approx(4 * (power.idle_w + slow) * half["end_s"], rel=1e-5)


def test_a_slowed_job_never_times_out_if_its_walltime_stretches():
    jobs = workload((0, 1000, 4, 1000))
    for stretches, state in ((True, "completed"), (False, "timeout")):
        sim = simulation(jobs, Plan(lambda view: [Start(*view.queue, "", 0.5)]), limit_stretches=stretches)
        assert checked(sim)[0][0]["state"] == state


def test_changing_the_speed_midway_books_both_halves():
    jobs = workload((0, 1000, 1, 1000), (400, 1, 1, 1))

    def decide(view):
        yield from (Start(job) for job in view.queue)
        if view.now == 400:
            yield SetSpeed(view.running[0].job, 0.8)

    beta = float(draw_behaviour(jobs, 1).beta_J[0])
    end = checked(simulation(jobs, Plan(decide)))[0][0]["end_s"]
    assert end == np.ceil(400 + 600 * (1 + beta * (1 / 0.8 - 1)))


def test_a_cap_slows_all_jobs_alike_and_is_kept():
    jobs = workload(*[(i, 500, 20, 1000) for i in range(6)])
    free = simulation(jobs, easy())
    checked(free)
    curve = power_curve(free, free.site)
    cap = 0.4 * curve.facility_w.min() + 0.6 * curve.facility_w.max()
    capped = simulation(jobs, easy(), cap_w=cap)
    checked(capped)
    peak = power_curve(capped, capped.site).facility_w.max()
    assert 0.95 * cap < peak <= cap * (1 + 1e-12)
    assert capped.now > free.now


def test_sleeping_nodes_draw_less_and_come_back_only_when_woken():
    def decide(view):
        if view.now == 0:
            yield Sleep(100)
        elif view.now == 5000:
            yield Wake(100)
        room = view.room()
        yield from (Start(job) for job in view.queue if room.take(job))

    jobs = workload((0, 10, 1, 10), (5000, 10, 126, 10))
    sim = simulation(jobs, Plan(decide))
    assert checked(sim)[0][1]["start_s"] == 5000 + COOLEY.power.wake_s
    assert sim.site.cluster.meter.node_seconds["asleep"] == 100 * (5000 - COOLEY.power.sleep_s)


def test_a_node_that_was_repaired_early_wakes_like_any_other():
    failures = FailureProcess(COOLEY.failures, units=126, units_per_rack=21, seed=3, start=0)
    cluster = Cluster(COOLEY, draw_behaviour(workload((0, 1, 1, 1)), 1), policy="packed", start=0, failures=failures)
    usual_s = COOLEY.failures.repair_median_h * 3600
    interrupts = cluster.service.interrupts
    while not interrupts or interrupts[-1].until_s > interrupts[-1].time_s + usual_s / 2:
        cluster.happen(cluster.next_s)
    repaired_s = interrupts[-1].until_s
    while cluster.next_s <= repaired_s:
        cluster.happen(cluster.next_s)
    nodes = cluster.places.free_nodes
    cluster.service.sleep(nodes, repaired_s)
    cluster.happen(repaired_s + COOLEY.power.sleep_s)
    cluster.service.wake(nodes, repaired_s + COOLEY.power.sleep_s)
    cluster.happen(repaired_s + COOLEY.power.sleep_s + COOLEY.power.wake_s)
    assert cluster.places.free_nodes == nodes


def test_what_the_machine_cannot_do_voids_the_run():
    jobs = workload((0, 10, 1, 10))
    for decide, message in (
        (lambda view: [Sleep(1000)], "1000 nodes cannot go to sleep: 126 are free"),
        (lambda view: [Start(*view.queue, "", 0.0)], r"a speed of 0\.0 is none that Cooley has"),
        (lambda view: [Start(*view.queue, "", 1.5)], r"a speed of 1\.5 is none"),
        (lambda view: [Start(*view.queue, "", 1.0, (3, 4))], "started job j0, but"),
        (lambda view: [SetCap(-5.0)], r"a cap of -5\.0 W is none"),
    ):
        with pytest.raises(SchedulerError, match=rf"^t=0: scheduler plan .*{message}"):
            checked(simulation(jobs, Plan(decide)))
    for extra in (("", 0.5), ("", 1.0, (0,))):
        with pytest.raises(SchedulerError, match="only counts nodes"):
            Simulation(jobs, Plan(lambda view, extra=extra: [Start(*view.queue, *extra)]), nodes=4).run()
    counting = Simulation(jobs, Plan(lambda view: [SetCap(5.0)]), nodes=4)
    with pytest.raises(SchedulerError, match="only counts nodes"):
        counting.run()


# -- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("requeues", "states"), [(True, ["completed"]), (False, ["node_failed"])])
def test_an_outage_ends_the_jobs_on_its_nodes(requeues, states):
    jobs = workload((0, 1000, 126, 1000))
    outage = [Outage(400, 600, 126, "outage")]
    table, attempts = checked(simulation(jobs, easy(), outages=outage, requeues=requeues))
    assert [job["state"] for job in table] == states
    assert attempts[0]["end_s"] == 400
    assert attempts[0]["lost_node_s"] == 126 * 400
    if requeues:
        assert (attempts[1]["start_s"], attempts[1]["end_s"]) == (600, 1600)


@pytest.mark.parametrize("cause", ["outage", "maintenance"])
def test_an_outage_of_the_machine_takes_nodes_that_sleep_or_are_on_their_way(cause):
    power, begins, lasts = COOLEY.power, 3000, 600
    counts = {}

    def decide(view):
        counts[view.now] = view.free_nodes, view.asleep_nodes, view.down_nodes
        if view.now == 0:
            yield Sleep(60)
        elif view.now == begins - 2:
            yield Wake(25)
        elif view.now == begins - 1:
            yield Wake(5)
            yield Sleep(20)
        elif view.now == begins + 200:
            assert view.if_awake().dormant_nodes == 0
        room = view.room()
        yield from (Start(job) for job in view.queue if room.take(job))

    assert power.sleep_s > 1
    assert power.wake_s > 2
    short = [(0, 10, 1, 10), (begins - 2, 1, 1, 1), (begins - 1, 1, 1, 1)]
    jobs = workload(*short, (begins + 200, 50, 126, 50), (begins + lasts + 100, 5, 1, 5))
    sim = simulation(jobs, Plan(decide), outages=[Outage(begins, begins + lasts, 126, cause)])
    copy = None
    while sim.now < begins and sim.step() is not None:
        copy = sim.fork() if sim.now == begins - 1 else copy
    table, _ = checked(sim)
    assert counts[begins - 1] == (126 - 60, 60 - 25, 0)
    assert counts[begins + 200] == (0, 0, 126)
    assert table[3]["start_s"] == begins + lasts  # at once: they are awake by then
    assert [each.slept for each in sim.site.cluster.service.interrupts] == [60 - 25 - 5 + 20]
    assert frame_of(sim, "").asleep_nodes == 0
    assert counts[begins + lasts] == (126, 0, 0)
    spent = sim.site.cluster.meter.node_seconds
    assert spent["asleep"] == 60 * (begins - power.sleep_s) - 25 * 2 - 5 * 1
    assert spent["waking"] == 60 * power.sleep_s + 25 * 2 + 5 * 1 + 20 * 1
    assert checked(copy)[0] == table


def test_an_outage_of_some_nodes_leaves_the_others_asleep_or_on_their_way():
    power, begins = COOLEY.power, 3000
    counts = {}

    def decide(view):
        counts[view.now] = view.free_nodes, view.asleep_nodes, view.down_nodes
        if view.now == 0:
            yield Sleep(60)
        elif view.now == begins - 1:
            yield Wake(45)
        room = view.room()
        yield from (Start(job) for job in view.queue if room.take(job))

    # the last 60 sleep, of which the first 45 wake: of the last 10, which go down, all sleep; of the last 30 all but 15
    jobs = workload((0, 10, 1, 10), (begins - 1, 1, 1, 1), (begins + 50, 5, 90, 5), (begins + 2000, 5, 121, 5))
    for units, slept, waking in ((10, 10, 0), (30, 15, 15)):
        sim = simulation(jobs, Plan(decide), outages=[Outage(begins, begins + 1000, units, "recorded")])
        table, _ = checked(sim)
        assert sim.site.cluster.service.interrupts[0].slept == slept
        assert counts[begins + 50] == (126 - 60, 15 - slept, units)
        assert table[2]["start_s"] == begins - 1 + power.wake_s
        assert (
            sim.site.cluster.meter.node_seconds["waking"] == 60 * power.sleep_s + (45 - waking) * power.wake_s + waking
        )
        assert table[3]["start_s"] == begins + 2000  # what the outage took is awake, what it left asleep is not
        assert sim.site.sleeping_nodes == 15 - slept


def test_a_repair_that_ends_in_an_outage_of_the_machine_waits_for_its_end():
    outages = [Outage(50, 450, 40, "outage"), Outage(400, 1000, 126, "maintenance")]
    jobs = workload((0, 10, 1, 10), (420, 5, 30, 5))
    sim = simulation(jobs, easy(), outages=outages)
    assert checked(sim)[0][1]["start_s"] == 1000
    assert [(each.time_s, each.until_s, each.units.size) for each in sim.site.cluster.service.interrupts] == [
        (50, 1000, 40),
        (400, 1000, 86),
    ]


def test_nobody_runs_while_the_whole_machine_is_out_of_service():
    sim = simulation(workload((0, 100, 10, 100)), easy())
    checked(sim)
    sim.site.cluster.service.shut.append((40, 60))
    with pytest.raises(InvariantBroken, match=r"^t=40: the whole machine is out of service, and job j0 is on it"):
        checked(sim)


def test_what_is_in_repair_when_the_last_job_ends_is_so_until_then_and_no_longer():
    sim = simulation(workload((0, 100, 10, 100)), easy(), outages=[Outage(50, 150, 40, "outage")])
    sim.run(1000)
    sim.site.cluster.meter.settle(sim.now)
    assert sim.now == 100
    assert sim.site.cluster.meter.node_seconds["down"] == 40 * 50
    assert power_curve(sim, sim.site).end_s == 100


def test_a_job_that_two_outages_of_one_second_hit_fails_once():
    outages = [Outage(400, 600, 40, "outage"), Outage(400, 700, 40, "outage")]
    sim = simulation(workload((0, 1000, 126, 1000)), easy(), outages=outages)
    _, attempts = checked(sim)
    assert [(row["end_s"], row["state"]) for row in attempts] == [(400, "node_failed"), (1700, "completed")]
    assert [interrupt.jobs for interrupt in sim.site.cluster.service.interrupts] == [1, 0]


def test_a_checkpoint_keeps_what_it_saved():
    jobs = workload((0, 1000, 126, 5000))
    outage = [Outage(450, 600, 126, "outage")]
    saving = Checkpointing(interval_s=100, cost_s=10)
    _, attempts = checked(simulation(jobs, easy(), outages=outage, checkpointing=saving))
    assert attempts[0]["lost_node_s"] == 126 * 50  # 450 s less 4 * 100 s saved: 40 s of checkpoints, 10 s of work
    assert attempts[1]["end_s"] - attempts[1]["start_s"] == saving.elapsed_for(600)


@pytest.mark.parametrize("scheduler", [easy, lambda: Conservative(Conservative.Options())])
def test_no_job_is_started_that_would_reach_into_maintenance(scheduler):
    jobs = workload((0, 300, 10, 300), (0, 900, 10, 900), (10, 300, 10, 300))
    maintenance = [Outage(700, 800, 126, "maintenance")]
    table, _ = checked(simulation(jobs, scheduler(), outages=maintenance))
    assert [job["start_s"] for job in table] == [0, 800, 10]
    assert [job["attempts"] for job in table] == [1, 1, 1]


def test_a_job_that_loses_nodes_twice_in_one_second_ends_once():
    jobs = workload((0, 1000, 126, 1000))
    outages = [Outage(400, 600, 40, "recorded"), Outage(400, 700, 40, "recorded")]
    sim = simulation(jobs, easy(), outages=outages)
    attempts = checked(sim)[1]
    assert [(row["start_s"], row["end_s"], row["state"]) for row in attempts] == [
        (0, 400, "node_failed"), (700, 1700, "completed"),
    ]  # fmt: skip
    assert [interrupt.jobs for interrupt in sim.site.cluster.service.interrupts] == [1, 0]


def test_a_job_that_lost_a_node_has_no_other_pace_in_that_second():
    sim = simulation(workload((0, 1000, 126, 1000)), easy())
    sim.run(100)
    (execution,) = sim.site.cluster.executions.values()
    sim.site.follow(Effects(failed=[execution], retimed=[execution]))
    assert not sim.running
    assert list(sim.queue) == [0]


@pytest.mark.parametrize("wrong", ["shared", "missing"])
def test_the_check_sees_a_unit_that_two_jobs_hold_and_a_job_without_its_units(wrong, monkeypatch):
    sim = simulation(workload((0, 100, 2, 100), (5, 100, 2, 100)), easy())
    checked(sim)
    units = [*sim.site.units[:1], np.array([0, 3]) if wrong == "shared" else np.array([3])]
    monkeypatch.setattr(Site, "units", units)
    said = "t=5: unit 0 is held by the jobs j0 and j1" if wrong == "shared" else "job j1 has 1 units for 2 nodes"
    with pytest.raises(InvariantBroken, match=said):
        checked(sim)


# -- laws over generated workloads ----------------------------------------------------------------

rows = st.lists(
    st.tuples(st.integers(0, 200_000), st.integers(1, 90_000), st.integers(1, 126), st.integers(1, 90_000)),
    min_size=1, max_size=15,
)  # fmt: skip


class Drowsy(EASY):
    """EASY that sends half of what nobody needs to sleep, and wakes all when somebody waits."""

    needs = frozenset({"sleep"})
    passes_when_idle = True

    def schedule(self, view):
        starts = list(super().schedule(view))
        yield from starts
        free = view.free_nodes - sum(start.job.nodes for start in starts)
        if len(starts) < len(view.queue):
            if view.asleep_nodes:
                yield Wake(view.asleep_nodes)
        elif free > 30:
            yield Sleep(free // 2)


HOT = replace(COOLEY, thermal=replace(COOLEY.thermal, node_k_per_w=0.13))


@settings(deadline=None, max_examples=60)
@given(rows, st.booleans(), st.booleans(), st.sampled_from([None, 0.5, 0.9]), st.booleans(), st.booleans())
def test_the_books_close_whatever_happens(jobs, heat, failures, cap, checkpoints, drowsy):
    idle_w = COOLEY.power.idle_w * 126 + COOLEY.power.fixed_w
    sim = simulation(
        workload(*sorted(jobs)),
        Drowsy(EASY.Options()) if drowsy else easy(),
        spec=HOT,
        heat=heat,
        failures=failures,
        outages=[Outage(50_000, 60_000, 40, "outage"), Outage(150_000, 155_000, 126, "maintenance")],
        checkpointing=Checkpointing(1800, 60) if checkpoints else None,
        cap_w=np.inf if cap is None else 1.3 * idle_w * (1 + cap),
    )
    checked(sim)


@settings(deadline=None, max_examples=25)
@given(rows, st.integers(0, 250_000))
def test_a_fork_of_a_machine_goes_on_as_its_parent_does(jobs, at):
    def make():
        outages = [Outage(50_000, 60_000, 40, "outage")]
        return simulation(workload(*sorted(jobs)), easy(), heat=True, failures=True, outages=outages)

    parent = make()
    parent.run(at)
    fork = parent.fork()
    fork.run()
    parent.run()
    whole = make()
    whole.run()
    assert attempts_table(fork) == attempts_table(parent) == attempts_table(whole)


def test_killing_a_job_books_what_it_drew_as_lost():
    def decide(view):
        yield from (Start(job) for job in view.queue)
        if view.now == 100:
            yield Kill(view.running[0].job)

    jobs = workload((0, 1000, 10, 1000), (100, 10, 1, 10))
    sim = simulation(jobs, Plan(decide))
    _, attempts = checked(sim)
    curve = power_curve(sim, sim.site)
    assert ledger_j(sim, sim.site, curve)["lost"] == pytest.approx(attempts[0]["energy_j"])


class Told:
    """A twin that keeps what it is told."""

    name, api, answers = "told", 1, "performance"

    def __init__(self):
        self.ends = {}

    def ended(self, end):
        self.ends[end.job.id] = end


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 900), st.sampled_from([0.6, 0.9, 1.0]), st.sampled_from([0.5, 1.0]))
def test_a_twin_is_told_the_mean_speed_of_a_run(turns_at, first, then):
    def decide(view):
        yield from (SetSpeed(running.job, then) for running in view.running.values())
        yield from (Start(job, speed=first) for job in view.queue)

    told = Told()
    jobs = workload((0, 1000, 1, 1000), (turns_at, 10, 1, 10))
    sim = simulation(jobs, Plan(decide), twins={"performance": told})
    sim.run()
    (end, last), ran = (sim.attempts.end[:2], told.ends[0].runtime_s)
    assert ran == end
    assert told.ends[1].runtime_s == last - turns_at
    assert told.ends[0].speed == pytest.approx((first * turns_at + then * (ran - turns_at)) / ran)
    assert told.ends[1].speed == pytest.approx(first)
