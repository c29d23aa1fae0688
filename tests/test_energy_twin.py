"""The energy twin: what it sees, its networks, its training, its weights, and how it answers in a run."""

import copy
import dataclasses
import json
import pickle
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

import hpcsim
from hpcsim.engine.twins import Ended, Twins
from hpcsim.engine.view import View
from hpcsim.errors import InputError
from hpcsim.machine.catalogue import load_machine
from hpcsim.plugin import Readings
from hpcsim.plugin.loader import load_plugins
from hpcsim.replay import begin, replay
from hpcsim.scenario.load import load_scenario
from hpcsim.schedulers.backfilling import EASY
from hpcsim.twins import (
    energy_cnn_lstm,
    energy_evaluation,
    energy_learner,
    energy_network,
    energy_records,
    features,
    lognormal,
    network,
    weights,
)
from hpcsim.twins.energy import EnergyLastTwo
from hpcsim.twins.energy_ahead import Jobs
from hpcsim.twins.energy_cnn_lstm import BETA, FEATURES, KIND, EnergyCNNLSTM, stretch
from hpcsim.twins.energy_features import JOB_NAMES, Node
from hpcsim.twins.energy_network import CELLS, KERNELS, SHAPES, SYSTEM_MEMBERS, SYSTEM_SHAPES, changes
from hpcsim.twins.energy_state import CHANNELS, MAP, SAMPLES, STATE_NAMES, Moment, Racks, numbers
from hpcsim.twins.learners import Recorded
from hpcsim.twins.loop import Course, Plan
from hpcsim.twins.records import split

torch = pytest.importorskip("torch")


# -- weights without training ---------------------------------------------------------------------


def tensors(seed=1, gain=0.3):
    rng = np.random.default_rng(seed)
    return {
        name: (gain * rng.normal(size=shape) / np.sqrt(shape[1])).astype(np.float16) for name, shape in SHAPES.items()
    }


def about(**changed):
    told = {
        "kind": KIND, "features": list(FEATURES), "center": [0.0] * len(FEATURES), "scale": [1.0] * len(FEATURES),
        "unit": [0.01, 0.02, 0.03], "shares": [0.5, 0.8, 1.0], "trust": [1.0, 1.0, 1.0], "job_scores": [1.0] * 50,
        "system_scores": [[1.0, 1.5, 2.0]] * 50,
    }  # fmt: skip
    return {**told, **changed}


@pytest.fixture(scope="module")
def weighed(tmp_path_factory):
    return weights.save(tmp_path_factory.mktemp("weights"), "mine.energy", tensors(), about())


# -- what it sees ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["polaris", "mira", "theta", "cooley", "aurora"])
def test_the_map_averages_the_units_of_every_machine_over_areas(name):
    spec = load_machine(name)
    racks = Racks.of(spec)
    assert racks.weight.shape == (MAP[1] * MAP[2], spec.units)
    assert np.allclose(racks.weight.sum(1), 1, atol=1e-5)
    rack = np.arange(spec.units) // spec.units_per_rack
    seen = (racks.weight @ rack).reshape(MAP[1:])
    assert np.all(np.diff(seen, axis=1) >= -1e-5)
    assert seen[0, 0] < seen[0, -1]
    height = (racks.weight @ (np.arange(spec.units) % spec.units_per_rack)).reshape(MAP[1:])
    assert np.all(np.diff(height, axis=0) >= -1e-5)


NODE = Node(idle_w=100.0, dynamic_w=100.0, exponent=2.0, nodes=10)


def certain(nodes, walltime_s, watts, elapsed_s=0.0):
    """Jobs of known watts whose runtimes are any."""
    count = len(nodes)
    mixture = lognormal.Mixture(
        np.ones((count, 1, 1)), np.full((count, 1, 1), 6.0), np.ones((count, 1, 1)), np.log(np.array(walltime_s, float))
    )
    share = np.log(np.array(watts, float) / NODE.peak_w)
    return Jobs(np.array(nodes), np.array(walltime_s), share, np.full(count, elapsed_s), mixture)


