"""The heat of nodes in a rack: its equations with what is to be learned of them, and a network for what they leave out.

Node i of a rack is T_i above the supply, draws P_i watts, and is warmed by its rack:

    C dT_i/dt = P_i - (T_i - I_i) / R_i - g * (sum over its neighbours j of T_i - T_j),   I_i = sum_j D_ij P_j

What is predicted for a time t is their solution of first order in g, as if neighbours relaxed as fast as the node, and
a network's correction, which is nought at t = 0. The derivative of both by t is exact:

    T_i(t) = S_i + (d_i + g t / C * sum over neighbours j of d_j) exp(-t / tau_i) + sum_k h_ik (1 - exp(-t / t_k))

S is the steady state of the coupled equations, d = T(0) - S, and h the network's output. All functions take the array
module ``xp``, numpy or torch, so that a run and a training compute the same. Shapes: B racks of n units, H times, K
times t_k, F features. A short rack is filled up with units of which ``there`` is 0.

References: Raissi, Perdikaris and Karniadakis 2019, Physics-informed neural networks. Tang, Gupta and Varsamopoulos
2008, Energy-efficient thermal-aware task scheduling for homogeneous high-performance computing data centers
(recirculation). Lu et al. 2021, Learning nonlinear operators via DeepONet (outputs that weigh functions of time).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

TIMES_S: Final = (30.0, 90.0, 270.0, 810.0, 2430.0)
"""The t_k."""

FEATURES: Final = (
    "above_k", "watts", "neighbours_above_k", "neighbours_watts", "rack_watts", "height", "neighbours", "factor",
)  # fmt: skip
"""What the network knows of a node: all but the last two are brought to a mean of 0 and a deviation of 1."""

HIDDEN: Final = (32, 16)
_SWEEPS: Final = 6  # of Jacobi's method; each leaves a tenth of the error of the one before, or less
PER_S: Final = 300.0
"""Seconds by which the error of a derivative is brought to kelvins."""

EQUATIONS: Final[Mapping[str, tuple[int, ...]]] = {
    "ln_k_per_w": (),
    "ln_j_per_k": (),
    "ln_w_per_k": (),
    "ln_return": (),
    "slant": (),
    "ln_reach": (),
}
"""What is learned of the equations, besides each node's factor: R, C and g; how much heat returns to the inlets of
its own rack, by how much more to the upper ones, and over which part of a rack."""

NETWORK: Final[Mapping[str, tuple[int, ...]]] = {
    "weight0": (len(FEATURES), HIDDEN[0]),
    "bias0": (HIDDEN[0],),
    "weight1": (HIDDEN[0], HIDDEN[1]),
    "bias1": (HIDDEN[1],),
    "weight2": (HIDDEN[1], len(TIMES_S)),
    "bias2": (len(TIMES_S),),
}

SIZE: Final = (HIDDEN[1] + 1) * len(TIMES_S)
"""Numbers of the network's last layer."""


class Racks(NamedTuple):
    """B racks at a moment, each (B, n): how far their nodes are above the supply, what they draw, R's own factor.

    With ``more_w`` what is predicted of each node is so, if it alone drew so many watts more from now on.
    """

    above_k: Any
    watts: Any
    factor: Any
    there: Any
    more_w: Any = None


class Steady(NamedTuple):
    """Where nodes end up if all power stays, above the supply, and so their inlets; 1 / tau of each; all (B, n).

    ``beside_k`` is the sum over each node's neighbours of how far these are from where they end up.
    """

    above_k: Any
    inlet_k: Any
    rate: Any
    beside_k: Any


class Course(NamedTuple):
    """What is predicted at H times, (B, n, H): kelvins above the supply, kelvins a second, the share left of d."""

    above_k: Any
    slope: Any
    left: Any


def k_per_w(xp: Any, p: Mapping[str, Any], racks: Racks) -> Any:
    """R of every node, (B, n)."""
    return xp.exp(p["ln_k_per_w"] + racks.factor)


