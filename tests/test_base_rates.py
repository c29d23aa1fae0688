"""Twins without learning: base rates of failures, yesterday's power, and the machine's own equations of heat."""

import numpy as np
import pytest

from hpcsim.engine.view import View
from hpcsim.replay import begin


def twins_after(seconds, **named):
    sim = begin("cooley", {"days": 2.5, "seed": 3, **{f"twins.{kind}": name for kind, name in named.items()}})
    sim.run(seconds)
    return sim, View(sim).twins


def test_all_nodes_fail_as_often_as_the_machine_does_and_programs_as_the_last_did():
    sim, twins = twins_after(30 * 3600, fault="fault-base-rate")
    spec = sim.site.cluster.spec
    day = twins.fault(np.arange(spec.units), 86_400)
    assert day.mean == pytest.approx(1 - np.exp(-24 / spec.failures.mean_gap_h / spec.units))
    assert -np.log1p(-day.mean).sum() == pytest.approx(24 / spec.failures.mean_gap_h)
    ended = [state for state in sim.attempts.state.tolist() if state in (0, 1, 2)]
    jobs = list(sim.workload.jobs(0, 3))
    assert twins.job_failure(jobs).mean == pytest.approx(np.mean(np.array(ended) == 1))


def test_power_is_what_it_was_at_that_hour_of_yesterday():
    sim, twins = twins_after(47 * 3600, energy="energy-yesterday")
    log_s, log_w = sim.site.cluster.meter.power_log
    found = twins.power([900, 3600]).mean
    for horizon_s, watts in zip((900, 3600), found.tolist(), strict=True):
        then = 47 * 3600 + horizon_s - 86_400
        read_at = then // 300 * 300
        was = log_w[np.searchsorted(log_s, read_at, side="right") - 1]
        assert watts == pytest.approx(was, rel=0.03)  # sensors have noise
    young, early = twins_after(3600, energy="energy-yesterday")
    assert early.power([900]).mean == pytest.approx(young.site.cluster.meter.it_w)


def test_the_oracle_of_heat_knows_what_nodes_will_be_at_that_go_on_as_they_do():
    sim, twins = twins_after(20 * 3600 + 600, thermal="thermal-oracle")
    spec, cluster = sim.site.cluster.spec, sim.site.cluster
    for _ in range(40):  # until nothing happens for two minutes
        every, rows = np.arange(spec.units), cluster.meter.power_log_rows
        now_w = np.array([cluster.heat.power_w(unit) for unit in every.tolist()])
        told = twins.thermal(every, now_w[:, 0], 120).mean
        of_gpus = twins.gpu_thermal(every, now_w[:, 0], 120, now_w[:, 1]).mean
        sim.run(sim.now + 120)
        if cluster.meter.power_log_rows == rows:
            break
    assert cluster.meter.power_log_rows == rows
    node_c, gpu_c = cluster.heat.temperatures(sim.now)
    assert told == pytest.approx(node_c, abs=1e-6)
    assert of_gpus == pytest.approx(gpu_c, abs=1e-6)
