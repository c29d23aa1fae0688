"""Power of nodes: what load and speed draw, what a cap leaves, what sleep and conversion cost.

Pure functions. Watts are wall watts of one node (at the rack input, conversion losses included) unless a name says
otherwise. A ``Number`` is a float, or an array; several of them in one call have one shape.

References: Hsu and Feng 2005, A power-aware run-time system for high-performance computing (slow-down by beta);
Etinski, Corbalan, Labarta and Valero 2012, Understanding the future of energy-performance trade-off via DVFS in HPC
environments; Brewer et al. 2024, A digital twin framework for liquid-cooled supercomputers as demonstrated at
exascale (conversion losses).
"""

from __future__ import annotations

import math
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from hpcsim.machine.spec import PowerSpec

Floats = npt.NDArray[np.float64]
Number = TypeVar("Number", float, Floats)

_STEPS_OF_SPEED = 100  # from 0 to the nominal clock
_TINY = float(np.finfo(np.float64).tiny)
_NEARLY_FLAT = 1e-200  # of a slope: a step across it still does not overflow
_MOST_STEPS = 100  # Newton's from the right settle in about 8; a very small least_speed takes a few dozen


def dynamic_w(spec: PowerSpec, cpu_util: Number, gpu_util: Number, speed: Number | float = 1.0) -> Number:
    """Watts above idle of one node at these utilisations (0 to 1) and this speed (0 to 1]."""
    full = spec.cpu_dyn_w * cpu_util + spec.gpu_dyn_w * gpu_util
    return cast(Number, full * speed**spec.speed_exponent)


def node_w(spec: PowerSpec, cpu_util: Number, gpu_util: Number, speed: Number | float = 1.0) -> Number:
    """Watts of one node that is on."""
    return spec.idle_w + dynamic_w(spec, cpu_util, gpu_util, speed)


def rate(beta: Number, speed: Number | float) -> Number:
    """Work done per second, 1 at full speed.

    ``beta`` says how far the runtime follows the clock: 0 not at all (memory bound), 1 fully (compute bound).
    """
    return 1.0 / (1.0 + beta * (1.0 / speed - 1.0))


def speed_of_power(spec: PowerSpec, dynamic_now_w: Number, wanted_w: Number | float) -> Number:
    """The speed, within its limits, at which ``dynamic_now_w`` (at speed 1) becomes ``wanted_w``.

    At a speed of s already, the answer is the factor on s. It is 1 where the wanted watts are not below the present
    ones, also where both are 0, and ``least_speed`` where no speed reaches them.
    """
    wanted = np.maximum(wanted_w, _TINY)
    share = wanted / np.maximum(dynamic_now_w, wanted)
    speed: Number = np.clip(share ** (1.0 / spec.speed_exponent), spec.least_speed, 1.0)
    return speed


def best_speed(spec: PowerSpec, static_w: Number, dynamic_w: Number, beta: Number | float) -> Number:
    """The speed of least energy for a given piece of work, within its limits.

    The energy of a unit of work at speed x is (Ps + Pd x^a) (1 + beta (1/x - 1)), with Ps the ``static_w``, the watts
    that the nodes draw whatever their speed, and Pd the ``dynamic_w`` at full speed. With a >= 1 and 0 <= beta <= 1
    it has one minimum, at the root of a (1 - beta) Pd x^(a+1) + (a - 1) beta Pd x^a - beta Ps; with beta = 1 that is
    (Ps / ((a - 1) Pd))^(1/a).
    """
    a = spec.speed_exponent
    share = np.asarray(beta)
    terms = a * (1.0 - share) * dynamic_w, (a - 1.0) * share * dynamic_w, share * static_w
    scale = np.maximum(sum(terms), _TINY)
    steep, flat, constant = (term / scale for term in terms)
    speed: Any = np.ones(np.shape(scale))
    # The left side is convex and grows with x, so Newton's steps from the right of the root never pass it. Where it
    # is negative at full speed already, the first step leads above 1 and is clipped.
    for _ in range(_MOST_STEPS):
        slope = (a + 1.0) * steep * speed**a + a * flat * speed ** (a - 1.0)
        step = (steep * speed ** (a + 1.0) + flat * speed**a - constant) / np.maximum(slope, _NEARLY_FLAT)
        new = np.clip(speed - step, spec.least_speed, 1.0)
        settled = bool(np.all(np.abs(new - speed) <= 1e-15))
        speed = new
        if settled:
            break
    found: Number = speed[()]
    return found


