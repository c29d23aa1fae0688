"""Heat: closed forms against quadrature, racks against a general solver, crossings against dense evaluation."""

from __future__ import annotations

import copy
import tracemalloc
from dataclasses import dataclass, replace
from itertools import pairwise
from math import exp, inf, log
from time import thread_time
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad, solve_ivp

from hpcsim.machine import thermal
from hpcsim.machine.heat import LEAST_RELIEF, Heat
from hpcsim.machine.spec import ThermalSpec

Floats = npt.NDArray[np.float64]

IDLE_W, IDLE_GPU_W = 490.0, 55.0
SPEC = ThermalSpec(
    supply_c=24.0,
    supply_season_k=2.0,
    supply_day_k=1.0,
    node_k_per_w=0.0225,
    node_j_per_k=17_500.0,
    gpu_k_per_w=0.11,
    gpu_tau_s=45.0,
    coupling_w_per_k=2.0,
    recirculation=0.07,
)
ALONE = replace(SPEC, coupling_w_per_k=0.0, recirculation=0.0)
EQUAL = replace(ALONE, node_spread=0.0, rack_spread=0.0)


def heat(spec: ThermalSpec = SPEC, units: int = 20, units_per_rack: int = 7, now: int = 0, seed: int = 5) -> Heat:
    return Heat(
        spec,
        units=units,
        units_per_rack=units_per_rack,
        now=now,
        supply_c=spec.supply_c,
        node_w=IDLE_W,
        gpu_w=IDLE_GPU_W,
        rng=np.random.default_rng(seed),
    )


def load(share: Any) -> tuple[Any, Any]:
    """Watts of a Polaris node and of one of its GPUs at a share, or shares, of the dynamic power."""
    return IDLE_W + 1750.0 * share, IDLE_GPU_W + 385.0 * share


def set_each(of: Heat, now: int, units: npt.NDArray[np.int64], node_w: Any, gpu_w: Any) -> None:
    """Set the power of units that may all draw something else, and have done so."""
    each_w, each_gpu_w = np.broadcast_to(node_w, units.shape), np.broadcast_to(gpu_w, units.shape)
    for unit, watts, gpu_watts in zip(units.tolist(), each_w.tolist(), each_gpu_w.tolist(), strict=True):
        of.set_power(now, some([unit]), watts, gpu_watts, *of.power_w(unit))


def set_alike(of: Heat, now: int, units: npt.NDArray[np.int64], node_w: float, gpu_w: float) -> None:
    """Set the power of all units at once, where all have drawn the same."""
    before = {of.power_w(unit) for unit in units.tolist()}
    if len(before) == 1:
        of.set_power(now, units, node_w, gpu_w, *before.pop())
    else:
        set_each(of, now, units, node_w, gpu_w)


def some(units: object) -> npt.NDArray[np.int64]:
    return np.array(units, np.int64)


# -- closed forms of one element ------------------------------------------------------------------

celsius = st.floats(0.0, 110.0)
taus = st.floats(-1.0, 4.0).map(lambda x: 10.0**x)


@settings(deadline=None)
@given(t0=celsius, steady=celsius, tau=taus, span=st.floats(1e-3, 50.0))
def test_one_element_obeys_its_equation(t0: float, steady: float, tau: float, span: float) -> None:
    duration = span * tau

    def temperature(t: float) -> float:
        return thermal.temperature_c(t0, steady, tau, t)

    # T(t) - T(0) is the integral of (steady - T) / tau
    risen = quad(lambda t: (steady - temperature(t)) / tau, 0, duration, epsabs=1e-11, limit=200)[0]
    assert temperature(duration) == pytest.approx(t0 + risen, rel=1e-9, abs=1e-9)
    mean = quad(temperature, 0, duration, epsrel=1e-12, limit=200)[0] / duration
    assert thermal.mean_c(t0, steady, tau, duration) == pytest.approx(mean, rel=1e-9)
    assert thermal.mean_c(t0, steady, tau, 0.0) == t0


@settings(deadline=None)
@given(t0=celsius, steady=celsius, tau=taus, threshold=celsius)
def test_crossing_is_where_the_temperature_is_the_threshold(
    t0: float, steady: float, tau: float, threshold: float
) -> None:
    crossing = thermal.crossing_s(t0, steady, tau, threshold)
    between = min(t0, steady) < threshold < max(t0, steady)
    assert (crossing is not None) == (between or t0 == threshold)
    if crossing is not None:
        assert thermal.temperature_c(t0, steady, tau, crossing) == pytest.approx(threshold, abs=1e-9)
    rises = float(thermal.rises_to_s(np.array([t0]), np.array([steady]), tau, threshold)[0])
    if t0 >= threshold:
        assert rises == 0.0
    else:
        assert rises == (inf if crossing is None else pytest.approx(crossing, rel=1e-12))