def moment(running, waiting, **changed):
    busy, count = int(running.nodes.sum()), len(waiting.nodes)
    told = {
        "utc_s": 0, "it_w": 1500.0, "free": 10 - busy, "down": 0, "running": running, "waiting": waiting,
        "waiting_count": count, "freed": 0, "arrived": np.zeros(count, bool), "maintenance_s": np.inf,
        "sample_age_s": 10.0, "overruns": np.ones(0),
    }  # fmt: skip
    return Moment(**{**told, **changed})


def named(found):
    return dict(zip(STATE_NAMES, found[0], strict=True))


def test_nodes_of_jobs_that_are_known_to_end_go_to_those_that_wait_by_the_rule_of_easy():
    running = certain([6, 4], [3600, 7200], [200.0, 150.0])
    waiting = certain([5, 2, 1, 1], [36000, 36000, 36000, 600], [180.0, 160.0, 110.0, 200.0])
    waiting.mixture.mean[:] = 20.0  # until the walltime
    found = named(numbers(moment(running, waiting, certain=np.array([800.0, 5000.0])), NODE, 0.0))
    # of 6 nodes the head takes 5; the next wants 2 and is promised the 4 that the other job leaves by its walltime, of
    # which 3 are left then; so the third starts, and the last finds no node
    change = (5 * 80 + 1 * 10 - 6 * 100) / 1000
    for horizon in (900, 1800, 3600):
        assert [found[f"{name}_w_{horizon}"] for name in ("median", "mean", "low", "high")] == pytest.approx(
            [change] * 4
        )
        assert found[f"deviation_w_{horizon}"] == pytest.approx(0, abs=1e-9)


def test_jobs_end_as_often_within_an_hour_as_is_believed_of_those_that_have_run_so_long():
    running = certain([1] * 10, [90_000] * 10, [200.0] * 10, elapsed_s=300.0)
    nothing = certain([], [], [])
    found = named(numbers(moment(running, nothing), NODE, 0.0))
    below = lognormal.below(running.mixture, np.log([[300.0, 300.0 + 900.0]] * 10))[0]
    assert found["mean_w_900"] == pytest.approx(-(below[1] - below[0]) / (1 - below[0]), abs=1 / 32)


def test_a_job_that_meets_its_walltime_runs_on_as_others_did_and_of_maintenance_nothing_starts_that_would_meet_it():
    running = certain([10], [3600], [200.0], elapsed_s=3000.0)
    running.mixture.mean[:] = 20.0
    waiting = certain([10], [7200], [180.0])
    waiting.mixture.mean[:] = 20.0
    found = named(numbers(moment(running, waiting), NODE, 0.0))
    assert found["high_w_900"] == pytest.approx(-0.2)  # it is stopped at its walltime, and the other one begins
    found = named(numbers(moment(running, waiting, overruns=np.array([1.2])), NODE, 0.0))
    assert found["median_w_900"] == 0.0  # the last one ran on for a fifth of its walltime
    assert found["median_w_1800"] == pytest.approx(-0.2)
    found = named(numbers(moment(running, waiting, maintenance_s=3600.0), NODE, 0.0))
    assert found["median_w_900"] == -1.0


def test_what_starts_in_the_coming_pass_counts_as_drawn_and_what_did_not_start_before_is_stuck():
    running, waiting = certain([2], [3600], [150.0]), certain([4], [36_000], [200.0])
    stuck = numbers(moment(running, waiting), NODE, 0.0)
    assert stuck[1] == 1500.0
    for news in ({"arrived": np.ones(1, bool)}, {"freed": 5}):
        assert numbers(moment(running, waiting, **news), NODE, 0.0)[1] == pytest.approx(1500 + 4 * 100)


# -- no skew, no future ---------------------------------------------------------------------------


