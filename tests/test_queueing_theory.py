"""Against theory: jobs that come by chance wait as the closed forms of queueing theory say."""

from math import factorial, sqrt

import numpy as np
import pytest
from scipy import stats

from hpcsim.engine.simulation import Simulation
from hpcsim.results.check import check
from hpcsim.results.tables import attempts_table, jobs_table, timeline_table
from hpcsim.schedulers.backfilling import FCFS
from hpcsim.workload.job import workload_from_columns

SERVICE_S = 100_000  # mean: long enough that whole seconds are as good as any
RUNS, JOBS, WARM_UP = 20, 3_000, 600
SURE = 0.999


def simulated(seed, *, servers, load, constant=False, nodes_each=1):
    """A run under FCFS of jobs that come independently of each other, each of which keeps one server busy."""
    random = np.random.default_rng(seed)
    submit_s = np.cumsum(random.exponential(SERVICE_S / (load * servers), JOBS)).astype(np.int64)
    runtime_s = np.full(JOBS, SERVICE_S)
    if not constant:
        runtime_s = np.maximum(1, random.exponential(SERVICE_S, JOBS).astype(np.int64))
    jobs = workload_from_columns(
        t0_utc=0, source="by chance", name=[str(i) for i in range(JOBS)], submit_s=submit_s,
        nodes=np.full(JOBS, nodes_each), walltime_s=runtime_s, runtime_s=runtime_s,
    )  # fmt: skip
    simulation = Simulation(jobs, FCFS(FCFS.Options()), nodes=servers * nodes_each)
    simulation.run()
    return simulation


def waits(simulation):
    """The mean wait of the jobs after the warm-up, in mean services, and the share of them that waited at all."""
    start_s = np.empty(JOBS, np.int64)
    start_s[simulation.attempts.job] = simulation.attempts.start
    wait_s = (start_s - simulation.workload.column("submit_s"))[WARM_UP:]
    return wait_s.mean() / SERVICE_S, (wait_s > 0).mean()


def intervals(**system):
    """Confidence intervals of both over independent runs, each (lowest, highest)."""
    found = np.array([waits(simulated(seed, **system)) for seed in range(RUNS)])
    mean, deviation = found.mean(axis=0), found.std(axis=0, ddof=1)
    half = stats.t.ppf((1 + SURE) / 2, RUNS - 1) * deviation / sqrt(RUNS)
    return list(zip(mean - half, mean + half, strict=True))


def erlang_c(servers, load):
    """The probability that a job of M/M/c has to wait. Erlang (1917)."""
    offered = servers * load
    all_busy = offered**servers / factorial(servers) / (1 - load)
    return all_busy / (sum(offered**k / factorial(k) for k in range(servers)) + all_busy)


def mean_wait(servers, load):
    """Of M/M/c, in mean services."""
    return erlang_c(servers, load) / (servers * (1 - load))


@pytest.mark.parametrize(
    ("servers", "load", "nodes_each"), [(1, 0.7, 1), (1, 0.5, 8), (4, 0.8, 1), (10, 0.75, 2)]
)  # the first two are M/M/1, of which the second keeps whole machines busy
def test_jobs_of_chance_wait_as_erlang_says(servers, load, nodes_each):
    wait, waited = intervals(servers=servers, load=load, nodes_each=nodes_each)
    assert wait[0] < mean_wait(servers, load) < wait[1]
    assert waited[0] < erlang_c(servers, load) < waited[1]
    assert wait[1] - wait[0] < 0.5 * mean_wait(servers, load)  # it could tell another mean


def test_jobs_of_one_length_wait_half_as_long():
    """M/D/1, by Pollaczek and Khinchine: half of what M/M/1 has."""
    load = 0.7
    assert mean_wait(1, load) == pytest.approx(load / (1 - load))
    wait, waited = intervals(servers=1, load=load, constant=True)
    assert wait[0] < mean_wait(1, load) / 2 < wait[1] < 0.75 * mean_wait(1, load)
    assert waited[0] < load < waited[1]


def test_how_many_wait_is_how_many_come_by_how_long_they_wait():
    """Little's law, of which ``check`` sees to the second that it holds; and the machine is as full as it is loaded."""
    simulation = simulated(1, servers=4, load=0.8)
    tables = jobs_table(simulation, np.ones(JOBS, bool)), attempts_table(simulation), timeline_table(simulation)
    check(simulation, *tables)
    time_s, queue, busy = (tables[2].column(name).to_numpy() for name in ("time_s", "queue", "busy_nodes"))
    seconds = np.diff(time_s, append=simulation.now)
    rate, wait_s = JOBS / (simulation.now - simulation.start), tables[0].column("wait_s").to_numpy().mean()
    assert np.dot(seconds, queue) / seconds.sum() == pytest.approx(rate * wait_s)
    assert np.dot(seconds, busy) / seconds.sum() / 4 == pytest.approx(0.8, rel=0.05)
