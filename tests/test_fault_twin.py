"""The fault twin: its features, its network against torch, its calibration, its weights, and what it says in a run."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import multivariate_normal, poisson

import hpcsim
from hpcsim.errors import InputError
from hpcsim.plugin import UNIT_STATES, Readings
from hpcsim.twins import fault_network as network
from hpcsim.twins import fault_training as training
from hpcsim.twins import weights as files
from hpcsim.twins.fault_evaluation import _Judge
from hpcsim.twins.fault_features import DESCRIBED, INTERVALS, PER_INTERVAL, SENSES_EVERY_S, SEQUENCE, SLOW, Health, seen
from hpcsim.twins.fault_learner import LEARNER
from hpcsim.twins.fault_lstm import KIND, FaultLSTM, read
from hpcsim.twins.fault_records import FaultRecords, _to_failures
from hpcsim.twins.fault_signs import _NOW, HOURS, LEADS_H, SIGNS, SIZE, Seen, Signs, fit, likelihood
from hpcsim.twins.fault_signs import told as tell_signs
from hpcsim.twins.fault_training import Trained, calibrated, draw, forward, joined, showing, train
from hpcsim.twins.fault_warmth import Warmth
from hpcsim.twins.learners import Recorded
from hpcsim.twins.loop import ALONE, Course, Plan

U = 24
DOWN, IDLE, BUSY = (UNIT_STATES.index(name) for name in ("down", "idle", "busy"))
FAULT = DESCRIBED.index("fault")
PLAIN = Signs.unpacked(np.zeros(SIZE))


def samples(count, seed=1):
    """What sensors of U units might read: the second, state, job, watts, degrees, errors of each sample."""
    rng = np.random.default_rng(seed)
    watts, job = np.full(U, 500.0), np.arange(U)
    for number in range(count):
        changes = rng.random(U) < 0.003
        job = np.where(changes, job + U, job)
        watts = np.where(changes, rng.choice([500.0, 900.0, 1500.0], U), watts)
        state = np.where(rng.random(U) < 0.0005, DOWN, np.where(watts > 500, BUSY, IDLE)).astype(np.int8)
        celsius = 22.0 + np.sin(number / 160) + watts * (0.02 + 0.002 * np.arange(U) / U) + rng.normal(0, 0.4, U)
        yield number * SENSES_EVERY_S, state, job, watts * rng.normal(1, 0.01, U), celsius, rng.poisson(0.02, U)


def readings(some):
    nothing = np.zeros(U)
    for time, state, job, watts, celsius, errors in some:
        yield Readings(np.full(U, time), np.arange(U), state, job, celsius, None, watts, nothing, None, errors)


def told(health, some):
    for each in some:
        health.tell(*each)
    return health


# -- features -------------------------------------------------------------------------------------


def test_nothing_later_than_the_sample_enters_and_a_twin_hears_what_training_is_told():
    every = list(samples(1000))
    early, late = told(Health(U), every[:700]), Health(U)
    for each in readings(every[:700]):
        late.hear(each)
    assert np.array_equal(early.sequence(), late.sequence())
    assert np.array_equal(early.described(PLAIN), late.described(PLAIN))
    before = early.sequence().copy(), early.described(PLAIN)
    whole = told(Health(U), every[: 700 // PER_INTERVAL * PER_INTERVAL])
    assert np.array_equal(whole.sequence(), before[0])  # an hour that is not over is not there yet
    assert np.array_equal(whole.described(PLAIN), before[1])
    later = told(early, every[700:])
    assert np.array_equal(later.sequence()[:, 0], told(Health(U), every[: 1000 - 14 * PER_INTERVAL]).sequence()[:, -1])


def test_what_a_sensor_drifts_is_seen_apart_from_work_and_supply():
    every = list(samples(2400))
    drift_k = 2.0
    for time, state, job, watts, celsius, _ in every[2280:]:
        celsius[7] += drift_k * min(1.0, (time / SENSES_EVERY_S - 2280) / 20)
        state[7], job[7], watts[7] = IDLE, -1, watts[7]
    health = told(Health(U), every)
    warmth = health.sequence()[:, -7:, SEQUENCE.index("warmth_k")]
    shown = health.sequence()[:, -7:, SEQUENCE.index("settled")] > 0.5
    assert warmth[7][shown[7]].mean() == pytest.approx(drift_k, abs=0.3)
    others = np.delete(np.where(shown, warmth, np.nan), 7, 0)
    assert np.nanstd(others) < 0.25  # of 12 readings that err by 0.4 K each
    assert abs(np.nanmean(others)) < 0.05


def test_failures_are_counted_and_an_outage_is_nobodys():
    def state(*down):
        return np.where(np.isin(np.arange(U), down), DOWN, IDLE).astype(np.int8)

    plain = (np.full(U, -1), np.full(U, 500.0), np.full(U, 35.0), np.zeros(U, np.int64))
    course = [state(), state(3), state(3), state(), *[state()] * 15, state(*range(U)), *[state()] * 10]
    health = told(Health(U), ((i * SENSES_EVERY_S, s, *plain) for i, s in enumerate(course)))
    slow = dict(zip(SLOW, health.slow.T, strict=True))
    assert slow["failures"][3] == pytest.approx(1.0, abs=0.02)
    assert np.delete(slow["failures"], 3).max() == 0.0
    assert slow["back_h"][3] == pytest.approx(np.log1p(20 * SENSES_EVERY_S / 3600))
    assert np.delete(slow["back_h"], 3).min() > 8.0
    assert slow["neighbours_72h"][[2, 4]].min() > 0.9


def test_a_thermometer_is_told_alike_from_columns_that_are_used_again():
    every = [each[1:5] for each in samples(1200)]
    fresh, reused = Warmth(U, SENSES_EVERY_S), Warmth(U, SENSES_EVERY_S)
    buffers = [np.zeros((PER_INTERVAL, U)) for _ in range(4)]
    for first in range(0, len(every), PER_INTERVAL):
        columns = [np.array(column) for column in zip(*every[first : first + PER_INTERVAL], strict=True)]
        for buffer, column in zip(buffers, columns, strict=True):
            buffer[:] = column
        for mine, theirs in zip(fresh.tell(*columns), reused.tell(*buffers), strict=True):
            assert np.array_equal(mine, theirs)
    assert fresh.tell(*columns)[1].any()


# -- signs ----------------------------------------------------------------------------------------


def before_faults(count, warm_k, errors_per_h, seed):
    """What is seen half an hour before faults, of which 7 in 10 were announced for 8 hours."""
    rng = np.random.default_rng(seed)
    ago = np.arange(HOURS - 1, -1, -1.0) + 0.5
    strength = np.where(rng.random((count, 1)) < 0.7, np.clip((7.5 - ago) / 8.0, 0.0, 1.0), 0.0)
    base = np.full(count, 0.1)
    return Seen(
        rng.poisson(base[:, None] + errors_per_h * strength).astype(np.float32),
        (warm_k * strength + rng.normal(0, 0.2, strength.shape)).astype(np.float32),
        np.full(strength.shape, 12, np.float32), base, np.full(count, 1e-4),
    )  # fmt: skip


def test_what_signs_grow_to_is_learned_from_the_hours_before_failures():
    signs = fit(before_faults(600, 2.5, 5.0, 1), before_faults(600, 0.0, 0.0, 2))
    assert signs.warm_k == pytest.approx(2.5, rel=0.1)
    assert signs.errors_per_h == pytest.approx(5.0, rel=0.1)
    assert LEADS_H[int(signs.leads.argmax())] == pytest.approx(8.0, rel=0.4)
    again = Signs.unpacked(signs.packed())
    assert np.allclose([*again[:4], *again.leads], [*signs[:4], *signs.leads], rtol=1e-4, atol=1e-3)


def test_signs_are_told_by_bayes_rule_and_by_when_the_fault_comes():
    signs = Signs(2.5, 5.0, 0.1, 0.5, np.full(len(LEADS_H), 1 / len(LEADS_H)))
    some = before_faults(40, 2.5, 5.0, 3)
    log = likelihood(signs, some, _NOW)
    variance = 0.1**2 + 0.5**2 / 12
    within = np.eye(HOURS) * variance + 0.1**2  # an offset that lasts
    for number in (0, 17):
        for shape, found in zip(_NOW, log[number], strict=True):
            warm = [multivariate_normal(k * shape, within).logpdf(some.warm_k[number]) for k in (2.5, 0.0)]
            count = [poisson.logpmf(some.errors[number], 0.1 + r * shape).sum() for r in (5.0, 0.0)]
            assert found == pytest.approx(warm[0] - warm[1] + count[0] - count[1], abs=2e-2)
    features = np.exp(tell_signs(signs, some))
    assert (features[:, :7].sum(1) <= 1 + 1e-5).all()
    assert (features[:, SIGNS.index("fault")] > 0.9).mean() == pytest.approx(0.7, abs=0.2)
    quiet = np.exp(tell_signs(signs, before_faults(400, 0.0, 0.0, 4)))[:, SIGNS.index("fault")]
    assert np.mean(quiet > 0.1) < 0.01


def test_a_repair_ends_all_signs_and_heat_of_work_that_nobody_read_is_cut_off():
    sequence = np.zeros((2, HOURS, len(SEQUENCE)), np.float16)
    sequence[..., SEQUENCE.index("errors")] = np.log1p(2.0)
    sequence[..., SEQUENCE.index("settled")] = 1.0
    sequence[0, 40, SEQUENCE.index("down")] = 0.25
    sequence[1, 50, SEQUENCE.index("warmth_k")] = 3.0
    sequence[1, 60:, SEQUENCE.index("warmth_k")] = np.minimum(0.5 * np.arange(1, 13), 3.0)  # grows, as signs do
    some = seen(sequence, np.zeros((2, len(DESCRIBED)), np.float16))
    assert not some.errors[0, :41].any()
    assert not some.readings[0, :41].any()
    assert (some.errors[0, 41:] == 2).all()
    assert some.warm_k[1, 50] == 1.0
    assert np.array_equal(some.warm_k[1, 60:], sequence[1, 60:, SEQUENCE.index("warmth_k")])


# -- network --------------------------------------------------------------------------------------


def tensors(seed=1):
    rng = np.random.default_rng(seed)
    return {name: (0.3 * rng.standard_normal(shape)).astype(np.float32) for name, shape in network.SHAPES.items()}


def test_the_forward_pass_is_that_of_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(2)
    x = rng.standard_normal((37, INTERVALS, len(SEQUENCE))).astype(np.float32)
    z = rng.standard_normal((37, len(DESCRIBED))).astype(np.float32)
    mine = network.network_log_rates(tensors(), x, z)
    lstm = torch.nn.LSTM(len(SEQUENCE), network.HIDDEN, 2, batch_first=True)
    attention = torch.nn.MultiheadAttention(network.HIDDEN, network.HEADS, bias=False, batch_first=True)
    given = {name: torch.from_numpy(value) for name, value in tensors().items()}
    with torch.no_grad():
        for layer in (0, 1):
            getattr(lstm, f"weight_ih_l{layer}").copy_(given[f"input{layer}"])
            getattr(lstm, f"weight_hh_l{layer}").copy_(given[f"state{layer}"])
            getattr(lstm, f"bias_ih_l{layer}").copy_(given[f"bias{layer}"])
            getattr(lstm, f"bias_hh_l{layer}").zero_()
        attention.in_proj_weight.copy_(torch.cat([given["query"], given["key"], given["value"]]))
        attention.out_proj.weight.copy_(torch.eye(network.HIDDEN))
        steps, _ = lstm(torch.from_numpy(x))
        found, _ = attention(steps[:, -1:], steps, steps)
        joined = torch.cat([steps[:, -1], found[:, 0], torch.from_numpy(z)], 1)
        hidden = torch.relu(joined @ given["dense"].T + given["dense_bias"])
        wide = torch.cat([torch.from_numpy(x).reshape(37, -1), torch.from_numpy(z)], 1) @ given["wide"].T
        theirs = hidden @ given["rates"].T + given["rates_bias"] + wide
        assert np.allclose(mine, theirs.numpy(), atol=2e-5)
        learned = forward(torch, given, torch.from_numpy(x), torch.from_numpy(z))
        assert np.allclose(mine, learned.numpy(), atol=2e-5)


def test_both_members_are_averaged_in_logarithms_and_the_network_tells_when_a_failure_comes():
    rng = np.random.default_rng(5)
    x = rng.normal(0, 0.2, (9, INTERVALS, len(SEQUENCE))).astype(np.float32)
    z = rng.normal(0, 0.2, (9, len(DESCRIBED))).astype(np.float32)
    weights = tensors() | {"linear_bias": np.array([-3.0], np.float32)}
    odds = np.concatenate([x.reshape(9, -1), z], 1).astype(float) @ weights["linear"] - 3.0
    of_linear = -np.log1p(-1.0 / (1.0 + np.exp(-odds)))
    alone = network.network_log_rates(weights, x, z)
    of_network = network.expected(alone, 24.0)
    for share in (0.0, 0.3, 1.0):
        both = network.log_rates(weights | {"linear_share": np.array([share], np.float32)}, x, z)
        assert network.expected(both, 24.0) == pytest.approx(of_linear**share * of_network ** (1 - share), rel=1e-3)
        assert np.allclose(both - both[:, :1], alone - alone[:, :1], atol=1e-4)


def test_any_horizon_is_the_integral_of_the_rates():
    log_rate = np.log(np.array([[0.01, 0.02, 0.03, 0.04, 0.05, 0.06]]))
    edges = (0.0, *network.EDGES_H)
    for horizon_h in (0.5, 2.0, 7.0, 24.0, 100.0, 1000.0):
        grid = np.linspace(0, horizon_h, 200_001)[1:] - horizon_h / 400_000
        rates = np.exp(log_rate[0])[np.minimum(np.searchsorted(edges, grid, side="right") - 1, 5)]
        assert network.expected(log_rate, horizon_h)[0] == pytest.approx(rates.mean() * horizon_h, rel=1e-4)


# -- learning -------------------------------------------------------------------------------------


def test_calibration_finds_the_level_and_the_slope():
    rng = np.random.default_rng(3)
    log_h = rng.normal(-5, 1.5, 400_000)
    failed = rng.random(log_h.size) < -np.expm1(-np.exp(0.7 + 1.3 * log_h))
    (level, slope), covariance = calibrated(log_h, failed)
    assert level == pytest.approx(0.7, abs=4 * covariance[0, 0] ** 0.5)
    assert slope == pytest.approx(1.3, abs=4 * covariance[1, 1] ** 0.5)
    assert covariance[0, 0] ** 0.5 < 0.2


def test_the_area_under_precision_and_recall_is_that_of_scikit_learn_also_of_repeated_days():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(4)
    said = np.round(rng.random(2000), 2)
    failed = rng.random(2000) < said * 0.3
    times = rng.integers(0, 3, 2000)
    mine = _Judge(said, failed).average_precision(times)
    assert mine == pytest.approx(metrics.average_precision_score(failed, said, sample_weight=times))


def made_up(hours, seed):
    """Records in which units with signs fail within the day, and others hardly ever."""
    rng = np.random.default_rng(seed)
    sequence = rng.normal(0, 0.3, (hours, U, len(SEQUENCE))).astype(np.float16)
    slow = np.zeros((hours, U, len(DESCRIBED)), np.float16)
    slow[..., SLOW.index("back_h")] = 9.0
    slow[..., FAULT] = -13.0
    fails_in_h = np.full((hours, U), np.inf, np.float32)
    for _ in range(hours // 6):
        unit, at = rng.integers(U), rng.integers(20, hours)
        begin = at - rng.integers(5, 19)
        slow[begin:at, unit, FAULT] = -0.5
        fails_in_h[begin:at, unit] = np.arange(at - begin, 0, -1)
    time_s = 3600 * np.arange(1, hours + 1)
    return FaultRecords(time_s, sequence, slow, np.ones((hours, U), bool), fails_in_h)


@pytest.fixture(scope="module")
def lesson():
    return made_up(900, 1)._replace(practice=made_up(700, 2))


def test_each_third_of_what_is_drawn_shows_much_something_or_nothing(lesson):
    drawn = draw([(lesson.practice, lesson.practice.parts()[0])], 300, np.random.default_rng(1))
    assert np.bincount(showing(drawn.slow), minlength=3).max() <= 100
    assert len(drawn.slow) >= 200


@pytest.mark.parametrize(("telling", "shares"), [("network", (0.0, 0.2)), ("line", (0.8, 1.0))])
def test_the_member_that_tells_more_of_the_hours_to_check_gets_the_larger_share(lesson, telling, shares):
    pytest.importorskip("sklearn")
    blank = {name: np.zeros(shape, np.float32) for name, shape in network.NETWORK.items()}
    count = len(network.FEATURES)
    alone = Trained(blank | {"signs": PLAIN.packed()}, np.zeros(count), np.ones(count), (0.0, 1.0), [], 0, "")
    alone.tensors["wide"][:, FAULT - len(DESCRIBED) if telling == "network" else 0] = 1.0  # the other is noise
    drawn = draw([(lesson.practice, lesson.practice.parts()[0])], 3000, np.random.default_rng(1))
    if telling == "network":  # so the line learns from noise
        drawn = drawn._replace(fails_in_h=np.random.default_rng(2).permutation(drawn.fails_in_h))
    found = joined(alone, drawn, [(lesson, lesson.parts()[0])])
    assert shares[0] <= found.tensors["linear_share"][0] <= shares[1] + 1e-3
    test = lesson.all_of(lesson.parts()[1])
    said, failed = found.probability(lesson, test), lesson.within(test, 24.0)
    assert _Judge(said, failed).average_precision(np.ones(len(said), np.int64)) > 10 * failed.mean()


class Killed(Exception):
    """Stands for whatever may end a training."""


def test_training_learns_resumes_and_repeats_to_the_same_weights(lesson, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(training, "_DRAWN", 1200)
    plan = Plan(1, epochs=3, patience=3, batch=64)
    whole = train([lesson], PLAIN, plan, ALONE)

    def killed_after_the_first(epoch, fitted, checked):
        raise Killed

    with pytest.raises(Killed):
        train([lesson], PLAIN, plan, Course(checkpoint=tmp_path / "c", told=killed_after_the_first))
    again = train([lesson], PLAIN, plan, Course(checkpoint=tmp_path / "c", resume=True))
    assert all(np.array_equal(whole.tensors[name], again.tensors[name]) for name in whole.tensors)
    assert whole.calibration == again.calibration
    assert np.array_equal(whole.covariance, again.covariance)
    test = lesson.all_of(lesson.parts()[1])
    said, failed = whole.probability(lesson, test), lesson.within(test, 24.0)
    area = _Judge(said, failed).average_precision(np.ones(len(said), np.int64))
    assert area > 10 * failed.mean()


# -- weights --------------------------------------------------------------------------------------


def kept(directory, **changes):
    count = len(network.FEATURES)
    calibration = {"level": -1.0, "slope": 1.0, "usual_per_h": 1e-4, "covariance": [0.01, 0.0, 0.0, 0.01]}
    about = {"kind": KIND, "features": list(network.FEATURES), "calibration": calibration}
    about |= {"center": [0.0] * count, "scale": [1.0] * count}
    half = {name: value.astype(np.float16) for name, value in tensors().items()}
    return files.save(directory, "mine.fault", half, about | changes)


def test_weights_that_are_not_sound_are_refused(tmp_path):
    read(kept(tmp_path / "good"))
    for number, changes in enumerate((
        {"kind": "performance"}, {"features": ["load"]}, {"calibration": None},
        {"calibration": {"level": 0.0, "slope": 0.0, "usual_per_h": 1e-4, "covariance": [0.0] * 4}},
        {"calibration": {"level": 0.0, "slope": 1.0, "usual_per_h": 1e-4, "covariance": [0.0] * 3}},
    )):  # fmt: skip
        with pytest.raises(InputError):
            read(kept(tmp_path / str(number), **changes))
    path = kept(tmp_path / "cut")
    data = path.with_suffix(".safetensors").read_bytes()
    path.with_suffix(".safetensors").write_bytes(data[:-10])
    with pytest.raises(InputError, match="damaged"):
        read(path)
    with pytest.raises(InputError, match="no weights named 'generall'"):
        FaultLSTM(FaultLSTM.Options(weights="generall"))


# -- a run ----------------------------------------------------------------------------------------

RUN = {"machine.model": "cooley", "physics.telemetry.interval": SENSES_EVERY_S, "days": 3}


def test_records_are_what_a_twin_would_have_heard_and_labels_what_interrupts_say():
    run = hpcsim.simulate("cooley", RUN | {"physics.failure_rate": 60})
    recorded = Recorded(run.tables, run.manifest, run.telemetry_file.table)
    rows = LEARNER.records(recorded)
    table = run.telemetry
    jobs = {name: number for number, name in enumerate(run.jobs["job_id"])}
    health = Health(126)
    for _, sample in table.groupby("time_s"):
        state = np.array([UNIT_STATES.index(name) for name in sample["state"]], np.int8)
        job = np.array([jobs.get(name, -1) for name in sample["job_id"]])
        health.tell(int(sample["time_s"].iloc[0]), state, job, *(sample[name].to_numpy() for name in
                    ("node_w", "node_c", "corrected_errors")))  # fmt: skip
        if health.samples % PER_INTERVAL == 0:
            hour = health.intervals - 1
            assert np.array_equal(rows.sequence[hour], health.sequence()[:, -1].astype(np.float16))
            assert np.array_equal(rows.slow[hour, :, : len(SLOW)], health.slow.astype(np.float16))
    interrupts = run.interrupts
    hour, unit = np.argwhere(rows.fails_in_h < 24)[0]
    fails_s = rows.time_s[hour] + 3600 * rows.fails_in_h[hour, unit]
    assert np.isclose(interrupts[interrupts["cause"] == "hardware"]["time_s"], fails_s, atol=2).any()
    assert _to_failures(run.tables["interrupts"], rows.time_s, 126)[1] == (interrupts["cause"] == "hardware").sum()


def test_too_little_to_learn_from_is_told():
    run = hpcsim.simulate("cooley", RUN | {"days": 1})
    with pytest.raises(InputError, match="needs 10 failures or more, found"):
        LEARNER.records(Recorded(run.tables, run.manifest, run.telemetry_file.table))
    with pytest.raises(InputError, match=r"needs a scenario with machine.model and physics"):
        LEARNER.records(Recorded(run.tables, run.manifest))


def test_who_asks_every_hour_does_not_wait_for_the_look_and_is_told_the_same(tmp_path, monkeypatch):
    options = FaultLSTM.Options.model_validate({"weights": str(kept(tmp_path))})
    often, once = FaultLSTM(options), FaultLSTM(options)
    looks = {id(often): [], id(once): []}
    look = FaultLSTM._look
    monkeypatch.setattr(FaultLSTM, "_look", lambda self, *known: (looks[id(self)].append(asking), look(self, *known)))
    hours, asking = 9, False
    for number, each in enumerate(readings(samples(hours * PER_INTERVAL + 3))):
        for twin in (often, once):
            twin.sensed(each)
        if (number % PER_INTERVAL == 2 and number < 5 * PER_INTERVAL) or number == hours * PER_INTERVAL + 2:
            asking = True
            told_often = often.fault(np.arange(U), 7200, None)
            asking = False
    asking = True
    told_once = once.fault(np.arange(U), 7200, None)
    assert all(map(np.array_equal, told_often, told_once))
    assert looks[id(once)] == [True]
    # Asked in hours 0 to 4, it looks when hours 1 to 5 begin, and then only when it is asked again.
    assert looks[id(often)] == 5 * [False] + [True]


def test_weights_of_a_file_answer_in_a_run(tmp_path):
    path = kept(tmp_path)
    json.loads(path.read_text())
    plugin = tmp_path / "asks.py"
    plugin.write_text(
        "from hpcsim.plugin import Start, hookimpl\n"
        "class Asks:\n"
        "    name, api, needs = 'asks', 1, {'fault-twin'}\n"
        "    def schedule(self, view):\n"
        "        day, week = (view.twins.fault(range(126), days * 86400) for days in (1, 7))\n"
        "        assert (day.mean <= week.mean).all() and day.mean.min() >= 0 and week.mean.max() <= 1\n"
        "        room = view.room()\n"
        "        yield from (Start(job) for job in view.queue if room.take(job))\n"
        "@hookimpl\n"
        "def hpcsim_schedulers(register):\n"
        "    register(Asks)\n"
    )
    named = {"twins.fault": {"name": "fault-lstm", "weights": str(path)}, "scheduler": "asks"}
    run = hpcsim.simulate("cooley", {"machine.model": "cooley", "days": 1} | named, plugins=plugin)
    assert run.manifest["twins"]["fault"] == "fault-lstm"