class Noting(EnergyCNNLSTM):
    """Notes what it sees of each job at first, and of the machine whenever it is asked."""

    name = "noting"
    last = None

    def __init__(self, options):
        super().__init__(options)
        self.heard, self.jobs, self.moments, self.now = [], {}, {}, 0
        Noting.last = self

    def sensed(self, readings):
        self.heard.append(copy.deepcopy(readings))
        super().sensed(readings)

    def energy(self, jobs, speeds, view):
        answer = super().energy(jobs, speeds, view)
        new = [job for job in jobs if job.id not in self.jobs]
        if new:
            rows = self._history.features(new, view.utc_s - view.now, Node.of(view.machine))
            self.jobs |= dict(zip((job.id for job in new), rows, strict=True))
        return answer

    def power(self, horizons_s, view):
        self.now = view.now
        return super().power(horizons_s, view)

    def _forecast(self, moment, node, spec):
        if self._samples:
            self.moments[self.now] = (*numbers(moment, node, spec.power.fixed_w), self._samples[-1].map)
        return super()._forecast(moment, node, spec)


class Asking:
    """Asks about all that waits at each pass of EASY, and about the machine at each sixth."""

    name = "asking"
    api = 1
    needs = frozenset({"energy-twin", "power"})

    def __init__(self):
        self.easy = EASY(EASY.Options())
        self.passes = 0

    def schedule(self, view):
        view.twins.energy(view.queue)
        self.passes += 1
        if self.passes % 6 == 0:
            view.twins.power([900, 1800, 3600])
        yield from self.easy.schedule(view)


SPEC = load_machine("cooley")


@pytest.fixture(scope="module")
def noted(weighed):
    """A run of some days whose twin noted all that it saw, and the run's tables; no job is predicted twice."""
    found = load_plugins()
    twins, schedulers = {**found.twins, "noting": Noting}, {**found.schedulers, "asking": Asking}
    found = dataclasses.replace(found, offers={**found.offers, "twins": twins, "schedulers": schedulers})
    told = {
        "days": 3, "scheduler": "asking", "twins.energy": {"name": "noting", "weights": str(weighed)},
        "physics.queues": False, "physics.failures": False, "physics.outages": False, "physics.maintenance": False,
        "physics.variation": False,
    }  # fmt: skip
    loaded = load_scenario("cooley", [*told.items()], schedulers=schedulers, twins=twins, parts=found.offers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features.History, "ends_like", lambda self, job: 0)
        run = replay(loaded, found)
    return Noting.last, Recorded(run.tables, run.manifest, None, SPEC)


@pytest.fixture(scope="module")
def recorded(noted):
    twin, run = noted
    return energy_records.of_tables(run, energy_records.samples_of(twin.heard, SPEC), SPEC)


def test_a_run_asks_about_jobs_as_training_was_taught_to_the_last_bit(noted, recorded):
    twin, _ = noted
    known = sorted(twin.jobs)
    assert len(known) > 300
    assert np.array_equal(np.array([twin.jobs[i] for i in known]), recorded.rows.features[known])