def cap_speed(spec: PowerSpec, static_w: float, dynamic_w: float, cap_w: float) -> float:
    """The factor x on the speed of all jobs with which static + dynamic x^a keeps the cap: the largest whole step.

    ``static_w`` is what no speed changes, ``dynamic_w`` the sum of the jobs' dynamic watts at factor 1. The factor is
    1 if they fit, and never below ``least_speed``, though the cap is then exceeded: see ``cap_holds``. It goes in
    hundredths, as clocks do (15 MHz on an A100 of 1,410 MHz), so that not every job that comes re-times all others.
    """
    exact = float(speed_of_power(spec, dynamic_w, cap_w - static_w))
    return max(spec.least_speed, math.floor(exact * _STEPS_OF_SPEED) / _STEPS_OF_SPEED)


def cap_holds(spec: PowerSpec, static_w: float, dynamic_w: float, cap_w: float) -> bool:
    """Whether the cap can be kept at all, with every job at ``least_speed`` of its own speed."""
    return bool(static_w + dynamic_w * spec.least_speed**spec.speed_exponent <= cap_w)


def wall_w(spec: PowerSpec, dc_w: Number) -> Number:
    """Wall watts of a node whose parts take ``dc_w``: through its own converter, then its share of a rectifier."""
    node_in: Number = (dc_w + spec.node_loss_w) / spec.node_efficiency
    return (node_in + spec.rectifier_loss_w / spec.nodes_per_rectifier) / spec.rectifier_efficiency


def dc_w(spec: PowerSpec, wall_w: Number) -> Number:
    """Watts that reach the parts of a node that draws ``wall_w``: the inverse of ``wall_w``.

    Below the watts that the converters draw without load (a node asleep, or off) nothing reaches them.
    """
    return _delivered(spec, wall_w, 1.0)


def conversion_loss_j(spec: PowerSpec, wall_j: Number, node_s: Number | float) -> Number:
    """The part of ``wall_j``, drawn in ``node_s`` node-seconds, that was lost in conversion.

    Loss and the joules of ``dc_w`` add up to ``wall_j``: nothing is counted twice. Wall and DC are affine in each
    other, so joules may be summed over any course of power before the loss is split off, as long as the nodes were
    never below the watts that the converters draw without load.
    """
    return wall_j - _delivered(spec, wall_j, node_s)


def sleep_cycle_j(spec: PowerSpec) -> float:
    """Joules of one node for going to sleep (at idle watts) and waking again, without what it draws asleep."""
    wake_w = spec.idle_w if spec.wake_w is None else spec.wake_w
    return spec.idle_w * spec.sleep_s + wake_w * spec.wake_s


def break_even_s(spec: PowerSpec) -> float:
    """The shortest idle time for which sleeping takes no more energy than staying on.

    It counts from the order to sleep until the node is ready again, both transitions included, and is infinite
    for a machine that draws no less asleep than idle.
    """
    transitions_s = spec.sleep_s + spec.wake_s
    saved_w = spec.idle_w - spec.sleep_w
    if saved_w <= 0:
        return math.inf
    excess_j = sleep_cycle_j(spec) - spec.idle_w * transitions_s
    return transitions_s + max(0.0, excess_j) / saved_w


def _delivered(spec: PowerSpec, wall: Number, node_s: Number | float) -> Number:
    """Joules that reach the parts, of ``wall`` joules; or watts of watts, with ``node_s`` a number of nodes."""
    node_in = wall * spec.rectifier_efficiency - spec.rectifier_loss_w / spec.nodes_per_rectifier * node_s
    delivered: Number = np.maximum(node_in * spec.node_efficiency - spec.node_loss_w * node_s, 0.0)
    return delivered
