"""Training of the fault network: the likelihood of the time to the next failure, where failures are rare.

A unit-hour says that its unit failed in some span, or that it did not for ``EDGES_H[-1]`` hours (censored). Those
before which nothing followed are by far the most: of them a share is drawn anew in each epoch, and each counts for as
many as it stands for, so that the rates stay what they are. ``calibrate`` then fits ln H' = a + b ln H on hours that
were not learned from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from .fault_features import SEQUENCE, SLOW
from .fault_network import (
    EDGES_H,
    FEATURES,
    HEADS,
    HIDDEN,
    SHAPES,
    expected,
    log_rates,
    probability,
    scaled,
    spans_h,
)
from .fault_records import FaultRecords, Hours
from .loop import Course, Descent, Fitted, Plan, digest, fit

Floats = npt.NDArray[np.float64]

HORIZON_H: Final = 24.0
_FAILING: Final = 12_000  # unit-hours of an epoch that precede a failure, at most
_OTHERS: Final = 12_000  # and of those that do not
_LEAST_SCALE: Final = 1e-3
_DROPOUT: Final = 0.2
_DESCENT: Final = Descent(rate=1.5e-3, decay=1e-2)
_TRUST: Final = 1e-4  # a Newton step so small is none


class Examples(NamedTuple):
    """Features of N unit-hours, hours to the failure (infinite: none is known), and for how many each stands."""

    sequence: npt.NDArray[np.float16]
    slow: npt.NDArray[np.float16]
    fails_in_h: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]


class Trained(NamedTuple):
    """The best weights with their scalers and calibration."""

    tensors: dict[str, npt.NDArray[np.float32]]
    center: Floats
    scale: Floats
    calibration: tuple[float, float]
    losses: list[tuple[float, float]]
    best_epoch: int

    def probability(self, rows: FaultRecords, which: Hours, horizon_h: float = HORIZON_H) -> Floats:
        """Of failures of some unit-hours within a horizon."""
        return probability(self._expected(rows, which, horizon_h), self.calibration)

    def _expected(self, rows: FaultRecords, which: Hours, horizon_h: float) -> Floats:
        parts = []
        for begin in range(0, len(which.hour), 1 << 15):
            some = Hours(*(part[begin : begin + (1 << 15)] for part in which))
            x, z = self.scaled(rows.windows(some), rows.slow[some.hour, some.unit])
            parts.append(expected(log_rates(self.tensors, x, z), horizon_h))
        return np.concatenate(parts)

    def scaled(self, sequence: npt.NDArray[Any], slow: npt.NDArray[Any]) -> tuple[Any, Any]:
        """Features as the network takes them."""
        first = len(SEQUENCE)
        x = scaled(sequence, self.center[:first], self.scale[:first])
        return x, scaled(slow, self.center[first:], self.scale[first:])


def draw(runs: Sequence[tuple[FaultRecords, slice]], failing: int, others: int, rng: np.random.Generator) -> Examples:
    """Unit-hours of parts of some runs: so many before failures and so many others of each, if there are as many."""
    parts = []
    for rows, part in runs:
        every = rows.all_of(part)
        fails = rows.within(every, EDGES_H[-1])
        for wanted, which in ((failing, np.flatnonzero(fails)), (others, np.flatnonzero(~fails))):
            count = min(wanted, which.size)
            some = rng.choice(which, count, replace=False)
            chosen = Hours(every.hour[some], every.unit[some])
            weight = np.full(count, which.size / max(count, 1), np.float32)
            parts.append(
                Examples(
                    rows.windows(chosen),
                    rows.slow[chosen.hour, chosen.unit],
                    rows.fails_in_h[chosen.hour, chosen.unit],
                    weight,
                )
            )
    drawn = Examples(*(np.concatenate(each) for each in zip(*parts, strict=True)))
    return drawn._replace(weight=drawn.weight / drawn.weight.mean())


def train(runs: Sequence[FaultRecords], plan: Plan, course: Course) -> Trained:
    """Train on the first part of each run, stop and calibrate by the second."""
    import torch

    torch.manual_seed(plan.seed)
    halves = [rows.parts(EDGES_H[-1]) for rows in runs]
    learned = [(rows, part[0]) for rows, part in zip(runs, halves, strict=True)]
    checked = [(rows, part[1]) for rows, part in zip(runs, halves, strict=True)]
    share = max(1, len(runs))
    begin = draw(learned, 4 * _FAILING // share, 4 * _OTHERS // share, np.random.default_rng([plan.seed, 0]))
    aside = draw(checked, _FAILING // share, _OTHERS // share, np.random.default_rng([plan.seed, 1]))
    center, scale = _scalers(begin)
    blank = Trained({}, center, scale, (0.0, 1.0), [], 0)
    parameters = _parameters(torch, begin)
    aside_x, aside_y, aside_w = _tensors(torch, blank, aside)

    def steps(epoch: int) -> Iterable[tuple[Any, int]]:
        rng = np.random.default_rng([plan.seed, 2, epoch])
        drawn = draw(learned, _FAILING // share, _OTHERS // share, rng)
        x, y, w = _tensors(torch, blank, drawn)
        order = torch.randperm(len(w))
        for first in range(0, len(order), plan.batch):
            which = order[first : first + plan.batch]
            output = forward(torch, parameters, x[0][which], x[1][which], dropout=_DROPOUT)
            yield _loss(torch, output, y[0][which], y[1][which], w[which]), len(which)

    def check() -> float:
        total = 0.0
        for first in range(0, len(aside_w), 4096):
            part = slice(first, first + 4096)
            output = forward(torch, parameters, aside_x[0][part], aside_x[1][part])
            total += float(_loss(torch, output, aside_y[0][part], aside_y[1][part], aside_w[part])) * len(aside_w[part])
        return total / len(aside_w)

    identity = digest(np.asarray(each, np.float64).reshape(-1)[:1_000_000] for each in (*begin, *aside))
    fitted = fit(parameters, steps, check, plan, _DESCENT, identity, course)
    trained = half(fitted, center, scale)
    return trained._replace(calibration=calibrate(trained, checked))


def half(fitted: Fitted, center: Floats, scale: Floats) -> Trained:
    """Weights as they are kept: in half precision."""
    tensors = {name: value.astype(np.float16).astype(np.float32) for name, value in fitted.tensors.items()}
    return Trained(tensors, center, scale, (0.0, 1.0), fitted.losses, fitted.best_epoch)


def calibrate(trained: Trained, checked: Sequence[tuple[FaultRecords, slice]]) -> tuple[float, float]:
    """The a and b of the largest likelihood of failures within ``HORIZON_H``, by Newton's method."""
    logs, failed = [], []
    for rows, part in checked:
        which = rows.all_of(part)
        logs.append(np.log(np.maximum(trained._expected(rows, which, HORIZON_H), 1e-12)))
        failed.append(rows.within(which, HORIZON_H))
    log_h, y = np.concatenate(logs), np.concatenate(failed)
    x = np.stack([np.ones_like(log_h), log_h])
    at = np.array([0.0, 1.0])
    for _ in range(50):
        h = np.exp(np.minimum(at @ x, 5.0))
        slope = np.where(y, h / np.expm1(np.maximum(h, 1e-12)), -h)
        curve = np.where(y, np.minimum(slope * (1 - h - slope), 0.0), -h)
        step = np.linalg.solve((x * curve) @ x.T - 1e-6 * np.eye(2), x @ slope)
        at = at - np.clip(step, -0.5, 0.5)
        if np.abs(step).max() < _TRUST:
            break
    return float(at[0]), float(max(at[1], 0.05))


