"""The runtime ensemble: its distributions, its training, its files of weights, and how it answers in a run."""

import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

from hpcsim import replay
from hpcsim.cli import main
from hpcsim.cli.twins import twins as command
from hpcsim.engine.twins import Ended
from hpcsim.engine.view import View
from hpcsim.errors import InputError
from hpcsim.twins import (
    lognormal,
    loop,
    network,
    performance_baselines,
    performance_ensemble,
    performance_evaluation,
    performance_learner,
    training,
    weights,
)
from hpcsim.twins.features import NAMES
from hpcsim.twins.lognormal import Mixture
from hpcsim.twins.loop import Course, Plan
from hpcsim.twins.network import KIND
from hpcsim.twins.performance_ensemble import TRAINED, RuntimeEnsemble
from hpcsim.twins.records import of_run, split
from hpcsim.twins.training import Data, train

torch = pytest.importorskip("torch")


# -- distributions ------------------------------------------------------------------------------


def drawn(jobs=6, seed=1):
    rng = np.random.default_rng(seed)
    shape = (jobs, network.MEMBERS, network.COMPONENTS)
    weight = rng.dirichlet(np.ones(shape[2]), shape[:2])
    return Mixture(weight, rng.normal(6, 1, shape), rng.uniform(0.1, 1.0, shape), np.log(rng.uniform(300, 3000, jobs)))


def sampled(mixture, job, size=400_000):
    rng = np.random.default_rng(2)
    m = rng.integers(0, network.MEMBERS, size)
    k = (rng.random(size)[:, None] > mixture.weight[job].cumsum(1)[m]).sum(1).clip(max=network.COMPONENTS - 1)
    log_s = rng.normal(mixture.mean[job, m, k], mixture.deviation[job, m, k])
    return np.minimum(np.exp(log_s), np.exp(mixture.limit[job]))


@pytest.mark.parametrize("elapsed_s", [0.0, 200.0])
def test_moments_and_quantiles_are_those_of_samples_of_the_same_mixture_that_have_run_so_far(elapsed_s):
    mixture = drawn()
    elapsed = np.full(6, elapsed_s)
    levels = np.tile([0.05, 0.5, 0.95], (6, 1))
    mean, aleatoric, epistemic = lognormal.moments(mixture, elapsed if elapsed_s else None)
    found = lognormal.quantiles(mixture, levels, elapsed if elapsed_s else None)
    for job in range(6):
        runtimes = sampled(mixture, job)
        runtimes = runtimes[runtimes > elapsed_s]
        assert mean[job] == pytest.approx(runtimes.mean(), rel=0.01)
        assert np.hypot(aleatoric[job], epistemic[job]) == pytest.approx(runtimes.std(), rel=0.02)
        assert found[job] == pytest.approx(np.quantile(runtimes, levels[job]), rel=0.03)


@pytest.mark.parametrize("elapsed_s", [None, 200.0])
def test_many_jobs_have_the_same_quantiles_to_the_last_bit_as_each_of_them_alone(elapsed_s):
    mixture = Mixture(*(np.concatenate(parts) for parts in zip(*map(drawn, range(40)), strict=True)))
    jobs = len(mixture.limit)
    levels = np.random.default_rng(1).random((jobs, 4))
    elapsed = None if elapsed_s is None else np.full(jobs, elapsed_s)
    found = lognormal.quantiles(mixture, levels, elapsed)
    for job in range(jobs):
        one = np.array([job])
        alone = lognormal.quantiles(mixture.take(one), levels[one], None if elapsed is None else elapsed[one])
        assert np.array_equal(found[one], alone)


def test_a_job_that_outlived_all_that_was_believed_runs_until_its_walltime():
    mixture = Mixture(*(np.full((1, 5, 3), value) for value in (1 / 3, 3.0, 0.1)), np.log([3600.0]))
    long = np.array([3000.0])
    assert lognormal.moments(mixture, long).mean == pytest.approx(3600)
    assert lognormal.quantiles(mixture, np.array([[0.5]]), long) == pytest.approx(3600)