def inlets(xp: Any, p: Mapping[str, Any], n: int) -> Any:
    """D, kelvins at the inlet of unit i (row) per watt of a node of unit j (column), (n, n)."""
    place = np.arange(n)
    like = p["ln_k_per_w"]
    away, height = _plain(like, np.abs(place[:, None] - place) / n), _plain(like, place / max(1, n - 1) - 0.5)
    share = xp.exp(p["ln_return"] + p["ln_k_per_w"]) / n
    return share * (1.0 + 2.0 * xp.tanh(p["slant"]) * height[:, None]) * xp.exp(-away * xp.exp(-p["ln_reach"]))


def inlet_k(xp: Any, p: Mapping[str, Any], racks: Racks) -> Any:
    """How far the inlets of nodes are above the supply, (B, n)."""
    d = inlets(xp, p, racks.watts.shape[1])
    found = (racks.watts * racks.there) @ d.T
    return found if racks.more_w is None else found + d.diagonal() * racks.more_w


def beside(xp: Any, values: Any) -> Any:
    """The sum over the neighbours of each unit, of values (B, n, ...)."""
    band = _plain(values, _band(values.shape[1]))
    return values @ band if values.ndim == 2 else band @ values


@cache
def _band(n: int) -> Any:
    """1 where unit i (row) and unit j (column) of a rack are neighbours, else 0, (n, n)."""
    return np.eye(n, k=1, dtype=np.float32) + np.eye(n, k=-1, dtype=np.float32)


def steady(xp: Any, p: Mapping[str, Any], racks: Racks) -> Steady:
    """Where the nodes end up.

    That one node draws more is added to what holds without, up to second order in g.
    """
    r, g, d = k_per_w(xp, p, racks), xp.exp(p["ln_w_per_k"]), inlets(xp, p, racks.watts.shape[1])
    there = racks.there
    warmed_k = (racks.watts * there) @ d.T
    own_w = racks.watts + warmed_k / r
    to_all = 1.0 / r + g * beside(xp, there)
    above_k = own_w * r
    for _ in range(_SWEEPS):
        above_k = (own_w + g * beside(xp, above_k * there)) / to_all
    beside_k = beside(xp, (racks.above_k - above_k) * there)
    if racks.more_w is not None:
        alone = there / to_all  # K/W of a node, if its neighbours stayed as they are
        itself = alone * (1.0 + g**2 * alone * beside(xp, alone)) * (1.0 + d.diagonal() / r)
        across = g * alone * _to_beside(xp, d.T, alone / r)
        above_k = above_k + (itself + across) * racks.more_w
        warmed_k = warmed_k + d.diagonal() * racks.more_w
        passed = g * alone * beside(xp, alone) * (1.0 + d.diagonal() / r)
        beside_k = beside_k - (passed + _to_beside(xp, d.T, alone / r)) * racks.more_w
    return Steady(above_k, warmed_k, to_all * xp.exp(-p["ln_j_per_k"]), beside_k)


def _to_beside(xp: Any, to: Any, values: Any) -> Any:
    """The sum over the neighbours j of each unit i of ``to[i, j]`` times values (B, n) of j."""
    nothing = xp.zeros_like(values[:, :1])
    up, down = to.diagonal(1) * values[:, 1:], to.diagonal(-1) * values[:, :-1]
    return xp.concatenate([up, nothing], 1) + xp.concatenate([nothing, down], 1)


def features(xp: Any, racks: Racks) -> Any:
    """What the network knows of each node, before it is scaled, (B, n, F)."""
    n = racks.watts.shape[1]
    count = beside(xp, racks.there)
    nothing = xp.zeros_like(racks.watts)
    rack_w = (racks.watts * racks.there).sum(1)[:, None] / racks.there.sum(1)[:, None] + nothing
    place = nothing + _plain(nothing, np.arange(n) / max(1, n - 1) - 0.5)
    watts, beside_w = racks.watts, beside(xp, racks.watts * racks.there)
    if racks.more_w is not None:
        watts = watts + racks.more_w
        rack_w = rack_w + racks.more_w / racks.there.sum(1)[:, None]
    columns = [
        racks.above_k,
        watts,
        beside(xp, racks.above_k * racks.there) - count * racks.above_k,
        beside_w - count * watts,
        rack_w,
        place,
        count,
        racks.factor,
    ]
    return xp.stack(columns, -1)


