"""The thermal twin: its equations and their derivative, windows of telemetry, training, files, answers in a run."""

import copy
import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from hpcsim import replay
from hpcsim.cli.twins import twins as command
from hpcsim.engine.view import View
from hpcsim.errors import InputError
from hpcsim.machine.catalogue import load_machine
from hpcsim.machine.readings import Readings
from hpcsim.machine.thermal import Racks as TrueRacks
from hpcsim.machine.thermal import temperature_c
from hpcsim.twins import (
    rack_heat,
    thermal_evaluation,
    thermal_figures,
    thermal_learner,
    thermal_model,
    thermal_training,
    thermal_windows,
    weights,
)
from hpcsim.twins.loop import Course, Plan
from hpcsim.twins.rack_heat import EQUATIONS, FEATURES, NETWORK, TIMES_S, Racks
from hpcsim.twins.thermal import ThermalRC
from hpcsim.twins.thermal_model import published
from hpcsim.twins.thermal_windows import Telemetry

torch = pytest.importorskip("torch")

POLARIS = load_machine("polaris")
TIMES = np.array([20.0, 120.0, 300.0, 900.0, 5400.0], np.float32)


# -- equations ----------------------------------------------------------------------------------


def drawn(racks=3, n=14, seed=1, missing=0):
    """Racks with temperatures, powers and factors at random, the last one short; and numbers of a network."""
    rng = np.random.default_rng(seed)
    there = np.ones((racks, n), np.float32)
    if missing:
        there[-1, -missing:] = 0.0
    numbers = (
        rng.uniform(5, 40, (racks, n)),
        rng.uniform(490, 2200, (racks, n)),
        0.1 * rng.standard_normal((racks, n)),
    )
    above_k, watts, factor = (each.astype(np.float32) for each in numbers)
    network = {name: (0.3 * rng.standard_normal(shape)).astype(np.float32) for name, shape in NETWORK.items()}
    return Racks(above_k, watts, factor, there), network


def spread_times(racks):
    return np.broadcast_to(TIMES, (len(racks.watts), TIMES.size))


def nothing(racks):
    return np.zeros((*racks.watts.shape, len(TIMES_S)), np.float32)


def alone(spec):
    return replace(spec, coupling_w_per_k=0.0, recirculation=0.0)


def test_a_node_alone_relaxes_as_the_machine_has_it():
    machine = replace(POLARIS, thermal=alone(POLARIS.thermal))
    p, (racks, _) = published(machine).p, drawn()
    found = rack_heat.course(np, p, racks, nothing(racks), spread_times(racks))
    for at in ((0, 0), (1, 7), (2, 13)):
        r = machine.thermal.node_k_per_w * np.exp(racks.factor[at])
        wanted = [
            temperature_c(racks.above_k[at], r * racks.watts[at], r * machine.thermal.node_j_per_k, t) for t in TIMES
        ]
        np.testing.assert_allclose(found.above_k[at], wanted, atol=2e-3)


@pytest.mark.parametrize("name", ["polaris", "mira", "theta", "cooley", "aurora"])
def test_racks_relax_as_the_machine_has_it(name):
    machine = load_machine(name)
    n = machine.units_per_rack
    rng = np.random.default_rng(2)
    truth = TrueRacks(machine.thermal, 2 * n, n, rng)
    factor = np.log(truth.r_N / machine.thermal.node_k_per_w).reshape(2, n)
    idle_w, most_w = machine.power.idle_w, machine.power.idle_w + machine.power.cpu_dyn_w + machine.power.gpu_dyn_w
    racks = Racks(rng.uniform(10, 40, (2, n)), rng.uniform(idle_w, most_w, (2, n)), factor, np.ones((2, n)))
    found = rack_heat.course(np, published(machine).p, racks, nothing(racks), spread_times(racks))
    modes = np.einsum("bku,bu->bk", truth.shapes, racks.above_k)
    steady = truth.steady(racks.watts, 0.0)
    for look, time_s in enumerate(TIMES):
        wanted = truth.node_c_N(steady + (modes - steady) * np.exp(-time_s * truth.rates)).reshape(2, n)
        np.testing.assert_allclose(found.above_k[..., look], wanted, atol=0.25)