def test_the_longer_a_job_has_run_the_longer_it_will_run_in_all():
    mixture = drawn(1)
    half = np.array([[0.5]])
    medians = [float(lognormal.quantiles(mixture, half, np.array([t]))[0, 0]) for t in (0.0, 50.0, 100.0, 200.0, 290.0)]
    assert medians == sorted(medians)
    assert medians[-1] >= 290


def test_conformal_intervals_hold_what_they_promise_of_jobs_that_the_model_is_wrong_about():
    rng = np.random.default_rng(3)
    jobs = 4000
    shape = (jobs, 5, 3)
    mixture = Mixture(np.full(shape, 1 / 3), np.full(shape, 5.0), np.full(shape, 0.3), np.full(jobs, np.log(9e4)))
    real = np.floor(np.exp(rng.normal(5.1, 0.8, jobs)))  # more noise than it believes in
    score = lognormal.central_mass(mixture, real)
    mass = lognormal.conformal_mass(score[:2000], 0.9)
    levels = np.tile([(1 - mass) / 2, (1 + mass) / 2], (2000, 1))
    low, high = lognormal.quantiles(mixture.take(np.arange(2000, jobs)), levels).T
    assert mass > 0.99
    assert np.mean((real[2000:] >= low - 0.5) & (real[2000:] <= high + 0.5)) == pytest.approx(0.9, abs=0.02)


# -- training -----------------------------------------------------------------------------------