def aged_by_quadrature(t0: float, steady: float, tau: float, duration: float, q10: float, above: float) -> float:
    crossing = thermal.crossing_s(t0, steady, tau, above)
    cuts = [0.0, duration, *(tau * x for x in (0.1, 0.5, 1, 2, 4, 8, 16, 32) if tau * x < duration)]
    cuts += [crossing] if crossing is not None and crossing < duration else []

    def rate(t: float) -> float:
        return max(1.0, q10 ** ((thermal.temperature_c(t0, steady, tau, t) - above) / 10.0))

    return sum(quad(rate, a, b, epsabs=0.0, epsrel=1e-12, limit=200)[0] for a, b in pairwise(sorted(cuts)))


@settings(deadline=None)
@given(
    t0=celsius,
    steady=celsius,
    tau=taus,
    span=st.floats(-5.0, 2.0).map(lambda x: 10.0**x),
    q10=st.floats(1.0, 10.0),
    above=celsius,
)
def test_accelerated_time_is_the_integral_of_the_rate(
    t0: float, steady: float, tau: float, span: float, q10: float, above: float
) -> None:
    found = thermal.accelerated_s(t0, steady, tau, span * tau, q10, above)
    assert found == pytest.approx(aged_by_quadrature(t0, steady, tau, span * tau, q10, above), rel=1e-9)


def test_accelerated_time_where_nothing_changes_or_only_the_threshold_is_passed() -> None:
    assert thermal.accelerated_s(70.0, 70.0, 400.0, 3600.0, 1.2, 50.0) == pytest.approx(3600.0 * 1.2**2, rel=1e-12)
    assert thermal.accelerated_s(40.0, 50.0, 400.0, 3600.0, 1.2, 50.0) == 3600.0
    assert thermal.accelerated_s(90.0, 20.0, 400.0, 3600.0, 1.0, 50.0) == 3600.0
    assert thermal.accelerated_s(90.0, 20.0, 400.0, 0.0, 1.2, 50.0) == 0.0
    each = thermal.accelerated_s(np.array([40.0, 90.0]), np.array([80.0, 30.0]), 400.0, 900.0, 1.2, 50.0)
    assert each.tolist() == [
        thermal.accelerated_s(40.0, 80.0, 400.0, 900.0, 1.2, 50.0),
        thermal.accelerated_s(90.0, 30.0, 400.0, 900.0, 1.2, 50.0),
    ]
    # a moment of steep ageing, where nearly equal integrals would be subtracted
    assert thermal.accelerated_s(95.0, 105.0, 400.0, 0.002, 8.0, 50.0) == pytest.approx(
        aged_by_quadrature(95.0, 105.0, 400.0, 0.002, 8.0, 50.0), rel=1e-12
    )
    with pytest.raises(ValueError, match=r"q10 is 0\.9; it must be at least 1"):
        thermal.accelerated_s(40.0, 80.0, 400.0, 900.0, 0.9, 50.0)


# -- resistances and recirculation ----------------------------------------------------------------


def test_resistances_vary_between_nodes_and_racks_as_said() -> None:
    drawn = heat(replace(SPEC, rack_spread=0.3), units=200_000, units_per_rack=10)
    logs = np.log(drawn.r_U / SPEC.node_k_per_w).reshape(-1, 10)
    assert float(logs.mean()) == pytest.approx(0.0, abs=0.01)
    assert float(logs.std(axis=1, ddof=1).mean() / 0.9727) == pytest.approx(0.10, rel=0.02)  # c4(10)
    assert float(logs.mean(axis=1).var() - 0.1**2 / 10) ** 0.5 == pytest.approx(0.3, rel=0.02)
    assert drawn.gpu_r_U is not None
    gpu_logs = np.log(drawn.gpu_r_U / 0.11).reshape(-1, 10)
    assert np.corrcoef(logs.mean(axis=1), gpu_logs.mean(axis=1))[0, 1] > 0.95  # a hot rack is hot for its GPUs, too
    within = (logs - logs.mean(axis=1)[:, None]) * (gpu_logs - gpu_logs.mean(axis=1)[:, None])
    assert abs(float(within.mean())) < 1e-4
    assert np.array_equal(heat(seed=1).r_U, heat(seed=1).r_U)


