"""Training of the fault network: the likelihood of the time to the next failure, where failures are rare.

A unit-hour says that its unit failed in some span, or that it did not for ``EDGES_H[-1]`` hours (censored). Hours of
which nothing is to be said are by far the most, so each epoch draws two thirds of its hours from those that show
something: by what was known, and not by what came, so that no rate is distorted by it.

The machine as it is then has the last word, in the hours to calibrate by: they tell how firmly the logistic member is
held back, its share in what both members say, and the a and b of ln H' = a + b ln H.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from . import logistic
from .fault_features import DESCRIBED, SEQUENCE
from .fault_network import (
    EDGES_H,
    FEATURES,
    HEADS,
    HIDDEN,
    HORIZON_H,
    NETWORK,
    expected,
    flat,
    log_expected,
    log_linear,
    log_rates,
    network_log_rates,
    probability,
    scaled,
    spans_h,
)
from .fault_records import FaultRecords, Hours
from .fault_signs import HOURS, Seen, Signs
from .fault_signs import fit as fit_signs
from .loop import Course, Descent, Fitted, Plan, digest, fit

Floats = npt.NDArray[np.float64]

STEP: Final = 3  # every so many hours are calibrated by, and judged
_DRAWN: Final = 24_000  # unit-hours of an epoch
LINEAR_DRAWN: Final = 72_000  # unit-hours that a member without epochs learns from
_SHARES: Final = tuple(round(0.1 * tenth, 1) for tenth in range(11))  # of the logistic member
_CHUNK: Final = 1 << 15
_SOMETHING, _MUCH = 0.01, 0.2  # how likely a fault is on its way
_USUAL: Final = 8_000  # unit-hours far from failures
_LEAST_SCALE: Final = 1e-3
_DROPOUT: Final = 0.3
_COUNTS: Final = tuple(1.0 if edge <= HORIZON_H else 0.25 for edge in EDGES_H)  # of the spans in the loss
_DESCENT: Final = Descent(rate=1e-3, decay=1e-2)
_TRUST: Final = 1e-6  # a Newton step so small is none
_MOST_STEPS: Final = 100
_LEAST_SLOPE: Final = 0.05


class Examples(NamedTuple):
    """Features of N unit-hours (``slow`` with signs), and hours to the failure (infinite: none is known)."""

    sequence: npt.NDArray[np.float16]
    slow: npt.NDArray[np.float16]
    fails_in_h: npt.NDArray[np.float32]


class Trained(NamedTuple):
    """The best weights with their scalers, and the calibration with its covariance (2, 2)."""

    tensors: dict[str, npt.NDArray[np.float32]]
    center: Floats
    scale: Floats
    calibration: tuple[float, float]
    losses: list[tuple[float, float]]
    best_epoch: int
    digest: str
    covariance: Floats | None = None

    def probability(self, rows: FaultRecords, which: Hours, horizon_h: float = HORIZON_H) -> Floats:
        """Of failures of some unit-hours within a horizon."""
        return probability(self.expected(rows, which, horizon_h), self.calibration)

    def expected(self, rows: FaultRecords, which: Hours, horizon_h: float) -> Floats:
        """Failures of some unit-hours within a horizon, before calibration."""
        each = (expected(log_rates(self.tensors, x, z), horizon_h) for x, z in self.features(rows, which))
        return np.concatenate([*each])

    def features(self, rows: FaultRecords, which: Hours) -> Iterable[tuple[Any, Any]]:
        """Those of some unit-hours as the network takes them, some at a time."""
        for begin in range(0, len(which.hour), _CHUNK):
            some = Hours(*(part[begin : begin + _CHUNK] for part in which))
            yield self.scaled(rows.windows(some), rows.slow[some.hour, some.unit])

    def scaled(self, sequence: npt.NDArray[Any], slow: npt.NDArray[Any]) -> tuple[Any, Any]:
        """Features as the network takes them."""
        first = len(SEQUENCE)
        x = scaled(sequence, self.center[:first], self.scale[:first])
        return x, scaled(slow, self.center[first:], self.scale[first:])


def draw(runs: Sequence[tuple[FaultRecords, slice]], wanted: int, rng: np.random.Generator) -> Examples:
    """``wanted`` unit-hours of parts of some runs, a third each of what shows much, something and nothing."""
    parts = []
    for rows, part in runs:
        every = rows.all_of(part)
        shows = showing(rows.slow[every.hour, every.unit])
        for level in range(3):
            which = np.flatnonzero(shows == level)
            some = rng.choice(which, min(wanted // (3 * len(runs)), which.size), replace=False)
            hour, unit = every.hour[some], every.unit[some]
            windows = rows.windows(Hours(hour, unit))
            parts.append(Examples(windows, rows.slow[hour, unit], rows.fails_in_h[hour, unit]))
    return Examples(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def taught(runs: Sequence[FaultRecords], seed: int = 0) -> tuple[list[FaultRecords], Signs]:
    """The same runs with what signs tell, learned from their practices; and the signs, as they are kept."""
    rng = np.random.default_rng(seed)
    before: list[Seen] = []
    usual: list[Seen] = []
    for rows in runs:
        if rows.practice is not None:
            each = rows.practice
            part = each.all_of(each.parts()[0])
            fails_in_h = each.fails_in_h[part.hour, part.unit]
            long_back = each.slow[part.hour, part.unit, DESCRIBED.index("back_h")] > np.log1p(HOURS)
            last = np.flatnonzero((fails_in_h <= 1.0) & long_back)
            far = np.flatnonzero(fails_in_h > EDGES_H[-1])
            for found, which in ((before, last), (usual, rng.choice(far, min(_USUAL, far.size), replace=False))):
                found.append(each.seen(Hours(part.hour[which], part.unit[which])))
    learned = fit_signs(*(Seen._make(map(np.concatenate, zip(*each, strict=True))) for each in (before, usual)))
    signs = Signs.unpacked(learned.packed().astype(np.float16))
    told = []
    for rows in runs:
        practice = rows.practice
        if practice is not None:
            whole = slice(practice.parts()[0].start, practice.parts()[1].stop)
            practice = practice.told(signs, (whole,), 1)
        told.append(rows._replace(practice=practice).told(signs, rows.parts(), STEP))
    return told, signs


def showing(slow: npt.NDArray[np.float16]) -> npt.NDArray[np.int64]:
    """How much of what may be a sign of a failure units show, by their slow features: 0, 1 or 2."""
    fault, back_h = (slow[:, DESCRIBED.index(name)] for name in ("fault", "back_h"))
    return np.asarray(
        np.where(fault > np.log(_MUCH), 2, (fault > np.log(_SOMETHING)) | (back_h < np.log1p(24.0))), np.int64
    )


def train(runs: Sequence[FaultRecords], signs: Signs, plan: Plan, course: Course) -> Trained:
    """Train on the practice of each run and stop by the end of it; calibrate on the machine as it is.

    ``runs`` and ``signs`` are as ``taught`` gives them.
    """
    import torch

    torch.manual_seed(plan.seed)
    practices = [rows.practice for rows in runs if rows.practice is not None]
    learned = [(rows, rows.parts()[0]) for rows in practices]
    checked = [(rows, rows.parts()[1]) for rows in practices]
    begin = draw(learned, 2 * _DRAWN, np.random.default_rng([plan.seed, 0]))
    aside = draw(checked, 2 * _DRAWN, np.random.default_rng([plan.seed, 1]))
    center, scale = _scalers(begin)
    blank = Trained({}, center, scale, (0.0, 1.0), [], 0, "")
    parameters = _parameters(torch, begin)
    aside_x, aside_y = _tensors(torch, blank, aside)

    def steps(epoch: int) -> Iterable[tuple[Any, int]]:
        rng = np.random.default_rng([plan.seed, 2, epoch])
        x, y = _tensors(torch, blank, draw(learned, _DRAWN, rng))
        order = torch.randperm(len(x[1]))
        for first in range(0, len(order), plan.batch):
            which = order[first : first + plan.batch]
            output = forward(torch, parameters, x[0][which], x[1][which], dropout=_DROPOUT)
            yield _loss(torch, output, y[0][which], y[1][which]), len(which)

    def check() -> float:
        total = 0.0
        count = len(aside_x[1])
        for first in range(0, count, 4096):
            part = slice(first, first + 4096)
            output = forward(torch, parameters, aside_x[0][part], aside_x[1][part])
            total += float(_loss(torch, output, aside_y[0][part], aside_y[1][part])) * len(output)
        return total / count

    identity = digest((*begin, *aside))
    fitted = fit(parameters, steps, check, plan, _DESCENT, identity, course)
    trained = half(fitted, center, scale, identity, signs)
    several = draw(learned, LINEAR_DRAWN, np.random.default_rng([plan.seed, 3]))
    return joined(trained, several, [(rows, rows.parts()[0]) for rows in runs])


def half(fitted: Fitted, center: Floats, scale: Floats, data: str, signs: Signs) -> Trained:
    """Weights as they are kept: in half precision."""
    tensors = _halved({**fitted.tensors, "signs": signs.packed()})
    return Trained(tensors, center, scale, (0.0, 1.0), fitted.losses, fitted.best_epoch, data)


def _halved(tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[np.float32]]:
    return {name: value.astype(np.float16).astype(np.float32) for name, value in tensors.items()}


def joined(alone: Trained, drawn: Examples, checked: Sequence[tuple[FaultRecords, slice]]) -> Trained:
    """A trained network with a logistic member that learns from what was drawn, calibrated together.

    The share of the member, in tenths, and the calibration are those that make failures within ``HORIZON_H`` likeliest
    on parts that were not learned from.
    """
    logs, features = [], []
    each_of = [(rows, rows.all_of(part, STEP)) for rows, part in checked]
    for rows, which in each_of:
        for x, z in alone.features(rows, which):
            logs.append(log_expected(network_log_rates(alone.tensors, x, z), HORIZON_H))
            features.append(flat(x, z))
    log_h, to_check = np.concatenate(logs), np.concatenate(features)
    came = np.concatenate([rows.within(which, HORIZON_H) for rows, which in each_of])
    learned = flat(*alone.scaled(drawn.sequence, drawn.slow))
    linear = logistic.fitted(learned, drawn.fails_in_h <= HORIZON_H, to_check, came)
    member = _halved({"linear": linear.weights, "linear_bias": np.array([linear.bias])})
    more = log_linear(member, to_check) - log_h
    tried = []
    for share in _SHARES:
        calibration, covariance = calibrated(log_h + share * more, came)
        tried.append((_log_likelihood(log_h + share * more, came, calibration), share, calibration, covariance))
    _, share, calibration, covariance = max(tried, key=lambda each: each[0])
    tensors = alone.tensors | member | _halved({"linear_share": np.array([share])})
    return alone._replace(tensors=tensors, calibration=calibration, covariance=covariance)


def _log_likelihood(log_h: Floats, failed: npt.NDArray[np.bool_], calibration: tuple[float, float]) -> float:
    h = np.exp(calibration[0] + calibration[1] * log_h)
    return float(np.log(np.maximum(-np.expm1(-h[failed]), 1e-12)).sum() - h[~failed].sum())


def calibrated(log_h: Floats, failed: npt.NDArray[np.bool_]) -> tuple[tuple[float, float], Floats]:
    """The a and b of ln H' = a + b ln H with the largest likelihood, by Newton's method, and their covariance.

    A weak prior holds them near 0 and 1 where hardly anything has failed.
    """
    x = np.stack([np.ones_like(log_h), log_h])
    prior, at = np.array([0.25, 4.0]), np.array([0.0, 1.0])
    curved = np.diag(prior)
    for _ in range(_MOST_STEPS):
        h = np.exp(np.minimum(at @ x, 4.0))
        spared = np.maximum(-np.expm1(-h), 1e-12)
        slope = np.where(failed, h * np.exp(-h) / spared, -h)
        expected_curve = h * h * np.exp(-h) / spared  # of the information
        curved = (x * expected_curve) @ x.T + np.diag(prior)
        step = np.linalg.solve(curved, x @ slope - prior * (at - np.array([0.0, 1.0])))
        at = at + np.clip(step, -0.5, 0.5)
        if np.abs(step).max() < _TRUST:
            break
    return (float(at[0]), float(max(at[1], _LEAST_SLOPE))), np.linalg.inv(curved)


def _scalers(drawn: Examples) -> tuple[Floats, Floats]:
    sequence = drawn.sequence.astype(np.float64).reshape(-1, len(SEQUENCE))
    slow = drawn.slow.astype(np.float64)
    center = np.concatenate([sequence.mean(0), slow.mean(0)])
    scale = np.concatenate([sequence.std(0), slow.std(0)])
    rounded = [float(f"{value:.6g}") for value in (*center, *np.where(scale > _LEAST_SCALE, scale, 1.0))]
    return np.array(rounded[: len(FEATURES)]), np.array(rounded[len(FEATURES) :])


def _tensors(torch: Any, scalers: Trained, drawn: Examples) -> tuple[Any, Any]:
    """Features; hours in each span until the failure or the end, and in which span it came."""
    until_h = np.minimum(drawn.fails_in_h.astype(np.float64), EDGES_H[-1])
    came = (drawn.fails_in_h[:, None] <= np.array(EDGES_H)).argmax(1)
    event = np.zeros((len(came), len(EDGES_H)), np.float32)
    fails = drawn.fails_in_h <= EDGES_H[-1]
    event[np.flatnonzero(fails), came[fails]] = 1.0
    x = tuple(map(torch.from_numpy, scalers.scaled(drawn.sequence, drawn.slow)))
    y = torch.from_numpy(spans_h(until_h).astype(np.float32)), torch.from_numpy(event)
    return x, y


def _loss(torch: Any, log_rate: Any, spans: Any, event: Any) -> Any:
    """Minus the log likelihood of piecewise constant rates."""
    log_rate = log_rate.clamp(max=8.0)
    each = (log_rate.exp() * spans - event * log_rate).sum(0) / len(log_rate)
    return each @ torch.tensor(_COUNTS)


def _parameters(torch: Any, drawn: Examples) -> dict[str, Any]:
    parameters = {}
    for name, shape in NETWORK.items():
        if len(shape) == 1:
            parameters[name] = torch.zeros(shape)
        else:
            bound = (HIDDEN if name.startswith(("input", "state")) else shape[1]) ** -0.5
            parameters[name] = (torch.rand(shape) * 2 - 1) * bound
    for layer in (0, 1):
        parameters[f"bias{layer}"][HIDDEN : 2 * HIDDEN] = 1.0  # remember, at first
    spans = spans_h(np.minimum(drawn.fails_in_h.astype(np.float64), EDGES_H[-1]))
    fails = drawn.fails_in_h <= EDGES_H[-1]
    rate = float(fails.sum() / spans.sum())
    parameters["rates_bias"] += float(np.log(max(rate, 1e-9)))
    parameters["rates"] *= 0.1
    parameters["wide"] *= 0.0
    return parameters


def forward(torch: Any, tensors: Mapping[str, Any], sequence: Any, slow: Any, *, dropout: float = 0.0) -> Any:
    """What ``fault_network.network_log_rates`` computes, in torch."""
    states = torch.zeros(2, len(slow), HIDDEN)
    weights = [
        tensors[name] if name != "none" else torch.zeros(4 * HIDDEN)
        for layer in (0, 1)
        for name in (f"input{layer}", f"state{layer}", f"bias{layer}", "none")
    ]
    steps, _, _ = torch._VF.lstm(sequence, (states, states), weights, True, 2, 0.0, False, False, True)
    last = steps[:, -1]
    units, length = steps.shape[0], steps.shape[1]
    query = (last @ tensors["query"].T).reshape(units, HEADS, 1, -1)
    keys, values = (
        (steps @ tensors[name].T).reshape(units, length, HEADS, -1).transpose(1, 2) for name in ("key", "value")
    )
    found = torch.nn.functional.scaled_dot_product_attention(query, keys, values).reshape(units, HIDDEN)
    joined = torch.cat([last, found, slow], 1)
    joined = torch.nn.functional.dropout(joined, dropout, training=dropout > 0)
    hidden = torch.relu(joined @ tensors["dense"].T + tensors["dense_bias"])
    wide = torch.cat([sequence.reshape(units, -1), slow], 1) @ tensors["wide"].T
    return hidden @ tensors["rates"].T + tensors["rates_bias"] + wide