def test_a_run_asks_about_the_machine_as_training_was_taught(noted, recorded, weighed):
    twin, _ = noted
    used = energy_cnn_lstm.read(weighed)
    first = len(JOB_NAMES)
    x = network.scaled(recorded.rows.features, used.center[:first], used.scale[:first])
    output = energy_network.about_jobs(used.runtime, used.watts, recorded.rows.features, x)
    times = np.array(sorted(twin.moments))
    assert len(times) > 100
    found, base_w = recorded.moments.numbers(times, output)
    maps, _ = recorded.moments.seen(times)
    asked = [twin.moments[second] for second in times.tolist()]
    assert np.allclose(np.array([each[0] for each in asked]), found, rtol=1e-4, atol=1e-4)
    assert np.allclose([each[1] for each in asked], base_w, rtol=1e-6)
    assert np.array_equal(np.array([each[2] for each in asked]), maps)


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_no_number_hangs_on_what_has_not_happened_yet(noted, recorded, share):
    twin, run = noted
    submit_s = recorded.rows.jobs.submit_s
    second = int(submit_s[0] + share * (submit_s[-1] - submit_s[0])) // 300 * 300 + 1
    jobs, attempts, power = (run.tables[name].to_pandas() for name in ("jobs", "attempts", "power"))
    late, running = jobs.end_s > second, (attempts.end_s > second) & (attempts.start_s < second)
    watts = attempts.energy_j / (attempts.end_s - attempts.start_s)
    rng = np.random.default_rng(1)
    longer = dict(zip(jobs.job_id, rng.integers(1, 9000, len(jobs)), strict=True))
    jobs.loc[late, "end_s"] += jobs.job_id.map(longer)[late].astype(int)
    jobs.loc[late, "runtime_s"] += jobs.job_id.map(longer)[late].astype(int)
    attempts.loc[running, "end_s"] += attempts.job_id.map(longer)[running].astype(int)
    attempts.loc[running, "energy_j"] = watts * (attempts.end_s - attempts.start_s)
    power.loc[power.time_s > second, "it_w"] *= 1.5
    tables = {
        "jobs": pa.Table.from_pandas(jobs), "attempts": pa.Table.from_pandas(attempts),
        "power": pa.Table.from_pandas(power), "interrupts": run.tables["interrupts"],
    }  # fmt: skip
    heard = [each for each in twin.heard if each.time_s[0] < second]
    heard += [each._replace(node_w=each.node_w * 2) for each in twin.heard[len(heard) :]]
    other = energy_records.of_tables(
        Recorded(tables, run.manifest, None, SPEC), energy_records.samples_of(heard, SPEC), SPEC
    )
    before = submit_s <= second
    assert running.any()
    assert not before.all()
    assert np.array_equal(other.rows.features[before], recorded.rows.features[before])
    output = np.zeros((len(submit_s), 5, energy_network.ABOUT_A_JOB), np.float32)
    times = np.arange(second - 3000, second + 1, 300)
    for each, same in zip(other.moments.numbers(times, output), recorded.moments.numbers(times, output), strict=True):
        assert np.allclose(each, same, rtol=1e-12)
    for each, same in zip(other.moments.seen(times), recorded.moments.seen(times), strict=True):
        assert np.array_equal(each, same)


# -- networks -------------------------------------------------------------------------------------


def test_the_network_of_the_machine_is_what_torch_makes_of_its_layers():
    """Against conv2d, avg_pool2d and LSTM, one member at a time."""
    rng = np.random.default_rng(3)
    used = {name: rng.normal(size=shape).astype(np.float32) * 0.3 for name, shape in SYSTEM_SHAPES.items()}
    maps = rng.normal(size=(1, 7, MAP[1] * MAP[2], MAP[0])).astype(np.float32)
    series = rng.normal(size=(1, 7, SAMPLES, len(CHANNELS))).astype(np.float32)
    x = rng.normal(size=(1, 7, len(STATE_NAMES))).astype(np.float32)
    found = changes(np, used, maps, series, x)
    functional = torch.nn.functional
    for member in range(SYSTEM_MEMBERS):
        each = {name: torch.from_numpy(value[member]) for name, value in used.items()}
        image = torch.from_numpy(maps[0]).transpose(1, 2).reshape(7, *MAP)
        for layer, (into, out) in enumerate(((MAP[0], KERNELS[0]), KERNELS)):
            kernel = each[f"kernel{layer}"].reshape(3, 3, into, out).permute(3, 2, 0, 1)
            image = functional.silu(functional.conv2d(image, kernel, each[f"kernel{layer}_bias"][0], padding=1))
            image = functional.avg_pool2d(image, 2) if layer == 0 else image.mean((2, 3))
        lstm = torch.nn.LSTM(len(CHANNELS), CELLS, batch_first=True)
        with torch.no_grad():
            lstm.weight_ih_l0.copy_(each["lstm_in"].T)
            lstm.weight_hh_l0.copy_(each["lstm_back"].T)
            lstm.bias_ih_l0.copy_(each["lstm_bias"][0])
            lstm.bias_hh_l0.zero_()
            state = lstm(torch.from_numpy(series[0]))[1][0][0]
            fused = torch.cat([image, state, torch.from_numpy(x[0])], 1)
            hidden = functional.silu(fused @ each["fuse"] + each["fuse_bias"])
            wanted = hidden @ each["out"] + each["out_bias"]
        assert np.allclose(found[member], wanted.numpy(), atol=2e-5)
    both = {name: torch.from_numpy(value) for name, value in used.items()}
    again = changes(torch, both, *(torch.from_numpy(each) for each in (maps, series, x)))
    assert np.allclose(again.numpy(), found, atol=1e-5)


