"""What the thermal twin knows of GPUs: their part of a node's power, R and tau from readings, answers in a run."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from hpcsim import replay
from hpcsim.engine.twins import Twins
from hpcsim.engine.view import View
from hpcsim.errors import InputError, TwinError
from hpcsim.machine import power
from hpcsim.machine.catalogue import load_machine
from hpcsim.machine.temperatures import Temperatures
from hpcsim.machine.thermal import Racks
from hpcsim.twins import gpu_heat, gpu_training, thermal_model, weights
from hpcsim.twins.gpu_evaluation import gpus_judged
from hpcsim.twins.thermal import TemperatureNow, ThermalRC
from hpcsim.twins.thermal_learner import GpuTruth, Seen, Truth, parts
from hpcsim.twins.thermal_model import published
from hpcsim.twins.thermal_training import Trained
from hpcsim.twins.thermal_windows import GpuTelemetry, Telemetry, Windows

POLARIS, COOLEY = load_machine("polaris"), load_machine("cooley")
WITH_GPUS = ("polaris", "cooley", "aurora")


# -- their part of the power --------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_GPUS)
def test_what_a_gpu_draws_follows_from_how_busy_its_node_is_at_any_clock(name):
    machine, rng = load_machine(name), np.random.default_rng(1)
    cpu_util, gpu_util, speed = rng.random(50), rng.random(50), rng.uniform(0.5, 1.0, 50)
    node_w = power.node_w(machine.power, cpu_util, gpu_util, speed)
    above_w = machine.power.gpu_dyn_w * gpu_util * speed**machine.power.speed_exponent
    wanted = machine.power.gpu_idle_w + above_w / machine.gpus_per_node
    share = gpu_heat.share(machine, cpu_util, gpu_util)
    np.testing.assert_allclose(gpu_heat.one_w(machine, node_w, share), wanted)


def test_where_nobody_knows_how_busy_it_is_a_gpu_draws_its_part_of_full_load_more_or_less():
    share = gpu_heat.share(POLARIS, np.zeros(3), np.zeros(3))
    assert np.isnan(share).all()
    spec = POLARIS.power
    node_w = np.array([spec.idle_w, spec.idle_w + spec.cpu_dyn_w + spec.gpu_dyn_w, 0.0])
    full_w = spec.gpu_idle_w + spec.gpu_dyn_w / 4
    assert gpu_heat.one_w(POLARIS, node_w, share) == pytest.approx([spec.gpu_idle_w, full_w, 0.0])
    rng = np.random.default_rng(2)
    cpu_w, gpu_w = spec.cpu_dyn_w * rng.random(400_000), spec.gpu_dyn_w * rng.random(400_000)
    for above_w in (100.0, 800.0, 1650.0):  # all that is possible is as likely
        alike = np.abs(cpu_w + gpu_w - above_w) < 5.0
        found = gpu_heat.unsure_w(POLARIS, np.array([spec.idle_w + above_w]))[0]
        assert found == pytest.approx(gpu_w[alike].std() / 4, rel=0.1)


# -- R and tau from readings --------------------------------------------------------------------


def drawn(windows=300, n=4, units=12, leads_s=(60, 120, 300), seed=3, noise=0.5):
    """Windows of GPUs by the equation of one, of units with R of their own; inlets, R and tau."""
    rng = np.random.default_rng(seed)
    r, tau_s, leads_s = 0.11 * np.exp(0.1 * np.random.default_rng(9).standard_normal(units)), 45.0, np.array(leads_s)
    unit = rng.integers(0, units // n, windows)[:, None] * n + np.arange(n)
    watts, begin_w = rng.uniform(60, 420, (2, windows, n))
    inlet_k = rng.uniform(0, 4, (windows, n))
    begin_k = inlet_k + r[unit] * begin_w
    left = np.exp(-leads_s / tau_s)
    later_k = inlet_k[..., None] + (r[unit] * watts)[..., None] * (1 - left) + (begin_k - inlet_k)[..., None] * left
    there = np.ones((windows, n), np.float32)
    there[unit == units - 1] = 0.0
    holds = (np.arange(leads_s.size) < rng.integers(0, leads_s.size + 1, (windows, n, 1))) & (there[..., None] > 0)
    begin_k, later_k = (each + noise * rng.standard_normal(each.shape) for each in (begin_k, later_k))
    some = Windows(np.arange(windows) * 60, unit, there, begin_k, watts, later_k, holds, leads_s)
    return some, inlet_k, r, tau_s


def test_resistances_and_the_time_constant_are_found_in_readings():
    some, inlet_k, r, tau_s = drawn()
    gpus = gpu_training.fit(some, inlet_k, r.size)
    off = np.abs(gpu_heat.k_per_w(gpus, gpus.factor) / r - 1)[:-1]
    assert off.max() < 0.02
    assert np.exp(gpus.ln_tau_s) == pytest.approx(tau_s, rel=0.05)
    assert (off < 4 * gpus.factor_deviation[:-1]).all()
    assert gpus.factor_deviation[-1] == pytest.approx(0.1)  # of which nothing was read
    check = drawn(seed=4)
    found = gpu_training.with_noise(gpus, check[0], check[1])
    assert found.noise_k == pytest.approx([0.52, 0.5, 0.5], abs=0.05)


def test_resistances_are_those_of_least_squares_with_errors_of_the_beginnings_as_unknowns():
    some, inlet_k, r, _ = drawn(windows=30)
    tau_s = 70.0
    sums = gpu_training._sums(some, inlet_k, r.size, tau_s)
    left = np.exp(-some.leads_s / tau_s)
    window, place = np.nonzero(some.holds.any(-1))
    rows, targets = [], []
    for number, (w, i) in enumerate(zip(window, place, strict=True)):
        for look in np.flatnonzero(some.holds[w, i]):
            row = np.zeros(r.size + window.size)
            row[some.units[w, i]] = some.watts[w, i] * (1 - left[look])
            row[r.size + number] = left[look]  # by how much the GPU was warmer than was read
            rows.append(row)
            lag_k = some.later_k[w, i, look] - inlet_k[w, i] - (some.above_k[w, i] - inlet_k[w, i]) * left[look]
            targets.append(lag_k)
        row = np.zeros(r.size + window.size)
        row[r.size + number] = 1.0
        rows.append(row)
        targets.append(0.0)
    seen = sums.ww > 0
    columns = np.append(np.flatnonzero(seen), r.size + np.arange(window.size))
    wanted, left_k2, *_ = np.linalg.lstsq(np.array(rows)[:, columns], np.array(targets))
    np.testing.assert_allclose(sums.wz[seen] / sums.ww[seen], wanted[: seen.sum()], rtol=1e-9)
    assert sums.zz - (sums.wz[seen] ** 2 / sums.ww[seen]).sum() == pytest.approx(left_k2[0], rel=1e-9)


def test_gpus_that_cool_down_when_they_draw_more_are_refused():
    some, inlet_k, r, _ = drawn(windows=40)
    with pytest.raises(InputError, match="GPUs should get warmer with what they draw"):
        gpu_training.fit(some._replace(later_k=-some.later_k, above_k=-some.above_k), inlet_k, r.size)


def watched(samples=900, every=150, units=12, n=4):
    """A machine that steps through loads, as sensors read it and as it is, and its racks."""
    machine, rng = replace(POLARIS, nodes=units, units_per_rack=n), np.random.default_rng(5)
    spec = machine.power
    racks = Racks(machine.thermal, units, n, rng)
    heat = Temperatures(racks, now=0, supply_c=20.0, node_w=spec.idle_w, gpu_w=spec.gpu_idle_w)
    was = [(spec.idle_w, spec.gpu_idle_w)] * units
    exact = {name: np.empty((samples, units)) for name in ("node_c", "gpu_c", "node_w", "cpu_util", "gpu_util")}
    kept = np.ones((samples, units), bool)
    for sample in range(samples):
        if sample:
            exact["cpu_util"][sample], exact["gpu_util"][sample] = (
                exact["cpu_util"][sample - 1],
                exact["gpu_util"][sample - 1],
            )
        for unit in range(units):
            if sample and rng.random() > 1 / every:
                continue
            kept[sample, unit] = False
            exact["cpu_util"][sample, unit], exact["gpu_util"][sample, unit] = busy = rng.random(2)
            node_w = power.node_w(spec, *busy)
            gpu_w = spec.gpu_idle_w + spec.gpu_dyn_w * busy[1] / 4
            heat.set_power(60 * sample, np.array([unit]), node_w, gpu_w, *was[unit])
            was[unit] = node_w, gpu_w
        heat.advance(60 * sample)
        exact["node_c"][sample], exact["gpu_c"][sample] = heat.node_c_N, heat.gpu_c_N
        exact["node_w"][sample] = [node_w for node_w, _ in was]
    noise = {"node_c": 0.5, "gpu_c": 0.5, "node_w": 15.0, "cpu_util": 0.02, "gpu_util": 0.02}
    read = {
        name: (each + noise[name] * rng.standard_normal(each.shape)).astype(np.float32) for name, each in exact.items()
    }
    read = {name: np.clip(each, 0, 1) if "util" in name else each for name, each in read.items()}
    gpus = GpuTelemetry(read["gpu_c"], read["cpu_util"], read["gpu_util"], machine)
    supply_c = np.full(samples, 20.0, np.float32)
    seen = Telemetry(60 * np.arange(samples), read["node_c"], read["node_w"], kept, supply_c, n, gpus)
    return machine, racks, seen, exact


def test_gpus_are_learned_from_sensors_and_judged_against_the_machine():
    machine, racks, seen, exact = watched()
    model = published(machine)
    factor = np.log(racks.r_N / machine.thermal.node_k_per_w).astype(np.float32)
    trained = Trained({**model.p, "factor": factor}, model.center.tolist(), model.scale.tolist(), [], 0, True)
    truth_of_gpus = GpuTruth(
        exact["gpu_c"],
        model.gpus._replace(factor=np.log(racks.gpu_r_N / machine.thermal.gpu_k_per_w)),
        lambda some: (some.watts * some.there) @ racks.inlet_k_per_w.T,
    )
    truth = Truth(exact["node_c"], racks.r_N, machine.thermal.node_j_per_k, lambda some: None, truth_of_gpus)
    seen = Seen(seen, truth)
    found = parts(seen)
    judged = gpus_judged(seen, found, found.test.holds[..., -1], [trained], [1])
    assert "R within 10 % of the truth for 100.0 % of them" in judged.of
    soon_k, late_k = ({name: each.mean[column] for name, each in judged.compared.items()} for column in (0, 1))
    for error_k in (soon_k, late_k):
        assert error_k["true equations"] - 0.02 < error_k["thermal-rc, GPUs"] < error_k["true equations"] + 0.15
        assert error_k["thermal-rc, GPUs"] < 0.4
        assert error_k["the catalogue's share"] > 3 * error_k["thermal-rc, GPUs"]
    assert late_k["as warm as now"] > late_k["thermal-rc, GPUs"]


# -- in a run -----------------------------------------------------------------------------------


def planned_c(heat, units, node_w, gpu_w, after_s):
    """The true temperature of a GPU of each of ``units`` in so many seconds, if its node alone drew other watts."""
    found = []
    for unit in units:
        ahead = copy.deepcopy(heat._now)
        ahead.set_power(ahead.now, np.array([unit]), node_w, gpu_w, *heat.power_w(unit))
        ahead.advance(ahead.now + after_s)
        found.append(ahead.gpu_c_N[unit])
    return np.array(found)


@pytest.mark.parametrize(("seed", "steps", "most_k"), [(1, 3, 0.3), (7, 100, 0.5)])
def test_gpus_are_foretold_under_a_planned_power(seed, steps, most_k):
    """Of the nodes of the weights at once, of others after some hours of readings."""
    simulation = replay.begin("cooley", {"seed": seed, "jobs": 400, "twins.thermal": "thermal-rc"})
    heat, begin, units = simulation.site.cluster.heat, simulation.now, np.arange(126)
    for step in range(1, steps + 1):
        simulation.run(begin + 300 * step + 30)
        twins = View(simulation).twins
        drawn_w = np.array([heat.power_w(unit) for unit in units])
        twins.thermal(units, drawn_w[:, 0], 300)  # whoever asks about nodes, GPUs are learned of
    assert "gpu_thermal" in twins
    some = units[::6]
    for after_s in (300, 5400):
        for node_w, gpu_w in ((580.0, 140.0), (350.0, 60.0)):
            found = twins.gpu_thermal(some, node_w, after_s, gpu_w)
            error = np.abs(found.mean - planned_c(heat, some, node_w, gpu_w, after_s))
            assert error.mean() < most_k
        same = twins.gpu_thermal(units, drawn_w[:, 0], after_s)  # as busy as sensors say
        told = twins.gpu_thermal(units, drawn_w[:, 0], after_s, drawn_w[:, 1])
        assert np.abs(same.mean - told.mean).mean() < 0.7
    report = simulation.twins["thermal"].report()
    assert report["gpu_mae_k"] < 1.0
    assert {"foretold", "mae_k", "held_90", "stretch"} == {name.removeprefix("gpu_") for name in report}


def test_a_plan_of_which_nobody_says_what_the_gpus_draw_is_less_sure_on_an_idle_node():
    simulation = replay.begin("cooley", {"jobs": 5, "twins.thermal": "thermal-rc"})
    twins = View(simulation).twins
    nobody, said = twins.gpu_thermal([0, 1], 500, 600), twins.gpu_thermal([0, 1], 500, 600, [140.0, np.nan])
    assert (nobody.epistemic > 3 * said.epistemic[0]).all()
    assert [float(part[1]) for part in said] == [float(part[1]) for part in nobody]
    stays = TemperatureNow().gpu_thermal(np.arange(2), np.zeros(2), np.zeros(2), 300, View(simulation))
    assert np.array_equal(stays.mean, View(simulation).gpu_c[:2])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (([0], 400, 60, 500), "gpu_watts should be a part of their node's watts, found 500 W of 400 W"),
        (([0], 400, 60, -1), "found -1 W of 400 W"),
        (([0], 400, 0), "view.twins.gpu_thermal: the horizon should be a whole second"),
        (([0, 1], 400, 60, [1, 2, 3]), "gpu_watts should be one number or 2 of them"),
    ],
)
def test_a_question_that_is_not_well_put_is_refused(asked, said):
    twins = Twins({"thermal": ThermalRC()}, SimpleNamespace(machine=COOLEY))
    with pytest.raises(ValueError, match=said):
        twins.gpu_thermal(*asked)


@pytest.mark.parametrize(("machine", "name"), [(load_machine("mira"), "Mira"), (None, "only counts nodes")])
def test_gpus_of_a_machine_without_are_asked_about_in_vain(machine, name):
    twins = Twins({"thermal": ThermalRC()}, SimpleNamespace(machine=machine))
    assert "gpu_thermal" not in twins
    with pytest.raises(
        InputError, match=f"nothing is known of GPUs of .*{name}.*; ask view.twins.thermal of its nodes"
    ):
        twins.gpu_thermal([0], 80, 60)
    with pytest.raises(InputError, match=r"set twins\.thermal"):
        Twins({}, SimpleNamespace(machine=COOLEY)).gpu_thermal([0], 400, 60)


def test_weights_without_gpus_say_so(monkeypatch):
    twin = ThermalRC()
    monkeypatch.setattr(twin, "_model", published(COOLEY)._replace(gpus=None))
    view = SimpleNamespace(machine=COOLEY, now=5, power=SimpleNamespace(supply_c=20.0), node_c=np.full(126, 40.0))
    with pytest.raises(TwinError, match=r"t=5: .*the weights of this machine: tell nothing of GPUs; train them again"):
        Twins({"thermal": twin}, view).gpu_thermal([0], 400, 60)


@pytest.mark.parametrize("name", WITH_GPUS)
def test_shipped_weights_know_the_gpus_of_their_machine(name):
    machine = load_machine(name)
    gpus = thermal_model.read(thermal_model.TRAINED / f"{name}.thermal.json", machine.units).gpus
    assert np.exp(gpus.ln_k_per_w + np.median(gpus.factor)) == pytest.approx(machine.thermal.gpu_k_per_w, rel=0.1)
    if name != "aurora":  # which is read every three minutes: a time constant of seconds cannot be seen
        assert np.exp(gpus.ln_tau_s) == pytest.approx(machine.thermal.gpu_tau_s, rel=0.05)


def test_a_file_whose_gpus_are_damaged_is_refused(tmp_path):
    path = thermal_model.TRAINED / "cooley.thermal.json"
    tensors, about = weights.load(
        path, thermal_model.KIND, thermal_model.shapes(126, 8, gpus=True), thermal_model.FEATURES
    )
    about = {name: each for name, each in about.items() if name != "sha256"}
    wrong = {**tensors, "gpu_noise_k": -tensors["gpu_noise_k"]}
    with pytest.raises(InputError, match="gpu_noise_k should be 0 or more"):
        thermal_model.read(weights.save(tmp_path, "negative.thermal", wrong, about), 126)
    fewer = {name: each for name, each in tensors.items() if name != "gpu_factor"}
    with pytest.raises(InputError, match=r"the tensors should be .*gpu_factor"):
        thermal_model.read(weights.save(tmp_path, "fewer.thermal", fewer, about), 126)
    assert published(replace(POLARIS, thermal=replace(POLARIS.thermal, gpu_k_per_w=None))).gpus is None