@pytest.mark.parametrize("units", [1, 2, 14, 183])
def test_recirculation_is_the_share_of_the_heat_that_returns(units: int) -> None:
    matrix = thermal.recirculation_k_per_w(SPEC, units)
    node_w = 2000.0
    # rack heat / (air flow * density * heat capacity), with the flow of as many nodes
    air_rise_k = units * node_w / (units / (thermal.AIR_SHARE * SPEC.node_k_per_w))
    assert float((matrix @ np.full(units, node_w)).mean()) == pytest.approx(0.07 * air_rise_k)
    assert (matrix >= 0.0).all()
    if units > 2:
        assert (np.diff(matrix[:, 0] / (0.5 + np.arange(units) / (units - 1))) < 0).all()  # decays with the distance
        inlets = matrix.sum(axis=1)
        assert inlets[-1] > 2 * inlets[0]  # the top is the warmer
        assert matrix[-1, -1] == pytest.approx(3 * matrix[0, 0])


# -- a machine against a general solver -----------------------------------------------------------


class Solver:
    """The equations of the whole machine, given to a general solver; state: nodes, lags, and their integrals."""

    def __init__(self, of: Heat, spec: ThermalSpec, units: int, units_per_rack: int) -> None:
        assert of.gpu_r_U is not None
        self.spec, self.units, self.r, self.gpu_r = spec, units, of.r_U, of.gpu_r_U
        self.inlet = np.zeros((units, units))
        self.laplacian = np.zeros((units, units))
        matrix = thermal.recirculation_k_per_w(spec, units_per_rack)
        for first in range(0, units, units_per_rack):
            end = min(first + units_per_rack, units)
            self.inlet[first:end, first:end] = matrix[: end - first, : end - first]
            for a, b in pairwise(range(first, end)):
                self.laplacian[[a, b], [a, b]] += 1.0
                self.laplacian[[a, b], [b, a]] -= 1.0
        self.node_w = np.full(units, IDLE_W)
        self.gpu_w = np.full(units, IDLE_GPU_W)
        self.supply_c = spec.supply_c
        conductance = np.diag(1.0 / self.r) + spec.coupling_w_per_k * self.laplacian
        node_c = np.linalg.solve(conductance, self.node_w + self.inlet_c / self.r)
        self.y = np.concatenate([node_c, self.gpu_r * self.gpu_w, np.zeros(2 * units)])
        self.hottest = [-inf, -inf]

    @property
    def inlet_c(self) -> Floats:
        return np.asarray(self.supply_c + self.inlet @ self.node_w)

    def run(self, seconds: int) -> None:
        if not seconds:
            return
        u, spec, inlet_c = self.units, self.spec, self.inlet_c

        def slope(_: float, y: Floats) -> Floats:
            node_c, lag_k = y[:u], y[u : 2 * u]
            to_air_w = (node_c - inlet_c) / self.r
            rise = (self.node_w - to_air_w - spec.coupling_w_per_k * self.laplacian @ node_c) / spec.node_j_per_k
            assert spec.gpu_tau_s is not None
            return np.concatenate([rise, (self.gpu_r * self.gpu_w - lag_k) / spec.gpu_tau_s, node_c, inlet_c + lag_k])

        found = solve_ivp(slope, (0.0, seconds), self.y, method="DOP853", rtol=1e-10, atol=1e-10, dense_output=True)
        self.y = found.y[:, -1]
        often = found.sol(np.linspace(0.0, seconds, 2000))
        self.hottest[0] = max(self.hottest[0], float(often[:u].max()))
        self.hottest[1] = max(self.hottest[1], float((inlet_c[:, None] + often[u : 2 * u]).max()))

    @property
    def node_c(self) -> Floats:
        return np.asarray(self.y[: self.units])

    @property
    def gpu_c(self) -> Floats:
        return np.asarray(self.inlet_c + self.y[self.units : 2 * self.units])


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        replace(SPEC, coupling_w_per_k=60.0),
        replace(SPEC, coupling_w_per_k=0.0),
        replace(SPEC, recirculation=0.0),
        ALONE,
    ],
    ids=["as it is", "strongly coupled", "uncoupled", "no recirculation", "alone"],
)
def test_temperatures_and_maxima_are_those_of_a_general_solver(spec: ThermalSpec) -> None:
    rng = np.random.default_rng(3)
    lazy, units, now = heat(spec, now=1000), 20, 1000  # the third rack has 6 units of 7
    often = heat(spec, now=1000)
    solver = Solver(lazy, spec, units, 7)
    for change in range(13):
        wait = int(rng.choice([0, 3, 60, 700, 4000]))
        for second in np.linspace(now, now + wait, 5).astype(int).tolist():
            often.temperatures(second)
            often.next_crossing()
            often.hottest_c(second)
        now += wait
        solver.run(wait)
        if change % 5 == 4:
            solver.supply_c = float(rng.uniform(18.0, 30.0))
            for each in (lazy, often):
                each.set_supply(now, solver.supply_c)
            continue
        which = rng.choice(units, int(rng.integers(1, 12)), replace=False)
        node_w, gpu_w = load(rng.random(which.size)) if change % 2 else load(float(rng.random()))
        solver.node_w[which], solver.gpu_w[which] = node_w, gpu_w
        for each in (lazy, often):
            set_each(each, now, which, node_w, gpu_w)
    solver.run(500)
    now += 500
    for each in (lazy, often):
        node_c, gpu_c = each.temperatures(now)
        assert gpu_c is not None
        assert np.abs(node_c - solver.node_c).max() < 1e-6
        assert np.abs(gpu_c - solver.gpu_c).max() < 1e-6
        hottest_c, hottest_gpu_c = each.hottest_c(now)
        assert hottest_c == pytest.approx(solver.hottest[0], abs=1e-4)  # of the solver, 2000 looks at each piece
        assert hottest_gpu_c == pytest.approx(solver.hottest[1], abs=1e-6)