def known(xp: Any, p: Mapping[str, Any], racks: Racks, center: Any, scale: Any) -> Any:
    """What the network's last hidden layer makes of each node, and a 1, (B, n, HIDDEN[1] + 1)."""
    x = (features(xp, racks) - center) / scale
    for layer in range(2):
        x = xp.tanh(x @ p[f"weight{layer}"] + p[f"bias{layer}"])
    return xp.concatenate([x, xp.zeros_like(x[:, :, :1]) + 1.0], -1)


def output(xp: Any, p: Mapping[str, Any], last: Any, scale: Any) -> Any:
    """The network's output, (B, n, K), kelvins, from what ``known`` gave."""
    return (last[:, :, :-1] @ p["weight2"] + p["bias2"]) * scale[0]


def course(
    xp: Any,
    p: Mapping[str, Any],
    racks: Racks,
    h: Any,
    times_s: Any,
    *,
    physics: bool = True,
    ends: Steady | None = None,
) -> Course:
    """What is predicted for times (B, H), with the network's output ``h`` (B, n, K) in kelvins.

    Without ``physics`` it is the network's alone, from where the nodes are. ``ends`` is ``steady``, where it is known.
    """
    start = racks.above_k[:, :, None]
    above_k, slope, fades = start, 0.0, xp.zeros_like(start)
    if physics:
        ends = steady(xp, p, racks) if ends is None else ends
        rate, times = ends.rate[:, :, None], times_s[:, None, :]
        felt = xp.exp(p["ln_w_per_k"] - p["ln_j_per_k"]) * ends.beside_k[:, :, None]
        fades = xp.exp(-rate * times)
        off = fades * (start - ends.above_k[:, :, None] + felt * times)
        above_k, slope = ends.above_k[:, :, None] + off, fades * felt - rate * off
    for k, time_s in enumerate(TIMES_S):
        gone = xp.exp(-times_s / time_s)[:, None, :]
        above_k = above_k + h[:, :, k, None] * (1.0 - gone)
        slope = slope + h[:, :, k, None] * gone / time_s
    return Course(above_k, slope, fades)


def imbalance_k(xp: Any, p: Mapping[str, Any], racks: Racks, found: Course) -> Any:
    """By how much the heat that a course brings to nodes is not the heat that they get, (B, n, H), times 300 s / C."""
    r, g = k_per_w(xp, p, racks)[:, :, None], xp.exp(p["ln_w_per_k"])
    warmed_k = inlet_k(xp, p, racks)[:, :, None]
    there = racks.there[:, :, None]
    to_neighbours = g * (beside(xp, there) * found.above_k - beside(xp, found.above_k * there))
    got_w = racks.watts[:, :, None] - (found.above_k - warmed_k) / r - to_neighbours
    return PER_S * (found.slope - got_w * xp.exp(-p["ln_j_per_k"])) * there


def jacobian(known: Any, by_time: Any, scale_k: float) -> Any:
    """What a prediction changes by with each number of the last layer, (N, SIZE); of ``known`` (N, H), times (N, K)."""
    return np.asarray(scale_k * (by_time[:, :, None] * known[:, None, :]).reshape(len(known), -1))


def layer_k(root: Any, known: Any, horizon_s: float, scale_k: float) -> Any:
    """The deviation that the network's last layer gives predictions of (..., H) ``known`` after ``horizon_s``."""
    by_time = scale_k * (1.0 - np.exp(-horizon_s / np.array(TIMES_S, root.dtype)))
    at_time = np.tensordot(by_time.astype(root.dtype), root.reshape(len(TIMES_S), HIDDEN[1] + 1, SIZE), 1)
    return np.sqrt(np.square(known @ at_time).sum(-1))


def _plain(like: Any, values: Any) -> Any:
    """Numbers that nothing is learned of, as numpy's or as torch's, where ``like`` is."""
    single = values.astype(np.float32)
    return single if isinstance(like, np.ndarray | np.generic) else like.new_tensor(single)
