"""Closed forms of thermal RC elements: of one alone, and of those of a rack, which warm each other.

One alone: C dT/dt = P - (T - T_in) / R. With constant power and inlet its temperature relaxes from ``t0_c`` to
``steady_c`` = T_in + R P with the time constant ``tau_s`` = R C, so an event simulator needs to look at it only when
one of them changes, and at the crossing of a threshold. The integral of an acceleration that grows exponentially with
temperature is one of exp(b exp(-s)), and so a difference of exponential integrals.

References: Incropera and DeWitt 2002, Fundamentals of heat and mass transfer (lumped capacitance); Abramowitz and
Stegun 1964, Handbook of mathematical functions, chapter 5 (exponential integral); Tang, Gupta and Varsamopoulos 2008,
Energy-efficient thermal-aware task scheduling for homogeneous high-performance computing data centers (recirculation).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final, cast, overload

import numpy as np
import numpy.typing as npt

from hpcsim.machine.spec import ThermalSpec

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

AIR_SHARE: Final = 0.4
"""Of the kelvins per watt between a node and its inlet, so much is the warming of the air that goes through it."""

FORGOTTEN: Final = 45.0
"""Time constants after which a change has left no trace: exp(-45) of 100 K is below the rounding of 100 °C."""

_ORDERS: Final = np.arange(1.0, 19.0)
_SERIES: Final = np.cumprod(1.0 / _ORDERS) / _ORDERS  # 1 / (n n!); for |b| <= 1 the rest is below rounding
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(5)  # exact to rounding where the exponent changes by < _BARELY
_BARELY: Final = 1e-3
_GLANCES: Final = np.linspace(0.0, 1.0, 48)  # into the time to come, to find a crossing in it
_EXPONENT: Final = 300.0  # of the largest growth that sums are multiplied by
_HALVINGS: Final = 50  # of a piece of time, to find a maximum in it


def steady_c(inlet_c: float, k_per_w: float, watts: float) -> float:
    """Temperature in the end, in degrees Celsius: so much above the inlet as the resistance makes of the power."""
    return inlet_c + k_per_w * watts


def temperature_c(t0_c: float, steady_c: float, tau_s: float, after_s: float) -> float:
    """Temperature after ``after_s`` seconds."""
    return steady_c + (t0_c - steady_c) * math.exp(-after_s / tau_s)


def mean_c(t0_c: float, steady_c: float, tau_s: float, duration_s: float) -> float:
    """Mean temperature over the first ``duration_s`` seconds; ``t0_c`` over none."""
    if duration_s == 0.0:
        return t0_c
    taus = duration_s / tau_s
    return steady_c + (t0_c - steady_c) * -math.expm1(-taus) / taus


def crossing_s(t0_c: float, steady_c: float, tau_s: float, threshold_c: float) -> float | None:
    """Seconds until the temperature, rising or falling, is ``threshold_c``; 0 if it is now, None if it never is."""
    if t0_c == threshold_c:
        return 0.0
    if not min(t0_c, steady_c) < threshold_c < max(t0_c, steady_c):
        return None
    return tau_s * math.log1p((t0_c - threshold_c) / (threshold_c - steady_c))


def rises_to_s(t0_c: Floats, steady_c: Floats, tau_s: float, threshold_c: float) -> Floats:
    """Seconds until each of several temperatures is at or above ``threshold_c``: 0 if it is, infinite if never."""
    never = np.full(t0_c.shape, np.inf)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = (t0_c - threshold_c) / (threshold_c - steady_c)
        rising = tau_s * np.log1p(ratio, out=never, where=(t0_c < threshold_c) & (steady_c > threshold_c))
    return np.where(t0_c >= threshold_c, 0.0, rising)


@overload
def accelerated_s(
    t0_c: float, steady_c: float, tau_s: float, duration_s: float, q10: float, above_c: float
) -> float: ...


@overload
def accelerated_s(
    t0_c: Floats, steady_c: Floats, tau_s: Floats | float, duration_s: Floats | float, q10: float, above_c: float
) -> Floats: ...


def accelerated_s(
    t0_c: Floats | float,
    steady_c: Floats | float,
    tau_s: Floats | float,
    duration_s: Floats | float,
    q10: float,
    above_c: float,
) -> Floats | float:
    """Seconds of ageing in ``duration_s`` seconds: the integral of max(1, q10 ** ((T(t) - above_c) / 10)).

    A rate that grows by the factor ``q10`` for every 10 K above ``above_c``, and is the reference rate below it,
    has seen so many seconds at the reference. Elementwise: arrays are broadcast, floats give a float.

    Raises ValueError for a ``q10`` below 1, with which heat would be wholesome.
    """
    if q10 < 1.0:
        raise ValueError(f"q10 is {q10:g}; it must be at least 1")
    start, steady, tau, duration = np.broadcast_arrays(t0_c, steady_c, tau_s, duration_s)
    if q10 == 1.0:
        return duration[()].astype(np.float64)
    k = math.log(q10) / 10.0
    # Being monotone, the temperature is above the threshold from the start, or from the crossing on, to the crossing
    # or to the end.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        crossing = tau * np.log1p((start - above_c) / (above_c - steady))
    begins_hot, ends_hot = start > above_c, steady > above_c
    since = np.where(begins_hot, 0.0, np.where(ends_hot, np.minimum(crossing, duration), duration))
    until = np.where(ends_hot | ~begins_hot, duration, np.minimum(crossing, duration))
    at_since = np.where(begins_hot, start, above_c)
    hot = np.where(until > since, until - since, 0.0)
    grown = (
        np.exp(k * (steady - above_c)) * tau * _exp_of_exp(np.where(hot > 0, k * (at_since - steady), 0.0), hot / tau)
    )
    return cast(Floats, (duration - hot + grown)[()])


def _exp_of_exp(b: Floats, x: Floats) -> Floats:
    """The integral of exp(b exp(-s)) for s from 0 to x, which is Ei(b) - Ei(b exp(-x)), without its cancellation.

    While |b exp(-s)| > 1 the two Ei are of the integrand's own size; below, logarithms that cancel would remain, and
    the series of Ei without its logarithm is used.
    """
    from scipy.special import expi  # lazily: a second of start-up

    size = np.abs(b)
    head = np.where(size > 1.0, np.minimum(x, np.log(np.maximum(size, 1.0))), 0.0)
    middle = b * np.exp(-head)
    inner = np.exp(b[..., None] * np.exp(-head[..., None] * (1.0 + _NODES) / 2.0))
    barely = head / 2.0 * (inner @ _WEIGHTS)
    with np.errstate(invalid="ignore"):  # Ei(0) - Ei(0)
        first = np.where(size * head < _BARELY, barely, expi(b) - expi(middle))
    tail = x - head
    powers = np.clip(middle, -1.0, 1.0)[..., None] ** _ORDERS  # clipped where the tail is empty
    return cast(Floats, first + tail - (powers * np.expm1(-_ORDERS * tail[..., None])) @ _SERIES)


def recirculation_k_per_w(spec: ThermalSpec, units: int) -> Floats:
    """Kelvins at the inlet of unit i (row) of a rack per watt of a node of unit j (column); shape units, units.

    A synthetic cross-interference matrix, first order in the recirculated share. Air that goes through a node warms up
    by ``AIR_SHARE * node_k_per_w`` K/W; the inverse is its flow times density times heat capacity. What returns to an
    inlet decays with the distance, by 1/e over a quarter of the rack, and grows linearly by a factor of three from the
    lowest inlet to the highest. It is scaled so that in a rack of equal powers the mean inlet rises by
    ``recirculation`` times rack heat / (air flow * density * heat capacity).
    """
    place = np.arange(units)
    height = 0.5 + place / max(1, units - 1)
    returned = height[:, None] * np.exp(-np.abs(place[:, None] - place) / (units / 4.0))
    return np.asarray(spec.recirculation * AIR_SHARE * spec.node_k_per_w * units * returned / returned.sum())


@lru_cache(maxsize=2)
def _taken_apart(r_N: bytes, n: int, g: float, units: int) -> tuple[Floats, Floats]:
    """Eigenvalues and eigenvectors of the conductances of blocks of ``n`` units, from the resistances' bytes.

    It takes half a second of 4,392 nodes, and runs of one machine and seed have the same.
    """
    resistance = np.frombuffer(r_N)
    joins_next = np.arange(1, resistance.size + 1) < units
    to_next = np.where(joins_next, g, 0.0).reshape(-1, n)[:, :-1]
    at, up = np.arange(n), np.arange(n - 1)
    matrices = np.zeros((resistance.size // n, n, n))
    matrices[:, at, at] = (1.0 / resistance).reshape(-1, n)
    matrices[:, up, up] += to_next
    matrices[:, up + 1, up + 1] += to_next
    matrices[:, up, up + 1] = matrices[:, up + 1, up] = -to_next
    values, vectors = np.linalg.eigh(matrices)
    shapes = np.ascontiguousarray(vectors.transpose(0, 2, 1))
    for shared in (values, shapes):
        shared.flags.writeable = False
    return values, shapes


class Racks:
    """Nodes that are coupled within their racks, and their GPUs, under piecewise constant power; nothing here changes.

    Node i of a rack, with watts P and the local inlet T_in:

        C dT_i/dt = P_i - (T_i - T_in,i) / R_i - g * (sum over its neighbours j in the rack's chain of T_i - T_j)
        T_in,i    = supply + sum_j D_ij P_j        (``recirculation_k_per_w``)

    and one of its GPUs is at T_in,i + q_i, where the lag q_i relaxes to R_gpu,i * (watts of one GPU). R varies by a
    lognormal factor from node to node, and by another from rack to rack. With one C the matrix of a rack,
    diag(1/R) + g * Laplacian, is symmetric; it is taken apart once into orthonormal modes that relax on their own.

    Racks are *blocks* of n units, the last one filled up with units that draw nothing and touch nobody. Without
    coupling and recirculation a block is one unit. There are K blocks; ``_N`` marks arrays of K * n values.

    ``r_N``, ``gpu_r_N`` are resistances, K/W. Of shape K, n: ``rates`` of the modes, 1/s; ``warm``, the modes of 1 K
    everywhere. Of shape K, n, n: ``shapes``, mode by unit, the temperatures of a mode; ``gains``, unit by mode, the
    steady state of the modes per watt of a unit. ``gains_up_to`` (K, n + 1, n) are their sums over the first units of
    a block. ``memory_s`` is how long a change can be felt.
    """

    def __init__(self, spec: ThermalSpec, units: int, units_per_rack: int, rng: np.random.Generator) -> None:
        self.units = units
        self.coupling_w_per_k: float = spec.coupling_w_per_k
        self.n: int
        self.n = n = min(units_per_rack, units) if spec.coupling_w_per_k or spec.recirculation else 1
        self.blocks: int = -(-units // n)
        rack_factors = np.exp(spec.rack_spread * rng.standard_normal(-(-units // units_per_rack)))
        factors = np.exp(spec.node_spread * rng.standard_normal((2, units)))
        factors *= rack_factors[np.arange(units) // units_per_rack]
        self.r_N: Floats = np.full(self.blocks * n, spec.node_k_per_w)
        self.r_N[:units] *= factors[0]
        self.has_gpus: bool = spec.gpu_k_per_w is not None and spec.gpu_tau_s is not None
        self.gpu_tau_s: float = spec.gpu_tau_s or 1.0
        self.gpu_r_N: Floats = np.full(self.blocks * n, spec.gpu_k_per_w or 1.0)
        self.gpu_r_N[:units] *= factors[1]

        self.inlet_k_per_w: Floats = recirculation_k_per_w(spec, n)
        self.shapes: Floats
        conductance, self.shapes = self._modes()
        self.rates: Floats = conductance / spec.node_j_per_k
        self.warm: Floats = self.shapes.sum(axis=2)
        sources = np.eye(n) + self.inlet_k_per_w / self.r_N.reshape(-1, n, 1)
        self.gains: Floats = np.ascontiguousarray((self.shapes @ sources).transpose(0, 2, 1) / conductance[:, None, :])
        self.gains_up_to: Floats = np.zeros((self.blocks, n + 1, n))
        np.cumsum(self.gains, axis=1, out=self.gains_up_to[:, 1:])
        self.memory_s: int = int(FORGOTTEN / float(self.rates.min())) + 1
        self._glances_s = np.append(0.0, np.unique(np.ceil(float(self.memory_s) ** _GLANCES)))
        self._glances = np.exp(-self.rates[:, :, None] * self._glances_s)

    def _modes(self) -> tuple[Floats, Floats]:
        """Of the conductance matrix of each block: eigenvalues, W/K, and eigenvectors as rows."""
        n, g = self.n, self.coupling_w_per_k
        conductance = (1.0 / self.r_N).reshape(-1, n)
        if not g or n == 1:
            return conductance, np.broadcast_to(np.eye(n), (self.blocks, n, n))
        return _taken_apart(self.r_N.tobytes(), n, g, self.units)

    def steady(self, node_w_N: Floats, supply_c: float) -> Floats:
        """The modes in the end, K, n."""
        return _times(node_w_N.reshape(-1, self.n), self.gains) + supply_c * self.warm

    def node_c_N(self, modes: Floats) -> Floats:
        """The temperatures of the nodes when the modes are these."""
        return _times(modes, self.shapes).reshape(-1)

    def inlet_c_N(self, node_w_N: Floats, supply_c: float) -> Floats:
        """The local inlets."""
        return np.asarray(supply_c + (node_w_N.reshape(-1, self.n) @ self.inlet_k_per_w.T).reshape(-1))

    def node_waits_s(self, block: int, places: Ints, dev: Floats, steady: Floats, limit_c: float) -> Floats:
        """Whole seconds until nodes are at ``limit_c`` or above; infinite for all but the first that will be.

        ``places`` in the block, whose modes are ``dev`` off their ``steady`` state. What is sought is the first second
        of a sum of decaying exponentials. It is looked at in seconds that are the further apart the later they are,
        and then between the last in which all nodes are below and the first in which one is not; an excursion between
        two neighbouring glances, which would take a neighbour that cools down just then, is not seen.
        """
        shapes = self.shapes[block][:, places]
        short_k = limit_c - steady @ shapes
        parts = (shapes * dev[:, None]).T
        seconds, fades = self._glances_s, self._glances[block]
        while True:
            above = parts @ fades >= short_k[:, None]
            some = np.logical_or.reduce(above)
            at = int(some.argmax())
            if not some[at]:
                return np.full(places.size, np.inf)
            if at == 0 or seconds[at] == seconds[at - 1] + 1.0:
                return np.where(above[:, at], seconds[at], np.inf)
            seconds = np.ceil(seconds[at - 1] + (seconds[at] - seconds[at - 1]) * _GLANCES)
            fades = np.exp(-self.rates[block][:, None] * seconds)

    def node_peak_c(
        self, block: int, start: Floats, spans_s: Floats, watts: Floats, supply_c: Floats, floor_c: float
    ) -> float:
        """The highest temperature of a block's nodes in pieces of constant power, or ``floor_c`` if that is higher.

        Its modes ``start`` there; the pieces have ``spans_s``, ``watts`` (pieces, n) and ``supply_c``. The result is
        exact at the ends of pieces. Within a piece a node can have a maximum where a neighbour cools down; that is
        found if it rises at the beginning and falls at the end.
        """
        rates, shapes = self.rates[block], self.shapes[block]
        steady = watts @ self.gains[block] + supply_c[:, None] * self.warm[block]
        begins, ends = _relaxing(rates, start, spans_s, steady)
        peak_c = max(floor_c, float(((steady + ends) @ shapes).max()))
        if self.coupling_w_per_k:
            passing = ((begins * rates) @ shapes < 0.0) & ((ends * rates) @ shapes > 0.0)
            alone_k = (watts @ self.inlet_k_per_w.T) + watts * self.r_N[block * self.n : (block + 1) * self.n]
            pieces, places = np.nonzero(passing & (supply_c[:, None] + alone_k > peak_c))
            parts = begins[pieces] * shapes[:, places].T
            low, high = np.zeros(pieces.size), spans_s[pieces]
            for _ in range(_HALVINGS if pieces.size else 0):
                middle = (low + high) / 2.0
                rises = (parts * rates * np.exp(-middle[:, None] * rates)).sum(axis=1) < 0.0
                low, high = np.where(rises, middle, low), np.where(rises, high, middle)
            tops_c = (steady[pieces] * shapes[:, places].T + parts * np.exp(-low[:, None] * rates)).sum(axis=1)
            peak_c = float(tops_c.max(initial=peak_c))
        return peak_c

    def gpu_peak_c(
        self, block: int, lag_k: Floats, spans_s: Floats, watts: Floats, gpu_w: Floats, supply_c: Floats
    ) -> float:
        """The highest temperature of a block's GPUs in pieces of constant power; their lags start at ``lag_k``.

        A lag is monotone within a piece, and its inlet constant, so this is at an end of a piece that lasts.
        """
        inlet_c = supply_c[:, None] + watts @ self.inlet_k_per_w.T
        steady_k = self.gpu_r_N[block * self.n : (block + 1) * self.n] * gpu_w
        begins, ends = _relaxing(np.full(self.n, 1.0 / self.gpu_tau_s), lag_k, spans_s, steady_k)
        peaks_c = inlet_c + steady_k + np.maximum(begins, ends)
        return float(peaks_c[spans_s > 0.0].max(initial=-np.inf))


def _times(rows: Floats, matrices: Floats) -> Floats:
    """Each of K rows of n values times its own n x n matrix."""
    if rows.shape[1] == 1:
        return np.asarray(rows * matrices[:, 0])
    return np.asarray(np.matmul(rows[:, None, :], matrices)[:, 0])


def _relaxing(rates: Floats, start: Floats, spans_s: Floats, steady: Floats) -> tuple[Floats, Floats]:
    """Deviations of n modes from the steady states of pieces (pieces, n), when these begin and when they end.

    As sums that are multiplied by growing exponentials, and begun anew before those are too large.
    """
    begins = np.empty_like(steady)
    begins[0] = start - steady[0]
    jumps = steady[:-1] - steady[1:]
    ends_s = np.cumsum(spans_s)
    piece, last, reach_s = 0, spans_s.size - 1, _EXPONENT / float(rates.max())
    while piece < last:
        begin_s = ends_s[piece] - spans_s[piece]
        stop = int(np.searchsorted(ends_s[:last], begin_s + reach_s, side="right"))
        if stop > piece:
            growth = np.exp((ends_s[piece:stop] - begin_s)[:, None] * rates)
            sums = begins[piece] + np.cumsum(jumps[piece:stop] * growth, axis=0)
            begins[piece + 1 : stop + 1] = sums / growth
            piece = stop
        else:
            begins[piece + 1] = begins[piece] * np.exp(-spans_s[piece] * rates) + jumps[piece]
            piece += 1
    return begins, begins * np.exp(-spans_s[:, None] * rates)