def test_a_maximum_between_changes_is_found() -> None:
    """A node that is given a little more power, while its hot neighbour cools down, rises first and falls then."""
    spec = replace(SPEC, coupling_w_per_k=20.0, recirculation=0.0, node_spread=0.0, rack_spread=0.0)
    passing = heat(spec, units=3, units_per_rack=3)
    solver = Solver(passing, spec, 3, 3)
    solver.node_w[:] = 2000.0
    set_alike(passing, 0, some([0, 1, 2]), 2000.0, IDLE_GPU_W)
    solver.run(6000)
    solver.node_w[:] = [IDLE_W, IDLE_W, 2300.0]
    set_each(passing, 6000, some([0, 1, 2]), solver.node_w, IDLE_GPU_W)
    at_change_c = float(passing.temperatures(6000)[0].max())
    solver.run(3000)
    hottest_c = passing.hottest_c(9000)[0]
    assert hottest_c == pytest.approx(solver.hottest[0], abs=1e-4)
    assert hottest_c > max(at_change_c, float(passing.temperatures(9000)[0].max())) + 0.1


def test_many_changes_in_one_log_are_the_same_as_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpcsim.machine.heat._LOG_MOST", 1000)
    rng = np.random.default_rng(4)
    lazy, often, now = heat(units=40, units_per_rack=14), heat(units=40, units_per_rack=14), 0
    for _ in range(2500):  # the log of `lazy` fills up more than once
        now += int(rng.integers(0, 200))
        which = np.sort(rng.choice(40, int(rng.integers(1, 40)), replace=False))
        node_w, gpu_w = load(float(rng.random()))
        for each in (lazy, often):
            set_alike(each, now, which, node_w, gpu_w)
        often.temperatures(now)
    for mine, yours in zip(lazy.temperatures(now + 5), often.temperatures(now + 5), strict=True):
        assert mine is not None
        assert yours is not None
        assert np.abs(mine - yours).max() < 1e-9
    assert lazy.hottest_c(now + 5) == pytest.approx(often.hottest_c(now + 5), abs=1e-9)


def test_a_log_that_is_full_of_what_nobody_looked_at_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpcsim.machine.heat._LOG_MOST", 500)
    rng = np.random.default_rng(5)
    spec = replace(EQUAL, gpu_k_per_w=None, gpu_tau_s=None)
    lazy, often, now = heat(spec, units=400), heat(spec, units=400), 8000
    for each in (lazy, often):  # a throttle was passed long ago, so no later history is followed
        set_alike(each, 0, some([0]), 3000.0, IDLE_GPU_W)
        set_alike(each, 7000, some([0]), IDLE_W, IDLE_GPU_W)
        assert each.hottest_c(now)[0] > EQUAL.cpu_throttle_c
    drawn_w = np.full(400, IDLE_W)
    for _ in range(1200):
        now += int(rng.integers(1, 20))
        unit, watts = int(rng.integers(400)), IDLE_W + float(rng.integers(500))
        lazy.set_power(now, some([unit]), watts, IDLE_GPU_W, float(drawn_w[unit]), IDLE_GPU_W)
        drawn_w[unit] = watts
        set_alike(often, now, some([unit]), watts, IDLE_GPU_W)
    assert [lazy.power_w(unit)[0] for unit in range(400)] == drawn_w.tolist()
    assert np.abs(lazy.temperatures(now + 5)[0] - often.temperatures(now + 5)[0]).max() < 1e-9
    assert lazy.hottest_c(now + 5) == pytest.approx(often.hottest_c(now + 5), abs=1e-9)