def test_moments_of_ln_runtime_are_those_of_samples():
    rng = np.random.default_rng(1)
    shape = (4, 2, 3)
    mixture = lognormal.Mixture(
        rng.dirichlet(np.ones(3), shape[:2]),
        rng.normal(6, 1, shape),
        rng.uniform(0.1, 1, shape),
        np.log(np.full(4, 500.0)),
    )
    mean, variance = lognormal.log_moments(mixture)
    for job, member in np.ndindex(4, 2):
        which = rng.choice(3, 200_000, p=mixture.weight[job, member])
        drawn = np.minimum(
            rng.normal(mixture.mean[job, member][which], mixture.deviation[job, member][which]), mixture.limit[job]
        )
        assert mean[job, member] == pytest.approx(drawn.mean(), abs=0.02)
        assert variance[job, member] == pytest.approx(drawn.var(), rel=0.03, abs=0.003)


@pytest.mark.parametrize("elapsed_s", [0.0, 300.0, 450.0])
def test_drawn_runtimes_are_spread_as_is_believed_of_jobs_that_have_run_so_long(elapsed_s):
    rng = np.random.default_rng(1)
    mixture = lognormal.Mixture(
        rng.dirichlet(np.ones(3), (2, 5)), rng.normal(6, 1, (2, 5, 3)), rng.uniform(0.1, 1, (2, 5, 3)),
        np.log(np.full(2, 500.0)),
    )  # fmt: skip
    level = (np.arange(5000) + 0.5) / 5000
    drawn_s = lognormal.drawn(mixture, np.stack([level, level[::-1]]), np.full(2, elapsed_s))
    assert drawn_s.min() >= elapsed_s
    assert drawn_s.max() == pytest.approx(500)
    begun = lognormal.below(mixture, np.log(np.full((2, 1), max(elapsed_s, 1e-9))))[:, 0]
    for second in (310.0, 400.0, 470.0):
        below = lognormal.below(mixture, np.log(np.full((2, 1), second)))[:, 0]
        wanted = np.maximum(below - begun, 0) / (1 - begun)
        assert (drawn_s <= second).mean(1) == pytest.approx(wanted, abs=0.002)


def test_training_is_the_same_each_time_also_after_it_was_stopped(recorded, tmp_path):
    def taught(**course):
        return energy_learner.learn([recorded], Plan(1, 2, 8, 256), Course(**course))[0]

    whole = taught()
    assert whole.watts.fitted.losses[1][1] < whole.watts.fitted.losses[0][1]

    def stops(epoch, fitted, checked):
        stops.calls += 1
        if stops.calls == 5:  # after the first epoch of the third network
            raise KeyboardInterrupt

    stops.calls = 0
    checkpoint = tmp_path / "x.energy.checkpoint"
    with pytest.raises(KeyboardInterrupt):
        taught(checkpoint=checkpoint, told=stops)
    resumed = taught(checkpoint=checkpoint, resume=True)
    assert not list(tmp_path.iterdir()) or [path.name for path in tmp_path.iterdir()] == [checkpoint.name]
    for one, other in ((whole.runtime, resumed.runtime), (whole.watts.fitted, resumed.watts.fitted),
                       (whole.system.network.fitted, resumed.system.network.fitted)):  # fmt: skip
        assert one.losses == other.losses
        assert all(np.array_equal(value, other.tensors[name]) for name, value in one.tensors.items())