def _scalers(drawn: Examples) -> tuple[Floats, Floats]:
    sequence = drawn.sequence.astype(np.float64).reshape(-1, len(SEQUENCE))
    slow = drawn.slow.astype(np.float64)
    center = np.concatenate([sequence.mean(0), slow.mean(0)])
    scale = np.concatenate([sequence.std(0), slow.std(0)])
    rounded = [float(f"{value:.6g}") for value in (*center, *np.where(scale > _LEAST_SCALE, scale, 1.0))]
    return np.array(rounded[: len(FEATURES)]), np.array(rounded[len(FEATURES) :])


def _tensors(torch: Any, scalers: Trained, drawn: Examples) -> tuple[Any, Any, Any]:
    """Features; hours in each span until the failure or the end, and in which span it came; weights."""
    until_h = np.minimum(drawn.fails_in_h.astype(np.float64), EDGES_H[-1])
    came = (drawn.fails_in_h[:, None] <= np.array(EDGES_H)).argmax(1)
    event = np.zeros((len(came), len(EDGES_H)), np.float32)
    fails = drawn.fails_in_h <= EDGES_H[-1]
    event[np.flatnonzero(fails), came[fails]] = 1.0
    x = tuple(map(torch.from_numpy, scalers.scaled(drawn.sequence, drawn.slow)))
    y = torch.from_numpy(spans_h(until_h).astype(np.float32)), torch.from_numpy(event)
    return x, y, torch.from_numpy(drawn.weight)


def _loss(torch: Any, log_rate: Any, spans: Any, event: Any, weight: Any) -> Any:
    """Minus the log likelihood of piecewise constant rates."""
    log_rate = log_rate.clamp(max=8.0)
    return (weight[:, None] * (log_rate.exp() * spans - event * log_rate)).sum(1).mean()


def _parameters(torch: Any, drawn: Examples) -> dict[str, Any]:
    parameters = {}
    for name, shape in SHAPES.items():
        if len(shape) == 1:
            parameters[name] = torch.zeros(shape)
        else:
            bound = (HIDDEN if name.startswith(("input", "state")) else shape[1]) ** -0.5
            parameters[name] = (torch.rand(shape) * 2 - 1) * bound
    for layer in (0, 1):
        parameters[f"bias{layer}"][HIDDEN : 2 * HIDDEN] = 1.0  # remember, at first
    spans = spans_h(np.minimum(drawn.fails_in_h.astype(np.float64), EDGES_H[-1]))
    fails = drawn.fails_in_h <= EDGES_H[-1]
    rate = float(drawn.weight[fails].sum() / (drawn.weight[:, None] * spans).sum())
    parameters["rates_bias"] += float(np.log(max(rate, 1e-9)))
    parameters["rates"] *= 0.1
    return parameters


def forward(torch: Any, tensors: Mapping[str, Any], sequence: Any, slow: Any, *, dropout: float = 0.0) -> Any:
    """What ``fault_network.log_rates`` computes, in torch."""
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
    return hidden @ tensors["rates"].T + tensors["rates_bias"]