def test_the_hottest_node_is_found_though_only_gpus_were_throttled() -> None:
    """In one rack a GPU passes its throttle; the hottest node, below its own, is in another."""
    spec = replace(EQUAL, recirculation=0.0, coupling_w_per_k=0.0, node_spread=0.0, rack_spread=0.0)
    lazy = heat(spec, units=8, units_per_rack=4)
    set_alike(lazy, 0, some([0]), 700.0, 600.0)
    set_alike(lazy, 0, some([5]), 2300.0, IDLE_GPU_W)
    assert lazy.next_crossing() is not None
    lazy.mark_throttled(some([0]), True)
    for now in (500, 4000, 4001):
        set_alike(lazy, now, some([0]), 700.0, 600.0 - now / 100)
        lazy.next_crossing()
    set_alike(lazy, 20_000, some([5]), IDLE_W, IDLE_GPU_W)
    hottest_c, hottest_gpu_c = lazy.hottest_c(30_000)
    assert hottest_gpu_c is not None
    assert hottest_gpu_c > spec.gpu_throttle_c
    assert hottest_c == pytest.approx(thermal.steady_c(24.0, spec.node_k_per_w, 2300.0), abs=1e-6)


def test_neighbours_that_change_alike_one_after_another_are_told_apart() -> None:
    lazy, often = heat(), heat()
    for now, units in ((0, [0, 1, 2]), (100, [3, 4]), (100, [5, 6, 7, 8]), (130, [9]), (130, [10, 12]), (150, [2, 1])):
        for each in (lazy, often):
            set_alike(each, now, some(units), *load(0.5 if now < 150 else 1.0))
        often.temperatures(now)
    assert np.abs(lazy.temperatures(200)[0] - often.temperatures(200)[0]).max() < 1e-9


def test_an_idle_machine_stays_as_it_is() -> None:
    still = heat()
    node_c, gpu_c = still.temperatures(0)
    assert gpu_c is not None
    set_alike(still, 50, some(range(20)), IDLE_W, IDLE_GPU_W)
    for now in (100, 100_000, 10**9):
        for mine, first in zip(still.temperatures(now), (node_c, gpu_c), strict=True):
            assert mine is not None
            assert np.abs(mine - first).max() < 1e-9
        assert still.hottest_c(now) == pytest.approx((node_c.max(), gpu_c.max()), abs=1e-9)
        assert still.next_crossing() is None
        assert still.next_shutdown() is None
        assert not still.shutdowns(now).size


def test_one_element_is_the_closed_form() -> None:
    alone = heat(EQUAL, units=3)
    set_alike(alone, 0, some([1]), 2000.0, 400.0)
    node_c, gpu_c = alone.temperatures(300)
    assert gpu_c is not None
    tau = SPEC.node_k_per_w * SPEC.node_j_per_k
    idle_c, steady_c = (thermal.steady_c(24.0, 0.0225, watts) for watts in (IDLE_W, 2000.0))
    assert node_c[1] == pytest.approx(thermal.temperature_c(idle_c, steady_c, tau, 300.0), abs=1e-9)
    assert gpu_c[1] == pytest.approx(24.0 + 44.0 + (0.11 * IDLE_GPU_W - 44.0) * exp(-300 / 45), abs=1e-9)
    assert node_c[0] == pytest.approx(idle_c, abs=1e-9)


def test_a_machine_without_gpus_has_no_temperatures_of_them() -> None:
    bare = heat(replace(SPEC, gpu_k_per_w=None, gpu_tau_s=None), units=5)
    set_alike(bare, 0, some([0, 1]), 2240.0, 0.0)
    assert bare.gpu_r_U is None
    assert bare.temperatures(10)[1] is None
    assert bare.hottest_c(10)[1] is None


def test_time_does_not_go_back() -> None:
    told = heat()
    set_alike(told, 10, some([1]), 1000.0, 100.0)
    for call in (
        lambda: set_alike(told, 9, some([1]), 900.0, 100.0),
        lambda: told.set_supply(9, 20.0),
        lambda: told.temperatures(9),
        lambda: told.hottest_c(9),
    ):
        with pytest.raises(ValueError, match="told of second 9 after second 10: time cannot go back"):
            call()


def test_copies_go_their_own_ways_and_bit_by_bit_the_same_way() -> None:
    first = heat()
    set_alike(first, 0, some([3, 4, 5]), *load(0.9))
    first.next_crossing()
    first.temperatures(60)
    twin, third = copy.deepcopy(first), copy.deepcopy(first)
    set_alike(twin, 70, some([4]), *load(0.0))
    twin.mark_throttled(some([3]), True)
    twin.set_supply(80, 30.0)
    for each in (first, third):
        set_alike(each, 90, some([4, 9]), *load(1.0))
        each.set_supply(95, 25.0)
    assert first.next_crossing() == third.next_crossing()
    assert first.temperatures(2000)[0].tobytes() == third.temperatures(2000)[0].tobytes()
    assert first.hottest_c(2000) == third.hottest_c(2000)
    assert first.temperatures(2000)[0][4] != twin.temperatures(2000)[0][4]


# -- thresholds -----------------------------------------------------------------------------------