def test_jobs_at_several_speeds_are_predicted_once_and_answered_as_by_a_call_for_each():
    simulation = begin("polaris", {"days": 2, "twins.energy": "energy-cnn-lstm"})
    simulation.run(86_400)
    view, jobs = View(simulation), list(simulation.workload.jobs(len(simulation.workload) - 40))
    together, apart = (copy.deepcopy(simulation.twins["energy"]) for _ in range(2))
    both = Twins({"energy": together}, view).energy(jobs, [[1.0], [0.7]])
    each = [Twins({"energy": apart}, view).energy(jobs, speed) for speed in (1.0, 0.7)]
    assert all(np.array_equal(part, np.stack(parts)) for part, parts in zip(both, zip(*each, strict=True), strict=True))
    assert (both.mean[1] < both.mean[0]).any()
    assert len(together._remembered.fresh) == len(apart._remembered.fresh) == 40


# -- weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [({"unit": [1.0, 2.0]}, "unit should be"), ({"trust": [-1.0, 0.0, 0.0]}, "trust should be"),
     ({"system_scores": "print('x')"}, "system_scores should be"), ({"kind": "performance-ensemble"}, "kind should be"),
     ({"features": ["a"]}, "other features")],
)  # fmt: skip
def test_weights_that_are_not_sound_are_refused_in_one_sentence(tmp_path, changed, complaint):
    path = weights.save(tmp_path, "bad.energy", tensors(), about(**changed))
    with pytest.raises(InputError, match=complaint):
        EnergyCNNLSTM(EnergyCNNLSTM.Options(weights=str(path)))


def test_the_weights_that_come_with_hpcsim_are_sound_small_and_say_what_made_them():
    names = weights.shipped("energy")
    assert {"polaris", "mira", "theta", "cooley", "general"} <= set(names)
    paths = [energy_cnn_lstm.weights_path(name) for name in names]
    for path in paths:
        energy_cnn_lstm.read(path)
        assert json.loads(path.read_text())["command"].startswith("hpcsim twins train ")
    assert sum(p.stat().st_size + p.with_suffix(".safetensors").stat().st_size for p in paths) < 3_000_000


# -- answers --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def asked(weighed):
    """A twin of a simulation of Cooley that has run for half a day, and its view."""
    simulation = hpcsim.begin(
        "cooley",
        {"jobs": 120, "twins.energy": {"name": "energy-cnn-lstm", "weights": str(weighed)}, "physics.queues": False},
    )
    simulation.run(until=simulation.now + 43_200)
    return simulation.twins["energy"], View(simulation)


def copied(asked):
    return copy.deepcopy(asked[0]), asked[1]


def test_a_slower_job_takes_what_the_formulas_of_power_say(asked):
    twin, view = copied(asked)
    jobs = [each.job for each in view.running.values()][:3]
    assert jobs
    full, slow = (twin.energy(jobs, np.full(len(jobs), speed), view).mean for speed in (1.0, 0.7))
    power = view.machine.power
    longest = np.array([job.walltime * job.nodes for job in jobs]) * (power.idle_w + power.cpu_dyn_w + power.gpu_dyn_w)
    assert np.all(full > 0)
    assert np.all(full <= longest * 1.2)
    longer = 1 + BETA * (1 / 0.7 - 1)
    assert np.all(slow <= full * longer * 1.001)
    assert np.all(slow >= full * 0.7**power.speed_exponent)


def test_power_is_answered_for_any_horizon_and_the_same_again(asked):
    twin, view = copied(asked)
    horizons = np.array([60, 900, 1350, 1800, 3600, 7200])
    said = twin.power(horizons, view)
    assert all(np.array_equal(one, other) for one, other in zip(said, twin.power(horizons, view), strict=True))
    assert said.mean[2] == pytest.approx((said.mean[1] + said.mean[3]) / 2)
    assert said.mean[4] == said.mean[5]
    assert np.all(np.diff(said.aleatoric[:2]) > 0)
    assert np.all(said.mean > 0)
    assert twin.power(np.array([900]), view).mean[0] == said.mean[1]