def test_the_derivative_is_that_of_the_course_and_numpy_computes_what_torch_does():
    racks, network = drawn(missing=4)
    p = {**published(POLARIS).p, **network}
    center, scale = np.full(len(FEATURES), 0.5, np.float32), np.full(len(FEATURES), 30.0, np.float32)
    h = rack_heat.output(np, p, rack_heat.known(np, p, racks, center, scale), scale)
    found = rack_heat.course(np, p, racks, h, spread_times(racks))
    tensors = {name: torch.tensor(value) for name, value in p.items()}
    racks_t = Racks(*(torch.tensor(each) for each in racks[:4]))
    scale_t = torch.tensor(scale)
    last = rack_heat.known(torch, tensors, racks_t, torch.tensor(center), scale_t)
    h_t = rack_heat.output(torch, tensors, last, scale_t)

    times = torch.tensor(TIMES).repeat(len(racks.watts), 1).requires_grad_(True)
    found_t = rack_heat.course(torch, tensors, racks_t, h_t, times)
    np.testing.assert_allclose(found.above_k, found_t.above_k.detach(), rtol=1e-4, atol=1e-3)
    for place in range(racks.watts.shape[1]):  # of a node only its own times count
        (slope,) = torch.autograd.grad(found_t.above_k[:, place].sum(), times, retain_graph=True)
        np.testing.assert_allclose(found.slope[:, place], slope, rtol=2e-3, atol=1e-5)
    violated = rack_heat.imbalance_k(np, p, racks, found)
    violated_t = rack_heat.imbalance_k(torch, tensors, racks_t, found_t).detach()
    np.testing.assert_allclose(violated, violated_t, rtol=1e-2, atol=2e-2)
    assert (violated[-1, -4:] == 0).all()


def test_the_equations_are_kept_without_a_correction_and_violated_with_one():
    machine = replace(POLARIS, thermal=alone(POLARIS.thermal))
    p, (racks, _) = published(machine).p, drawn()
    kept = rack_heat.imbalance_k(np, p, racks, rack_heat.course(np, p, racks, nothing(racks), spread_times(racks)))
    assert np.abs(kept).max() < 0.05
    h = nothing(racks) + np.float32(2.0)
    violated = rack_heat.imbalance_k(np, p, racks, rack_heat.course(np, p, racks, h, spread_times(racks)))
    tau_s = np.exp(p["ln_j_per_k"] + p["ln_k_per_w"] + racks.factor)[..., None]
    gone = [np.exp(-TIMES / time_s) for time_s in TIMES_S]
    wanted = sum(300.0 * 2.0 * (each / time_s + (1 - each) / tau_s) for each, time_s in zip(gone, TIMES_S, strict=True))
    np.testing.assert_allclose(violated, wanted, rtol=2e-2, atol=0.05)


def test_a_node_that_alone_draws_more_is_as_in_a_rack_where_it_does():
    racks, network = drawn(racks=1, missing=2)
    p = {**published(POLARIS).p, **network}
    model = published(POLARIS)._replace(p=p, scale=np.full(len(FEATURES), 500.0, np.float32))
    more_w = np.linspace(-300, 900, 14).astype(np.float32)[None] * racks.there
    found = thermal_model.predict(model, racks._replace(more_w=more_w), 300.0)[0]
    for place in range(12):
        watts = racks.watts.copy()
        watts[0, place] += more_w[0, place]
        wanted = thermal_model.predict(model, racks._replace(watts=watts), 300.0)[0]
        assert found[0, place] == pytest.approx(wanted[0, place], abs=0.02)


# -- windows ------------------------------------------------------------------------------------