def crossing_by_looking(of: Heat, now: int, until: int, passed_over: npt.NDArray[np.bool_]) -> tuple[int, int] | None:
    """The first second in which a unit is at a throttle threshold, by looking at every second."""
    of = copy.deepcopy(of)
    for second in range(now, until):
        node_c, gpu_c = of.temperatures(second)
        assert gpu_c is not None
        above = ((node_c >= SPEC.cpu_throttle_c) | (gpu_c >= SPEC.gpu_throttle_c)) & ~passed_over
        if above.any():
            return second, int(above.argmax())
    return None


shares = st.sampled_from([0.0, 0.5, 0.8, 0.9, 1.0, 1.0])


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    coupling=st.sampled_from([0.0, 2.0, 60.0]),
    recirculation=st.sampled_from([0.0, 0.07, 0.3]),
    changes=st.lists(
        st.tuples(st.integers(0, 1500), shares, st.integers(0, 6), st.integers(1, 7)), min_size=1, max_size=5
    ),
    marked=st.sets(st.integers(0, 6)),
)
def test_the_next_crossing_is_the_first_second_at_a_threshold(
    seed: int,
    coupling: float,
    recirculation: float,
    changes: list[tuple[int, float, int, int]],
    marked: set[int],
) -> None:
    spec = replace(SPEC, coupling_w_per_k=coupling, recirculation=recirculation)
    crossing, now = heat(spec, units=7, units_per_rack=4, seed=seed), 0
    passed_over = np.isin(np.arange(7), sorted(marked))
    crossing.mark_throttled(some(sorted(marked)), True)
    busy = np.zeros(7, np.bool_)
    for wait, share, first, count in changes:
        now += wait
        units = np.arange(first, min(7, first + count))
        set_alike(crossing, now, units, *load(share))
        busy[units] = share > 0.0
    found = crossing.next_crossing()
    looked = crossing_by_looking(crossing, now, now + 4000, passed_over | ~busy)
    if found is None or found[0] >= now + 4000:
        assert looked is None
    else:
        assert looked == found


@pytest.mark.parametrize("seed", range(40))
def test_asking_after_every_change_says_the_same_as_asking_once(seed: int) -> None:
    """Nothing that is skipped, because it cannot cross, would have crossed; with throttling as an engine does it."""
    rng = np.random.default_rng(seed)
    spec = replace(
        SPEC,
        coupling_w_per_k=float(rng.choice([0.0, 2.0, 20.0, 100.0])),
        recirculation=float(rng.choice([0.0, 0.07, 0.3])),
        gpu_k_per_w=float(rng.choice([0.05, 0.11, 0.12])),
    )
    count, per_rack = int(rng.integers(2, 12)), int(rng.integers(1, 7))
    asked, now = heat(spec, count, per_rack, seed=seed), 0
    told: list[tuple[str, tuple[Any, ...]]] = []

    def ask(of: Heat, name: str, what: tuple[Any, ...]) -> None:
        if name == "set_power":
            set_alike(of, *what)
        else:
            getattr(of, name)(*what)

    def tell(name: str, *what: Any) -> None:
        told.append((name, what))
        ask(asked, name, what)

    shares = np.zeros(count)
    for _ in range(40):
        now += int(rng.choice([0, 1, 30, 300, 3000]))
        while (crossing := asked.next_crossing()) is not None and crossing[0] <= now:
            second, unit = crossing
            tell("mark_throttled", some([unit]), True)
            if rng.random() < 0.8:  # else it goes on, hotter and hotter
                shares[unit] *= asked.relief(unit)
                tell("set_power", second, some([unit]), *load(float(shares[unit])))
        if rng.random() < 0.2:
            tell("set_supply", now, float(rng.choice([20.0, 24.0, 24.3, 26.0, 30.0])))
        else:
            units = rng.choice(count, int(rng.integers(1, count + 1)), replace=False)
            shares[units] = (
                float(rng.choice([0.0, 0.3, 0.8, 0.9, 1.0])) if rng.random() < 0.8 else rng.random(units.size)
            )
            tell("mark_throttled", units, False)
            for unit in units.tolist():
                tell("set_power", now, some([unit]), *load(float(shares[unit])))
        if rng.random() < 0.8:
            answers = asked.next_crossing(), asked.next_shutdown()
            once = heat(spec, count, per_rack, seed=seed)
            for name, what in told:
                ask(once, name, what)
            assert (once.next_crossing(), once.next_shutdown()) == answers
    once = heat(spec, count, per_rack, seed=seed)
    for name, what in told:
        ask(once, name, what)
    assert once.hottest_c(now) == pytest.approx(asked.hottest_c(now), abs=1e-6)