def test_deviations_grow_when_forecasts_are_wrong():
    scores = np.abs(np.random.default_rng(2).normal(size=4000))
    assert stretch(scores) == pytest.approx(1.0, rel=0.05)
    assert stretch(3 * scores) == pytest.approx(3.0, rel=0.05)


def test_forecasts_are_scored_by_what_sensors_read_when_their_time_has_come(asked):
    twin, view = copied(asked)
    twin.power(np.array([900]), view)
    before = list(twin._system_scores[0])
    due_s, place, believed_w, deviation = twin._forecasts[0]
    units = SPEC.units
    node_w = np.full(units, (believed_w - SPEC.power.fixed_w + 2 * deviation) / SPEC.nodes)
    nothing = np.zeros(units)
    twin.sensed(Readings(np.full(units, due_s), np.arange(units), np.zeros(units, np.int8), np.full(units, -1), nothing,
                         None, node_w, nothing, None, None))  # fmt: skip
    twin.power(np.array([900]), view)
    assert place == 0
    assert twin._system_scores[0][:-1] == before
    assert twin._system_scores[0][-1] == pytest.approx(2.0, rel=1e-6)


def test_it_survives_being_pickled(asked):
    twin, view = copied(asked)
    again = pickle.loads(pickle.dumps(twin))
    horizons = np.array([900, 3600])
    assert np.array_equal(again.power(horizons, view).mean, twin.power(horizons, view).mean)


def test_nothing_is_loaded_by_a_run_that_does_not_ask_and_torch_by_none():
    code = """
import sys, hpcsim
simulation = hpcsim.begin("cooley", {"jobs": 30, "twins.energy": {"name": "energy-cnn-lstm"}})
simulation.run()
assert "safetensors" not in sys.modules and "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_last_two_takes_what_the_last_two_jobs_of_the_user_took(asked):
    _, view = asked
    job = next(iter(view.running.values())).job._replace(user="ann", nodes=2, walltime=10_000)
    twin = EnergyLastTwo()
    idle_w = view.machine.power.idle_w
    for runtime_s, node_w in ((50, 900.0), (100, idle_w + 100.0), (300, idle_w + 50.0)):
        twin.ended(Ended(job, runtime_s, "completed", 1000, 2 * runtime_s * node_w))
    full, half = twin.energy([job, job], np.array([1.0, 0.5]), view).mean
    assert full == pytest.approx(2 * 200 * (idle_w + 75))
    assert half == pytest.approx(2 * 200 * (idle_w + 75 / 4))
    assert np.all(twin.power(np.array([60, 3600]), view).mean == view.power.it_w)


# -- judged ---------------------------------------------------------------------------------------


def test_oracles_have_no_error_in_what_they_know_and_naive_ones_are_what_they_are_called(recorded):
    judged = energy_evaluation.evaluate(recorded, split(recorded.rows), [1], epochs=1)
    power, (jobs,) = judged.compared, judged.besides
    assert np.array_equal(power["persistence"].mean[3:6], np.ones(3))
    period = energy_learner.period(recorded, split(recorded.rows))
    moments = recorded.moments
    then, yesterday = moments.watts(period.test + 900), moments.watts(period.test + 900 - 86_400)
    assert power["same hour yesterday"].mean[0] == pytest.approx(np.abs(then - yesterday).mean())
    assert jobs.compared["oracle of watts"].mean[1] == 0
    assert jobs.compared["oracle of runtimes"].mean[2] == 0
    assert jobs.compared["oracle of runtimes"].mean[0] == pytest.approx(jobs.compared["energy-cnn-lstm"].mean[1])
    told = split(recorded.rows).test
    told = told[recorded.is_told[told]]
    runtime_s, walltime_s = recorded.rows.runtime_s[told], recorded.rows.jobs.walltime_s[told]
    wanted = np.median(walltime_s / np.maximum(np.minimum(runtime_s, walltime_s), 1) - 1)
    assert jobs.compared["last-two watts, walltime"].mean[2] == pytest.approx(wanted)