def told(samples=600, racks=3, n=4, seed=3, noise=True, j_per_k=9000.0, missing=0, every=40):
    """Telemetry of a machine that steps through powers, solved by the machine's own equations; and its R."""
    rng = np.random.default_rng(seed)
    units = racks * n - missing
    spec = replace(
        POLARIS.thermal,
        node_k_per_w=0.03,
        node_j_per_k=j_per_k,
        coupling_w_per_k=0.0,
        recirculation=0.0,
        rack_spread=0.0,
    )
    truth = TrueRacks(spec, units, n, rng)
    node_w = np.empty((samples, units))
    for unit in range(units):
        changes = np.sort(rng.integers(1, samples, samples // every))
        levels = rng.uniform(400, 1500, changes.size + 1)
        node_w[:, unit] = levels[np.searchsorted(changes, np.arange(samples), side="right")]
    node_c = np.empty_like(node_w)
    r = truth.r_N
    node_c[0] = 20.0 + r * node_w[0]
    fades = np.exp(-60.0 / r / j_per_k)
    for sample in range(1, samples):
        steady = 20.0 + r * node_w[sample - 1]
        node_c[sample] = steady + (node_c[sample - 1] - steady) * fades
    kept = np.zeros(node_w.shape, bool)
    kept[1:] = node_w[1:] == node_w[:-1]
    if noise:
        node_c += 0.5 * rng.standard_normal(node_c.shape)
        node_w *= 1 + 0.01 * rng.standard_normal(node_w.shape)
    single = np.float32
    supply_c = np.full(samples, 20.0, single)
    return Telemetry(60 * np.arange(samples), node_c.astype(single), node_w.astype(single), kept, supply_c, n), r


def test_windows_are_what_was_read_and_count_only_what_did_not_change():
    seen, _ = told(missing=1)
    found = thermal_windows.windows(seen, 100, 400, 60, np.random.default_rng(1))
    assert len(found.start_s) > 40
    assert (np.diff(found.start_s) >= 0).all()
    assert found.start_s.min() >= 6000
    assert found.start_s.max() + found.leads_s[-1] < 24_000
    for window in range(0, len(found.start_s), 7):
        sample = found.start_s[window] // 60
        for place, unit in enumerate(found.units[window]):
            there = bool(found.there[window, place])
            assert found.above_k[window, place] == pytest.approx(seen.node_c[sample, unit] - 20.0, abs=1e-4)
            until = sample
            for look, lead_s in enumerate(found.leads_s):
                last = sample + lead_s // 60
                assert found.later_k[window, place, look] == pytest.approx(seen.node_c[last, unit] - 20.0, abs=1e-4)
                held = there and seen.kept[sample + 1 : last + 1, unit].all()
                assert found.holds[window, place, look] == held
                until = last if held else until
            mean_w = seen.node_w[sample : until + 1, unit].mean()
            assert found.watts[window, place] == pytest.approx(mean_w, rel=1e-5)


def test_a_change_of_the_supply_ends_a_window():
    seen, _ = told()
    seen.supply_c[250:] = 22.0
    found = thermal_windows.windows(seen, 0, 600, 200, np.random.default_rng(1))
    across = (found.start_s[:, None] < 15_000) & (found.start_s[:, None] + found.leads_s >= 15_000)
    assert across.any()
    assert not found.holds.transpose(0, 2, 1)[across].any()


def test_too_little_is_refused():
    seen, _ = told(samples=95)
    with pytest.raises(InputError, match="95 samples of 3 racks are too few"):
        thermal_windows.windows(seen, 0, 95, 10, np.random.default_rng(1))


def test_what_a_run_recorded_becomes_telemetry():
    run = replay.simulate("cooley", {"jobs": 40, "physics.telemetry.interval": "5m", "machine.nodes": 126})
    table, machine = run.telemetry_file.table(), replace(load_machine("cooley"), nodes=126)
    found = thermal_windows.of_run(table, run.tables["temperature"], machine, 7200)
    frame = table.to_pandas()
    frame = frame[frame["time_s"] < 7200]
    assert found.node_w.shape == (len(frame) // 126, 126)
    assert np.array_equal(found.node_c.reshape(-1), frame["node_c"])
    before, now = frame.iloc[:-126], frame.iloc[126:]
    same = (before["job_id"].cat.codes.to_numpy() == now["job_id"].cat.codes.to_numpy()) & (
        before["state"].astype(str).to_numpy() == now["state"].astype(str).to_numpy()
    )
    steady = np.abs(now["node_w"].to_numpy() - before["node_w"].to_numpy()) < 0.08 * before["node_w"].to_numpy()
    assert np.array_equal(found.kept[1:].reshape(-1), same & steady)
    with pytest.raises(InputError, match="telemetry of all units"):
        thermal_windows.of_run(
            table.filter(table["unit"].to_numpy() % 2 == 1), run.tables["temperature"], machine, 7200
        )


# -- training -----------------------------------------------------------------------------------


def parts(seen):
    rng = np.random.default_rng(1)
    return (thermal_windows.windows(seen, a, b, 400, rng) for a, b in ((0, 400), (400, 600)))


def test_training_finds_resistances_and_the_capacity_and_is_repeated_to_the_last_bit(tmp_path):
    seen, r = told()
    fit, check = parts(seen)
    plan = Plan(1, 8)
    checkpoint = tmp_path / "checkpoint"
    trained = thermal_training.train(fit, check, 12, plan)
    found_r = np.exp(trained.tensors["ln_k_per_w"] + trained.tensors["factor"])
    assert np.abs(found_r / r - 1).max() < 0.05
    assert np.exp(trained.tensors["ln_j_per_k"]) == pytest.approx(9000.0, rel=0.1)
    errors = np.abs(thermal_training.said_k(trained, check) - check.later_k)[check.holds]
    assert errors.mean() < 0.6  # the noise of sensors is 0.5 K

    class Enough(Exception):
        pass

    def until_third(epoch, fitted, checked):
        if epoch == 2:
            raise Enough

    with pytest.raises(Enough):
        thermal_training.train(fit, check, 12, plan, Course(checkpoint, told=until_third))
    again = thermal_training.train(fit, check, 12, plan, Course(checkpoint, resume=True))
    for name, value in trained.tensors.items():
        assert np.array_equal(value, again.tensors[name]), name


def test_without_physics_the_network_is_alone():
    seen, _ = told(samples=400)
    fit, check = (thermal_windows.windows(seen, a, b, 100, np.random.default_rng(1)) for a, b in ((0, 250), (250, 400)))
    trained = thermal_training.train(fit, check, 12, Plan(1, 1), physics=False, weight=0.0)
    assert np.array_equal(trained.tensors["factor"] == 0, np.zeros(12, bool)) or not trained.tensors["factor"].any()
    found = thermal_training.said_k(trained, check)
    moved = trained._replace(tensors={**trained.tensors, "ln_j_per_k": np.float32(1.0)})
    assert np.array_equal(found, thermal_training.said_k(moved, check))


def test_a_learner_makes_weights_that_are_read_and_answer(tmp_path):
    seen, r = told()
    learner = thermal_learner.LEARNER
    made = learner.train([thermal_learner.Seen(seen)], Plan(1, 8), Course())
    path = weights.save(tmp_path, "made.thermal", made.tensors, made.about)
    model = thermal_model.read(path, 12)
    assert np.abs(np.exp(model.p["ln_k_per_w"] + model.factor) / r - 1).max() < 0.06
    assert (model.factor_deviation < 0.05).all()
    assert (model.factor_deviation > 0).all()
    assert 0.4 < model.noise_k.min() < 1.0
    more = learner.train([thermal_learner.Seen(seen)], Plan(2, 1), Course(start=path))  # goes on where it left off
    assert np.abs(more.tensors["factor"] - made.tensors["factor"]).max() < 0.05
    with pytest.raises(InputError, match="factor should be numbers of shape"):
        thermal_model.read(path, 13)
    with pytest.raises(InputError, match="name one scenario"):
        learner.train([thermal_learner.Seen(seen)] * 2, Plan(1, 1), Course())
    for key, value, match in (("kind", "other", "kind should be"), ("looks", "8", "looks should be")):
        broken = weights.save(tmp_path, f"{key}.thermal", made.tensors, {**made.about, key: value})
        with pytest.raises(InputError, match=match):
            thermal_model.read(broken, 12)
    wrong = {**made.tensors, "noise_k": -made.tensors["noise_k"]}
    with pytest.raises(InputError, match="noise_k should be 0 or more"):
        thermal_model.read(weights.save(tmp_path, "negative.thermal", wrong, made.about), 12)


def test_a_layer_is_as_unsure_as_its_covariance_says():
    rng = np.random.default_rng(4)
    root = rng.standard_normal((rack_heat.SIZE,) * 2)
    known = rng.standard_normal((5, rack_heat.HIDDEN[1] + 1))
    rows = rack_heat.jacobian(known, 1.0 - np.exp(-200.0 / np.array(TIMES_S))[None], 7.0)
    wanted = np.sqrt(np.einsum("ns,st,nt->n", rows, root @ root.T, rows))
    np.testing.assert_allclose(rack_heat.layer_k(root, known, 200.0, 7.0), wanted)


# -- in a run -----------------------------------------------------------------------------------


def reading(time_s, node_c, node_w):
    units = len(node_c)
    zeros = np.zeros(units, np.int64)
    return Readings(
        np.full(units, time_s), np.arange(units), np.zeros(units, np.int8), zeros - 1, node_c, None, node_w,
        np.zeros(units), None, None,
    )  # fmt: skip


def followed(twin, machine, r, samples=60, noise=0.5, begin=0):
    """Have a twin asked while the nodes of a machine step through powers; what it says of a steady state, at last."""
    rng = np.random.default_rng(5)
    spec = machine.thermal
    node_w = np.full(machine.units, 500.0)
    node_c = 20.0 + r * node_w
    for sample in range(samples):
        view = SimpleNamespace(machine=machine, power=SimpleNamespace(supply_c=20.0), node_c=node_c)
        answer = twin.thermal(np.arange(machine.units), np.full(machine.units, 1500.0), 100_000, view)
        twin.sensed(reading(begin + 300 * sample, node_c + noise * rng.standard_normal(node_c.size), node_w.copy()))
        steady = 20.0 + r * node_w
        node_c = steady + (node_c - steady) * np.exp(-300.0 / r / spec.node_j_per_k)
        if sample % 6 == 5:
            node_w = rng.uniform(500, 1800, machine.units)
    return answer


def test_readings_teach_the_resistance_of_each_node():
    machine = replace(POLARIS, name="another", thermal=alone(POLARIS.thermal), nodes=42)
    r = machine.thermal.node_k_per_w * np.exp(0.1 * np.random.default_rng(6).standard_normal(42))
    twin = ThermalRC()
    answer = followed(twin, machine, r)
    wanted = 20.0 + 1500.0 * r
    at_first = np.abs(20.0 + 1500.0 * machine.thermal.node_k_per_w - wanted)
    assert np.abs(answer.mean - wanted).mean() < 0.25 * at_first.mean()
    assert np.abs(answer.mean - wanted).max() < 1.5
    assert (answer.epistemic < 0.1 * 1500.0 * machine.thermal.node_k_per_w).all()
    report = twin.report()
    assert report["foretold"] > 1000
    assert report["mae_k"] < 0.8
    assert 0.85 < report["held_90"] < 0.97


def test_nodes_that_are_not_those_that_were_learned_are_recognised(monkeypatch):
    machine = replace(POLARIS, thermal=alone(POLARIS.thermal), nodes=42)
    rng = np.random.default_rng(7)
    learned, other = (0.15 * rng.standard_normal(42).astype(np.float32) for _ in range(2))
    model = published(machine)._replace(factor=learned, factor_deviation=np.full(42, 0.002, np.float32))
    for factor, same in ((learned, True), (other, False)):
        twin = ThermalRC()
        twin._model = model
        followed(twin, machine, machine.thermal.node_k_per_w * np.exp(factor), samples=3)
        assert (np.sqrt(twin._nodes.variance).max() < 0.01) == same
        assert (np.abs(twin._nodes.factor - learned).max() < 0.02) == same


def test_a_copy_learns_by_itself():
    machine = replace(POLARIS, name="another", thermal=alone(POLARIS.thermal), nodes=42)
    twin = ThermalRC()
    followed(twin, machine, np.full(42, 0.02), samples=5)
    other = copy.deepcopy(twin)
    factor, variance = twin._nodes.factor.copy(), twin._nodes.variance.copy()
    followed(other, machine, np.full(42, 0.03), samples=5, begin=1500)
    assert np.array_equal(twin._nodes.factor, factor)
    assert np.array_equal(twin._nodes.variance, variance)
    assert not np.array_equal(other._nodes.factor, factor)


def test_a_saved_simulation_goes_on_with_what_was_read(tmp_path):
    simulation = replay.begin("cooley", {"jobs": 60, "twins.thermal": "thermal-rc"})
    begin = simulation.now

    def asked(simulation, until):
        simulation.run(until)
        return View(simulation).twins.thermal(range(126), 400.0, 600)

    for until in range(begin + 600, begin + 6000, 600):
        asked(simulation, until)
    simulation.save(tmp_path / "s")
    other = replay.resume(tmp_path / "s")
    for until in (begin + 6600, begin + 7200):
        for found, wanted in zip(asked(other, until), asked(simulation, until), strict=True):
            assert np.array_equal(found, wanted)


def test_a_run_answers_without_torch():
    program = (
        "import sys; from hpcsim import replay; import numpy as np; from hpcsim.engine.view import View\n"
        "simulation = replay.begin('cooley', {'jobs': 30, 'twins.thermal': 'thermal-rc'})\n"
        "simulation.advance()\n"
        "answer = View(simulation).twins.thermal(range(126), 500.0, 300)\n"
        "assert np.isfinite(answer.mean).all() and 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=os.environ)


def test_unknown_weights_are_refused(tmp_path):
    with pytest.raises(InputError, match="no weights named 'polariss'"):
        ThermalRC(ThermalRC.Options(weights="polariss"))
    with pytest.raises(InputError, match="cannot be read"):
        ThermalRC(ThermalRC.Options(weights=str(tmp_path / "none.json")))


@pytest.mark.parametrize("name", ["polaris", "mira", "theta", "cooley", "aurora"])
def test_shipped_weights_are_of_their_machine(name):
    machine = load_machine(name)
    model = thermal_model.read(thermal_model.TRAINED / f"{name}.thermal.json", machine.units)
    assert np.exp(model.p["ln_j_per_k"]) == pytest.approx(machine.thermal.node_j_per_k, rel=0.1)
    assert np.exp(model.p["ln_k_per_w"] + np.median(model.factor)) == pytest.approx(
        machine.thermal.node_k_per_w, rel=0.1
    )


def test_the_command_trains(tmp_path):
    settings = ["--set", "days=1", "--set", "machine.nodes=126", "--epochs", "1", "-o", str(tmp_path)]
    done = CliRunner().invoke(command, ["train", "cooley", "--twin", "thermal", *settings], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    made = thermal_model.read(tmp_path / "cooley.thermal.json", 126)
    assert made.factor.size == made.gpus.factor.size == 126
    refused = CliRunner().invoke(command, ["train", "bare", "--twin", "thermal", "--set", "jobs=5", *settings[2:]])
    assert isinstance(refused.exception, InputError)
    assert sorted(EQUATIONS) == sorted(set(published(POLARIS).p) - set(NETWORK))


def test_it_is_judged_on_powers_that_it_did_not_learn():
    seen, r = told(samples=1500, every=200)
    exact, _ = told(samples=1500, every=200, noise=False)
    truth = thermal_learner.Truth(exact.node_c, r, 9000.0, lambda some: np.zeros_like(some.later_k))
    judged = thermal_learner.LEARNER.evaluate(thermal_learner.Seen(seen, truth), [1], 1, lambda what: None)
    assert [column.heading for column in judged.columns][:2] == ["MAE, 5 min, K", "MAE, 90 min, K"]
    assert set(judged.compared) == {
        "thermal-rc", "no equations in the loss", "only in the loss", "network alone", "linear regression",
        "as warm as now", "true equations",
    }  # fmt: skip
    assert "R within 10 % of the truth for" in judged.of
    found = thermal_learner.parts(thermal_learner.Seen(seen))
    columns = thermal_figures.columns(found.test, truth=False)
    assert [column.heading for column in columns][:2] == ["MAE of readings, 5 min, K", "MAE of readings, 90 min, K"]
    unseen = thermal_evaluation.unseen_of(found.fit)
    assert unseen.holds(np.array([unseen.low_w + 1, unseen.above_w + 1])).all()
    assert not unseen.holds(np.array([unseen.low_w - 1, unseen.high_w + 1])).any()


def test_several_things_asked_of_one_unit_are_answered_each_by_itself():
    """As one at a time: hotter for more watts, and not all for the last of them."""
    sim = replay.begin("cooley", {"days": 0.1, "seed": 3, "twins": {"thermal": "thermal-rc"}})
    sim.run(3600)
    twins, watts = View(sim).twins, np.array([200.0, 500.0, 350.0])
    together = twins.thermal(np.full(3, 7), watts, 1800).mean
    alone = [twins.thermal(np.array([7]), watts[[k]], 1800).mean[0] for k in range(3)]
    assert together == pytest.approx(alone, abs=1e-5)
    assert together[0] < together[2] < together[1]