@dataclass(frozen=True)
class Story:
    """A rack of two equal units that is asked after each of these changes; the last answer is a crossing."""

    spec: ThermalSpec
    changes: tuple[tuple[int, int, float, float], ...]  # second, unit, watts of a node and of a GPU
    marked: tuple[int, ...] = ()


STORIES = {
    "a neighbour that wakes from sleep": Story(
        replace(EQUAL, recirculation=0.9),
        ((0, 1, 20.0, 0.0), (0, 0, 2144.0, IDLE_GPU_W), (3000, 1, IDLE_W, IDLE_GPU_W)),
    ),
    "a neighbour far above the threshold, then more power": Story(
        replace(EQUAL, coupling_w_per_k=2.0, node_shutdown_c=200.0),
        ((0, 0, 4000.0, IDLE_GPU_W), (3000, 1, 2000.0, IDLE_GPU_W), (3001, 1, 2450.0, IDLE_GPU_W)),
        marked=(0,),
    ),
    "a crossing ahead is put off by a neighbour that ends": Story(
        replace(EQUAL, coupling_w_per_k=5.0),
        ((0, 0, 2900.0, IDLE_GPU_W), (0, 1, 2400.0, IDLE_GPU_W), (100, 1, IDLE_W, IDLE_GPU_W)),
    ),
    "kept below the threshold by its neighbour, which is given a little more": Story(
        replace(EQUAL, coupling_w_per_k=20.0),
        ((0, 0, 2870.0, IDLE_GPU_W), (0, 1, 1000.0, IDLE_GPU_W), (4000, 1, 1290.0, IDLE_GPU_W)),
    ),
    "a GPU still hot after its job, and a neighbour that warms the inlet": Story(
        replace(EQUAL, recirculation=0.9),
        ((0, 1, 600.0, 500.0), (1000, 1, 600.0, IDLE_GPU_W), (1001, 0, 2240.0, IDLE_GPU_W)),
    ),
    "powers within limits, but more than was ever seen before": Story(
        replace(EQUAL, recirculation=0.9), ((0, 0, 1950.0, IDLE_GPU_W), (0, 1, 1950.0, IDLE_GPU_W))
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_crossings_that_a_neighbour_brings_are_not_missed(name: str) -> None:
    story = STORIES[name]
    asked, once = (heat(story.spec, 2, 2) for _ in range(2))
    for each in (asked, once):
        each.mark_throttled(some(story.marked), True)
    answers = [asked.next_crossing()]
    for now, unit, node_w, gpu_w in story.changes:
        for each in (asked, once):
            set_alike(each, now, some([unit]), node_w, gpu_w)
        answers.append(asked.next_crossing())
    passed_over = np.isin(range(2), story.marked)
    looked = crossing_by_looking(asked, story.changes[-1][0], 10_000, passed_over)
    assert looked is not None
    assert answers[-1] == once.next_crossing() == looked
    assert answers[-2] != looked


def test_crossings_of_one_element_are_the_closed_form() -> None:
    alone = heat(replace(EQUAL, gpu_throttle_c=60.0), units=4)
    tau = SPEC.node_k_per_w * SPEC.node_j_per_k
    idle_c, steady_c = (thermal.steady_c(24.0, 0.0225, watts) for watts in (IDLE_W, 2600.0))
    set_alike(alone, 100, some([2]), 2600.0, IDLE_GPU_W)
    node_s = thermal.crossing_s(idle_c, steady_c, tau, 80.0)
    assert node_s is not None
    assert alone.next_crossing() == (100 + int(np.ceil(node_s)), 2)
    set_alike(alone, 100, some([3]), IDLE_W + 1.0, 440.0)
    lag_s = 45.0 * log((0.11 * 440 - 0.11 * 55) / (0.11 * 440 - 36.0))
    assert alone.next_crossing() == (100 + int(np.ceil(lag_s)), 3)
    alone.mark_throttled(some([3]), True)
    assert alone.next_crossing() == (100 + int(np.ceil(node_s)), 2)
    alone.mark_throttled(some([2]), True)
    assert alone.next_crossing() is None
    alone.mark_throttled(some([3]), False)
    assert alone.next_crossing() == (100 + int(np.ceil(lag_s)), 3)


def test_a_unit_above_crosses_now_unless_it_is_idle() -> None:
    alone = heat(EQUAL, units=4)
    set_alike(alone, 0, some([1]), 3000.0, IDLE_GPU_W)
    set_alike(alone, 2000, some([1]), IDLE_W, IDLE_GPU_W)  # at 91 degrees, and nothing it could do about it
    assert alone.temperatures(2000)[0][1] > 90.0
    assert alone.next_crossing() is None
    set_alike(alone, 2001, some([1]), 1000.0, IDLE_GPU_W)
    assert alone.next_crossing() == (2001, 1)
    alone.temperatures(2010)
    assert alone.next_crossing() == (2010, 1)
    alone.temperatures(4000)
    assert alone.next_crossing() is None


def test_a_warmer_supply_makes_units_cross() -> None:
    alone = heat(EQUAL, units=4)
    set_alike(alone, 0, some([2]), 2400.0, IDLE_GPU_W)  # ends at 78 degrees
    assert alone.next_crossing() is None
    alone.set_supply(3000, 25.0)
    assert alone.next_crossing() is None
    alone.set_supply(5000, 27.0)
    tau = SPEC.node_k_per_w * SPEC.node_j_per_k
    start_c = float(alone.temperatures(5000)[0][2])
    crossing_s = thermal.crossing_s(start_c, 81.0, tau, 80.0)
    assert crossing_s is not None
    assert alone.next_crossing() == (5000 + int(np.ceil(crossing_s)), 2)
    alone.set_supply(5001, 25.5)
    assert alone.next_crossing() is None


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32), share=st.floats(0.3, 1.2), others=st.floats(0.0, 1.0), unit=st.integers(0, 9))
def test_relief_brings_a_unit_to_the_margin_below_its_threshold(
    seed: int, share: float, others: float, unit: int
) -> None:
    relieved = heat(replace(SPEC, gpu_k_per_w=0.12), units=10, units_per_rack=5, seed=seed)
    set_alike(relieved, 0, some(range(10)), *load(others))
    set_alike(relieved, 0, some([unit]), *load(share))
    factor = relieved.relief(unit)
    assert 0.0 < factor <= 1.0
    set_alike(relieved, 5, some([unit]), *load(share * factor))
    node_c, gpu_c = relieved.temperatures(10**6)
    assert gpu_c is not None
    nearest_k = min(SPEC.cpu_throttle_c - node_c[unit], SPEC.gpu_throttle_c - gpu_c[unit])
    if factor == 1.0:
        assert nearest_k >= SPEC.margin_k - 1e-9
    elif factor > LEAST_RELIEF:
        assert nearest_k == pytest.approx(SPEC.margin_k, abs=1e-6)