def toy(jobs, seed):
    """Jobs that run a share of their walltime that the first feature tells, and every fourth until the limit."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(jobs, len(NAMES)))
    walltime = rng.choice([600.0, 3600.0], jobs)
    runtime = np.floor(walltime * np.exp(-2 + 0.7 * x[:, 0] + 0.2 * rng.normal(size=jobs))).clip(1)
    return Data(x, np.where(np.arange(jobs) % 4 == 0, walltime, runtime), walltime)


PLAN = Plan(seed=1, epochs=4, batch=32)


@pytest.fixture(scope="module")
def trained():
    return train(toy(800, 1), toy(300, 2), PLAN)


def test_numpy_computes_what_torch_was_trained_as(trained):
    data = toy(200, 5)
    believed = performance_learner.mixture(trained, data)
    with torch.no_grad():
        parameters = {name: torch.from_numpy(np.array(value, np.float32)) for name, value in trained.tensors.items()}
        x, truth = training._tensors(torch, data, trained.center, trained.scale)
        output = training.forward(torch, parameters, x.expand(training.MEMBERS, *x.shape))
        each = training._Truth(*(part.expand(training.MEMBERS, *part.shape) for part in truth))
        said = training._log_likelihood(torch, output, each).T.numpy()
    z = (np.log(data.runtime_s)[:, None, None] - believed.mean) / believed.deviation
    seen = (believed.weight * np.exp(-0.5 * z**2) / believed.deviation / np.sqrt(2 * np.pi)).sum(2)
    longer = (believed.weight * stats.norm.sf(z)).sum(2)
    censored = (data.runtime_s >= data.walltime_s)[:, None]
    assert np.log(np.where(censored, longer, seen)) == pytest.approx(said, abs=1e-3)


def test_a_job_that_repeats_an_earlier_one_is_said_to_the_minute():
    rng = np.random.default_rng(4)
    jobs = 2000
    x = np.zeros((jobs, len(NAMES)))
    last = rng.uniform(np.log(0.05), np.log(0.9), jobs)
    x[:, NAMES.index("user_shape_last")] = last
    data = Data(x, np.round(np.full(jobs, 7200.0) * np.exp(last)), np.full(jobs, 7200.0))
    found = train(data, data, Plan(seed=1, epochs=6, batch=64))
    said = lognormal.quantiles(performance_learner.mixture(found, data), np.full((jobs, 1), 0.5))[:, 0]
    assert np.median(np.abs(np.log(said / data.runtime_s))) < 0.01


def test_training_learns_what_there_is_to_learn_and_the_same_each_time(trained):
    later = toy(500, 9)
    log_median = np.log(lognormal.quantiles(performance_learner.mixture(trained, later), np.full((500, 1), 0.4))[:, 0])
    assert np.corrcoef(log_median - np.log(later.walltime_s), later.features[:, 0])[0, 1] > 0.8
    again = train(toy(800, 1), toy(300, 2), PLAN)
    assert all(np.array_equal(again.tensors[name], trained.tensors[name]) for name in network.SHAPES)


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(trained, tmp_path):
    class Killed(Exception):
        pass

    def die(epoch, fitted, checked):
        if epoch == 1:
            raise Killed

    checkpoint = tmp_path / "c"
    with pytest.raises(Killed):
        train(toy(800, 1), toy(300, 2), PLAN, Course(checkpoint, told=die))
    epochs = []
    went_on = train(toy(800, 1), toy(300, 2), PLAN, Course(checkpoint, True, lambda epoch, *_: epochs.append(epoch)))
    assert epochs == [2, 3]
    assert all(np.array_equal(went_on.tensors[name], trained.tensors[name]) for name in network.SHAPES)
    with pytest.raises(InputError, match="of other data"):
        train(toy(800, 3), toy(300, 2), PLAN, Course(checkpoint, resume=True))
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(InputError, match="no checkpoint"):
        train(toy(800, 1), toy(300, 2), PLAN, Course(checkpoint, resume=True))


def test_data_and_weights_of_a_training_are_moved_to_its_device_by_one_function(monkeypatch):
    class Began(Exception):
        pass

    found = []

    def move(value, device):
        assert device == "cuda"
        here = loop.moved(value, "cpu")
        found.append(here)
        return here

    def fit(parameters, *_, **__):
        data, check, weights = found
        assert parameters is weights
        assert (len(data[0]), len(data[1].log_ratio), len(check[0])) == (80, 80, 30)
        raise Began

    monkeypatch.setattr(training, "moved", move)
    monkeypatch.setattr(training, "fit", fit)
    with pytest.raises(Began):
        train(toy(80, 1), toy(30, 2), PLAN, Course(device="cuda"))


def test_tuples_and_dictionaries_are_moved_part_by_part():
    truth = training._Truth(*torch.arange(3.0).split(1))
    there = loop.moved({"weights": torch.ones(2), "truth": (truth, torch.zeros(1))}, "meta")
    assert type(there["truth"][0]) is training._Truth
    assert {each.device.type for each in (there["weights"], *there["truth"][0], there["truth"][1])} == {"meta"}
    assert truth.log_ratio.device.type == "cpu"


def test_a_gpu_is_used_where_there_is_one_and_who_asks_for_one_that_is_not_there_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [loop.device_of(asked) for asked in ("auto", "cpu", "cuda")] == ["cuda", "cpu", "cuda"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [loop.device_of(asked) for asked in ("auto", "cpu")] == ["cpu", "cpu"]
    for twin, said in (("performance", "finds no GPU here"), ("fault", "fault is trained on the CPU only")):
        with pytest.raises(SystemExit) as caught:
            main(["twins", "train", "bare", "--twin", twin, "--device", "cuda"])
        assert caught.value.code == 2
        assert said in " ".join(capsys.readouterr().err.split())


def test_a_training_may_begin_with_the_weights_of_another(trained, tmp_path):
    path = keep(trained, tmp_path)
    newer = Data(toy(300, 7).features, toy(300, 7).runtime_s * 1.3, toy(300, 7).walltime_s)
    plan = Plan(seed=1, epochs=1, batch=32)
    anew = train(newer, toy(300, 2), plan)
    went_on = train(newer, toy(300, 2), plan, Course(start=path))
    assert went_on.losses[0][1] < anew.losses[0][1]
    assert went_on.center == performance_learner.half(trained).center
    path.write_text("{}")
    with pytest.raises(InputError, match="tells of no weights"):
        train(newer, toy(300, 2), plan, Course(start=path))


def test_training_stops_when_nothing_is_gained_any_more():
    noise = Data(toy(400, 1).features, np.full(400, 100.0), np.full(400, 600.0))
    other = Data(toy(400, 2).features, np.full(400, 5.0), np.full(400, 600.0))
    assert len(train(noise, other, Plan(seed=1, epochs=50, patience=2)).losses) < 15


# -- files of weights ---------------------------------------------------------------------------


@pytest.fixture
def kept(trained, tmp_path):
    return keep(trained, tmp_path)


def keep(trained, directory):
    made = performance_learner.made(trained, performance_learner.Lesson(toy(800, 1), toy(300, 2), 0), PLAN)
    return weights.save(directory, "toy.performance", made.tensors, {"command": "x", **made.about})


def loaded(path):
    performance_ensemble.read.cache_clear()
    return performance_ensemble.read(path)


class Mine:
    def __reduce__(self):
        return os.system, ("touch /tmp/hpcsim-was-here",)


def test_weights_are_read_as_they_were_written_and_written_the_same_again(kept, trained, tmp_path):
    network_ = loaded(kept)
    assert all(
        np.array_equal(network_.tensors[n], performance_learner.half(trained).tensors[n]) for n in network.SHAPES
    )
    again = keep(trained, tmp_path / "b")
    for suffix in (".json", ".safetensors"):
        assert again.with_suffix(suffix).read_bytes() == kept.with_suffix(suffix).read_bytes()


def spoil_tensors(change):
    def spoil(path):
        file = path.with_suffix(".safetensors")
        file.write_bytes(change(file.read_bytes()))

    return spoil


def spoil_json(**changed):
    def spoil(path):
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))

    return spoil


def with_tensors(change):
    """Another file of tensors, and its right digest in the JSON."""

    def spoil(path):
        tensors, about = weights.load(path, KIND, network.SHAPES, NAMES)
        told = {k: v for k, v in about.items() if k not in ("format", "version", "sha256")}
        weights.save(path.parent, path.stem, change(dict(tensors)), told)

    return spoil


def with_bytes(data):
    """Bytes that are no safetensors, and their right digest."""

    def spoil(path):
        import hashlib

        path.with_suffix(".safetensors").write_bytes(data)
        spoil_json(sha256=hashlib.sha256(data).hexdigest())(path)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (spoil_tensors(lambda data: data[:-7]), "damaged"),
        (spoil_tensors(lambda data: data[:200] + b"\xff" + data[201:]), "damaged"),
        (spoil_tensors(lambda data: pickle.dumps(Mine())), "damaged"),
        (with_bytes(pickle.dumps(Mine())), "no safetensors file"),
        (with_bytes(b"\xff" * 64), "no safetensors file"),
        (with_bytes(b""), "no safetensors file"),
        (with_tensors(lambda t: t | {"weight0": t["weight0"][:, :-1]}), "weight0 should be numbers of shape"),
        (with_tensors(lambda t: t | {"more": t["bias0"]}), "the tensors should be"),
        (with_tensors(lambda t: t | {"bias0": t["bias0"] * np.nan}), "no finite number"),
        (with_tensors(lambda t: t | {"bias0": t["bias0"].astype(np.int64)}), "bias0 should be numbers"),
        (lambda path: path.write_bytes(pickle.dumps(Mine())), "no JSON file"),
        (lambda path: path.write_text("[" * 100_000), "no JSON file"),
        (lambda path: path.write_text('{"format": "gguf"}'), "tells of no weights"),
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.with_suffix(".safetensors").unlink(), "cannot be read"),
        (spoil_json(kind="fault"), "kind should be 'performance-ensemble'"),
        (spoil_json(version=2), "version should be 1"),
        (spoil_json(features=["walltime"]), "other features"),
        (spoil_json(scale=[0.0] * len(NAMES)), "scale should be"),
        (spoil_json(center=["x"] * len(NAMES)), "center should be"),
        (spoil_json(scores=[2.0]), "scores should be"),
    ],
)
def test_a_file_that_is_no_sound_file_of_weights_is_refused_in_one_sentence(kept, spoil, complaint):
    spoil(kept)
    with pytest.raises(InputError, match=complaint) as refused:
        loaded(kept)
    assert "\n" not in str(refused.value)
    assert kept.stem.split(".")[0] in str(refused.value)
    assert not Path("/tmp/hpcsim-was-here").exists()


def test_a_run_with_a_file_that_is_not_sound_does_not_begin(kept):
    spoil_json(kind="fault")(kept)
    performance_ensemble.read.cache_clear()
    twin = {"name": "runtime-ensemble", "weights": str(kept)}
    with pytest.raises(InputError, match=r"twin runtime-ensemble: .*kind should be"):
        replay.begin("polaris", {"jobs": 10, "twins.performance": twin})


def test_the_weights_that_come_with_hpcsim_are_sound_and_say_what_made_them():
    for machine in ("polaris", "mira", "cooley", "theta", "aurora", "general"):
        path = TRAINED / f"{machine}.performance.json"
        assert loaded(path).scores
        assert json.loads(path.read_text())["command"].startswith("hpcsim twins train ")
    assert sum(path.stat().st_size for path in TRAINED.iterdir()) < 10_000_000


# -- in a run -----------------------------------------------------------------------------------


@pytest.fixture
def asked():
    """A twin, some jobs, and a view of a simulation at its first second."""
    simulation = replay.begin("polaris", {"jobs": 300, "twins.performance": "runtime-ensemble"})
    return simulation.twins["performance"], list(simulation.workload.jobs()), View(simulation)


def count_calls(monkeypatch):
    calls = []
    forward = network.outputs
    monkeypatch.setattr(
        network, "outputs", lambda tensors, x, *more: calls.append(len(x)) or forward(tensors, x, *more)
    )
    return calls


def test_jobs_are_predicted_once_many_in_one_call_and_again_after_1_2_4_ends_of_their_user(asked, monkeypatch):
    twin, jobs, view = asked
    calls = count_calls(monkeypatch)
    mine = [job._replace(id=i, user="ann") for i, job in enumerate(jobs[:50])]
    for _ in range(3):
        twin.performance(mine, view)
    assert calls == [50]
    for n in range(8):
        twin.ended(Ended(mine[0]._replace(id=1000 + n), 60, "completed", 5, None))
        twin.performance(mine, view)
    twin.ended(Ended(mine[0]._replace(id=2000, user="bob"), 60, "completed", 5, None))
    twin.performance(mine, view)
    assert calls == [50] + [50] * 4  # after 1, 2, 4 and 8


def test_what_the_last_jobs_of_a_user_did_moves_the_prediction(asked):
    twin, jobs, view = asked
    job = jobs[0]._replace(user="ann", nodes=2, walltime=3600)
    for n in range(5):
        twin.ended(Ended(job._replace(id=1000 + n), 20, "completed", 0, None))
        twin.ended(Ended(job._replace(id=2000 + n, user="bob"), 3500, "completed", 0, None))
    short, long = twin.performance([job, job._replace(id=1, user="bob")], view).mean
    assert short < 300 < 1200 < long <= 3600


def test_no_answer_is_above_the_walltime(asked):
    twin, jobs, view = asked
    answer = twin.performance(jobs, view)
    assert (answer.mean <= [job.walltime for job in jobs]).all()
    assert (answer.mean > 0).all()
    assert (answer.aleatoric > 0).all()
    assert (answer.epistemic > 0).all()


def test_a_job_that_runs_is_expected_to_run_longer_than_it_has(asked):
    simulation = replay.begin("polaris", {"jobs": 300, "twins.performance": "runtime-ensemble"})
    twin, view = simulation.twins["performance"], View(simulation)
    checked = 0
    while simulation.step() is not None and checked < 100:
        jobs = [running.job for running in view.running.values()]
        if jobs:
            answer = twin.performance(jobs, view).mean
            elapsed = view.now - np.array([running.start for running in view.running.values()])
            assert (answer >= np.minimum(elapsed, [job.walltime for job in jobs]) - 1e-6).all()
            checked += 1
    assert checked == 100


def test_deviations_grow_when_ends_come_as_surprises(asked):
    twin, jobs, view = asked
    before = copy.deepcopy(twin).performance(jobs[:1], view)
    mine = [job._replace(id=10_000 + i) for i, job in enumerate(jobs)]
    for job in mine:
        twin.performance([job], view)
        twin.ended(Ended(job, 1 if job.id % 2 else job.walltime, "completed", 0, None))
    job = jobs[0]._replace(id=0, user="nobody", project="")
    after = twin.performance([job], view)
    assert after.aleatoric[0] / after.mean[0] > 0
    assert twin._stretch > 1.0
    assert before.aleatoric[0] > 0


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda twin: pickle.loads(pickle.dumps(twin))])
def test_a_copy_that_hears_of_many_ends_before_it_is_asked_learns_from_them(asked, copied):
    twin, jobs, view = asked
    mine = [job._replace(id=20_000 + i) for i, job in enumerate(jobs)]
    twin.performance(mine, view)
    other = copied(twin)  # as that of a fork or a saved simulation, in which ends come first
    for job in mine:
        for each in (twin, other):
            each.ended(Ended(job, job.walltime, "completed", 0, None))
    assert other.report() == twin.report()
    assert len(mine) > 50
    assert (other.performance(jobs, view).mean == twin.performance(jobs, view).mean).all()


def test_a_saved_simulation_goes_on_with_what_its_twin_has_learned(tmp_path):
    scenario = {"jobs": 300, "twins.performance": "runtime-ensemble", "scheduler": "heft"}
    simulation = replay.begin("polaris", scenario)
    for _ in range(150):
        simulation.step()
    simulation.save(tmp_path / "s")
    other = replay.resume(tmp_path / "s")
    simulation.run()
    other.run()
    assert list(simulation.attempts.start) == list(other.attempts.start)


def test_torch_is_not_imported_by_a_run_that_asks_and_nothing_is_loaded_by_one_that_does_not():
    code = (
        "import sys; from hpcsim.replay import simulate\n"
        "simulate('polaris', {'jobs': 50, 'scheduler': %r, 'twins.performance': 'runtime-ensemble'})\n"
        "print([name for name in ('torch', 'sklearn', 'safetensors') if name in sys.modules])"
    )
    for scheduler, imported in (("easy", "[]"), ("heft", "['safetensors']")):
        done = subprocess.run([sys.executable, "-c", code % scheduler], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == imported


def test_an_unknown_name_of_weights_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match=r"no weights named 'polariss'. Known: aurora, cooley"):
        RuntimeEnsemble(RuntimeEnsemble.Options(weights="polariss"))


# -- the commands -------------------------------------------------------------------------------


def test_train_leaves_weights_that_a_scenario_can_name_and_no_checkpoint(tmp_path):
    few = ["train", "polaris", "--set", "days=6", "--set", "physics=null", "-o", str(tmp_path)]
    said = CliRunner().invoke(command, [*few, "--epochs", "2"], catch_exceptions=False)
    assert said.exit_code == 0, said.output
    path = tmp_path / "polaris.performance.json"
    assert sorted(each.name for each in tmp_path.iterdir()) == [path.name, "polaris.performance.safetensors"]
    twin = {"name": "runtime-ensemble", "weights": str(path)}
    run = replay.simulate("polaris", {"jobs": 40, "scheduler": "heft", "twins.performance": twin})
    assert run.summary["jobs"] == 40
    again = CliRunner().invoke(command, few)
    assert isinstance(again.exception, InputError)


def test_twins_still_lists_and_tells():
    listed = CliRunner().invoke(command, [])
    assert "last-two" in listed.output
    assert "weights" in CliRunner().invoke(command, ["runtime-ensemble"]).output


@pytest.fixture(scope="module")
def judged():
    run = replay.simulate("polaris", {"days": 4, "physics": None})
    rows = of_run(run.tables["jobs"], run.manifest["t0_utc"], 560)
    parts = split(rows)
    return rows, parts, performance_evaluation.evaluate(rows, parts, [1, 2], epochs=2)


def test_the_oracle_is_the_upper_bound_of_every_metric(judged):
    compared = judged[2].compared
    headings = [column.heading for column in judged[2].columns]
    accuracy, coverage, crps = map(headings.index, ("accuracy", "90 % interval holds", "CRPS, ln s"))
    assert compared["oracle"].mean[coverage] == 1
    for each in compared.values():
        assert each.mean[accuracy] <= compared["oracle"].mean[accuracy]
        assert each.mean[crps] >= compared["oracle"].mean[crps]


def test_last_two_is_what_the_plug_in_answers(judged):
    from hpcsim.twins.performance import LastTwo

    rows, parts, _ = judged
    said = performance_baselines.predictors(rows, parts, 1, without={"boosting", "ridge"})["last-two"].point
    which = np.concatenate([parts.check, parts.test])
    place = int(np.flatnonzero(rows.jobs.user[which] == np.bincount(rows.jobs.user[which]).argmax())[40])
    job, user, twin = which[place], rows.jobs.user[which[place]], LastTwo()
    simulation = replay.begin("polaris", {"jobs": 2})
    any_job = next(simulation.workload.jobs())
    known = [
        (rows.end_s[j], j)
        for j in range(len(rows.end_s))
        if rows.usable[j] and rows.jobs.user[j] == user and rows.end_s[j] <= rows.jobs.submit_s[job]
    ]
    for end_s, j in sorted(known):
        ended = any_job._replace(id=int(j), user="u", walltime=int(rows.jobs.walltime_s[j]))
        twin.ended(Ended(ended, int(rows.runtime_s[j]), "completed", int(end_s), None))
    asked = any_job._replace(id=int(job), user="u", walltime=int(rows.jobs.walltime_s[job]))
    assert said[place] == pytest.approx(twin.performance([asked], View(simulation)).mean[0])


def test_the_summary_says_how_the_twin_did():
    run = replay.simulate("polaris", {"jobs": 500, "scheduler": "heft", "twins.performance": "runtime-ensemble"})
    report = run.summary["twins"]["performance"]
    assert 0 < report["predicted"] <= 500
    assert 0 < report["accuracy"] < 1
    assert 0.5 < report["held_90"] <= 1
    assert 0 <= report["drift"] <= 1
    still = replay.simulate("polaris", {"jobs": 50, "twins.performance": "runtime-ensemble"})
    assert still.summary["twins"]["performance"]["predicted"] == 0


def test_a_world_that_changes_is_noticed(asked):
    twin, jobs, view = asked
    for n, job in enumerate(jobs):
        twin.performance([job], view)
        twin.ended(Ended(job, 1, "completed", n, None))  # all of them crash at once
    report = twin.report()
    assert report["drifted_since_s"] is not None
    assert report["predicted"] == len(jobs)


def test_ends_at_lower_clocks_teach_how_jobs_feel_them(asked):
    twin, jobs, view = asked
    mine = [job._replace(user="ann", id=n) for n, job in enumerate(jobs)]
    other = jobs[0]._replace(user="bob", id=9999)
    before = twin.sensitivity([mine[0], other], view)
    assert before.mean.tolist() == [0.5, 0.5]
    for job in mine[:200]:
        said = twin.performance([job], view).mean[0]
        twin.ended(Ended(job, round(said * (1 + 0.9 * (1 / 0.5 - 1))), "completed", 5, None, 0.5))
    after = twin.sensitivity([mine[0], other], view)
    assert after.mean[0] > 0.7
    assert after.epistemic[0] < before.epistemic[0]
    assert 0.5 < after.mean[1] < after.mean[0]
    assert after.epistemic[1] > after.epistemic[0]