def test_relief_of_a_unit_that_can_do_nothing() -> None:
    hot = heat(EQUAL, units=3)
    hot.set_supply(0, 75.0)
    set_alike(hot, 0, some([1]), *load(0.5))
    assert hot.relief(1) == LEAST_RELIEF
    assert hot.relief(0) == LEAST_RELIEF


def test_shutdowns_are_units_above_the_shutdown_threshold_even_if_throttled() -> None:
    hot = heat(EQUAL, units=4)
    set_alike(hot, 0, some([1, 2]), 3400.0, IDLE_GPU_W)  # ends at 100.5 degrees
    set_alike(hot, 0, some([3]), IDLE_W + 1.0, 640.0)  # its GPU ends at 94.4 degrees
    hot.mark_throttled(some([1, 2, 3]), True)
    assert hot.next_crossing() is None
    tau = SPEC.node_k_per_w * SPEC.node_j_per_k
    lag_s = 45.0 * log((0.11 * 640 - 0.11 * 55) / (0.11 * 640 - 68.0))
    node_s = tau * log((0.0225 * 3400 - 0.0225 * IDLE_W) / (0.0225 * 3400 - 71.0))
    assert hot.next_shutdown() == (int(np.ceil(lag_s)), 3)
    assert hot.shutdowns(int(lag_s)).tolist() == []
    assert hot.shutdowns(int(np.ceil(lag_s))).tolist() == [3]
    set_alike(hot, 200, some([3]), IDLE_W, IDLE_GPU_W)
    assert hot.next_shutdown() == (int(np.ceil(node_s)), 1)
    assert hot.shutdowns(int(np.ceil(node_s))).tolist() == [1, 2]
    set_alike(hot, 5000, some([1]), IDLE_W, IDLE_GPU_W)  # it can do no more
    assert hot.shutdowns(5000).tolist() == [2]
    assert hot.next_shutdown() == (5000, 2)


# -- size -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("units", "units_per_rack"), [(10_624, 64), (4392, 183), (96, 2), (560, 14)])
def test_a_machine_is_made_in_a_second_and_in_100_mb(units: int, units_per_rack: int) -> None:
    seconds = []
    for _ in range(3):
        begin = thread_time()
        heat(units=units, units_per_rack=units_per_rack)
        seconds.append(thread_time() - begin)
    assert min(seconds) < 1.0
    third = np.arange(0, units, 3)
    tracemalloc.start()
    made = heat(units=units, units_per_rack=units_per_rack)
    for now in range(10):
        set_alike(made, now * 10, third, *load(0.1 * now))
        made.next_crossing()
    made.temperatures(1000)
    made.hottest_c(2000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6
