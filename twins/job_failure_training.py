"""Training of the networks of job failure: first on failures drawn for the same jobs, then on those that were.

A trace has few users who fail, and a network that has seen no others takes the habits of these for how failing goes. So
in the first epochs it also learns from copies of the jobs to fit in which failures are drawn: users, and their jobs of
one size, walltime, queue or project, each tend to fail or not, and change their minds now and then. What can be learned
there is how to tell from the last ends whose jobs fail now; whatever else makes jobs fail is learned from the real
ones, alone, in the later epochs. Each member learns from an order of its own.

Whether a program fails is often a matter of chance, and how long it runs less so; besides, the networks learn whether
it ends at once or meets its walltime, which shapes what they have in common with saying whether it fails (Caruana
1997).

Failures are rare, so a job that failed weighs more than one that did not, by the root of their ratio; calibration takes
that back.

References
----------
Caruana (1997), Multitask learning.
Müller, Hollmann, Arango, Grabocka and Hutter (2022), Transformers can do Bayesian inference.
Lakshminarayanan, Pritzel and Blundell (2017), Simple and scalable predictive uncertainty estimation using deep
ensembles.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from . import features, job_failure_sequences, logistic
from .features import Bools, Columns, Ends, Floats, Int64s
from .job_failure_network import (
    HEADS,
    HIDDEN,
    KIND,
    LAST_HIDDEN,
    LAYERS,
    MEMBERS,
    NETWORKS,
    NORM_EPSILON,
    SHAPES,
    probability,
)
from .job_failure_sequences import LENGTH, Sequences
from .loop import ALONE, Course, Descent, Plan, digest, fit, moved
from .network import scaled
from .records import Records
from .training import scalers
from .weights import load

DRAWN_EPOCHS: Final = 3
"""In how many epochs drawn failures are learned from too."""

_DRAWN_JOBS: Final = 16_000  # about how many drawn failures there are
_MOST_COPIES: Final = 6
_CHANGES: Final = (0.0, 0.01, 0.03, 0.1)  # how likely a mood changes from one job to the next
_MOST_MOOD: Final = 2.5  # deviation of the log odds that moods of one kind have
_SHARE_DEVIATION: Final = 0.7  # of the log of the share that fails
_DROPOUT: Final = 0.1
_FEATURE_DROPOUT: Final = 0.2
_FIRST_LIKING: Final = 2.0  # of a head for ends that have something in common with the job
_WEIGHT_POWER: Final = 0.5
_AT_ONCE: Final = 0.02  # of the walltime
_BESIDES: Final = 0.5  # what to say how it ran counts beside to say whether it fails
_DESCENT: Final = Descent(rate=1e-3, decay=1e-2, longest=5.0)
_GATES: Final = (0, 1, 3, 2)  # torch has input, forget, new, output
_BESIDE_SHAPES: Final = {"beside_last1": (MEMBERS, LAST_HIDDEN, 2), "beside_bias1": (MEMBERS, 1, 2)}


class Data(NamedTuple):
    """Jobs to learn from: features (J, F), the last ends of their users, whether their program failed, and how it ran.

    ``ran`` (J, 2) is whether it ended at once, and whether it met its walltime.
    """

    features: Floats
    known: Sequences
    failed: Bools
    ran: Bools

    @property
    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """All numbers of it."""
        return (self.features, *self.known, self.failed, self.ran)

    def take(self, which: Int64s) -> Data:
        """Some of the jobs."""
        return Data(self.features[which], self.known.take(which), self.failed[which], self.ran[which])


class Trained(NamedTuple):
    """The best weights, their scalers, and the losses of each epoch: of training and of validation."""

    tensors: dict[str, npt.NDArray[np.float32]]
    center: list[float]
    scale: list[float]
    losses: list[tuple[float, float]]
    best_epoch: int


def data(rows: Records, which: Int64s, ends: Ends | None = None) -> Data:
    """Some of the jobs of a trace; with ``ends`` as if those had been how its jobs ended."""
    share = rows.runtime_s / np.maximum(rows.jobs.walltime_s, 1)
    ran = np.stack([share < _AT_ONCE, share >= 1], axis=1)
    x = rows.features if ends is None else features.of_trace(rows.jobs, ends)
    ends = ends or rows.ends
    failed = np.zeros(len(share), bool)
    failed[ends.job] = ends.failed
    known = job_failure_sequences.of_trace(rows.jobs, ends)
    return Data(x[which], known.take(which), failed[which], ran[which])


def together(parts: Sequence[Data]) -> Data:
    """The jobs of several as one."""
    before = np.cumsum([0, *(len(part.known.length) for part in parts)])
    known = Sequences(
        np.concatenate([part.known.of + first for part, first in zip(parts, before[:-1], strict=True)]),
        *(np.concatenate([part.known[k] for part in parts]) for k in range(1, 4)),
    )
    return Data(
        np.concatenate([part.features for part in parts]),
        known,
        np.concatenate([part.failed for part in parts]),
        np.concatenate([part.ran for part in parts]),
    )


def drawn_failures(jobs: Columns, share: float, rng: np.random.Generator) -> Bools:
    """Failures of J jobs, drawn: of about ``share`` of them, and alike where jobs have something in common."""
    named = jobs.user >= 0
    who = _numbered(*np.where(named, [jobs.user, np.full_like(jobs.user, -1)], [jobs.nodes, jobs.walltime_s]))
    odds = np.zeros(len(who))
    for also in ((), (jobs.nodes,), (jobs.nodes, jobs.walltime_s), (jobs.queue,), (jobs.project,)):
        group = _numbered(who, *also)
        order = np.argsort(group, kind="stable")
        begins = np.append(True, np.diff(group[order]) != 0)
        begins |= rng.random(len(who)) < rng.choice(_CHANGES)
        mood = np.cumsum(begins) - 1
        odds[order] += rng.uniform(0.0, _MOST_MOOD) * rng.standard_normal(mood[-1] + 1)[mood]
    wanted = np.clip(share * np.exp(rng.normal(0.0, _SHARE_DEVIATION)), 0.02, 0.9)
    low, high = -20.0, 20.0
    while high - low > 1e-6:
        shift = (low + high) / 2
        low, high = (shift, high) if probability(odds + shift).mean() < wanted else (low, shift)
    failed: Bools = rng.random(len(who)) < probability(odds + low)
    return failed


def _numbered(*columns: Int64s) -> Int64s:
    """A number for each of J combinations of values, equal for equal ones."""
    return np.unique(np.stack(columns), axis=1, return_inverse=True)[1].reshape(-1)


def drawn(rows: Records, which: Int64s, rng: np.random.Generator) -> Data:
    """Copies of some of the jobs of a trace, the latest of them where they are many; their failures are drawn."""
    ends = rows.ends
    share = float(ends.failed[np.isin(ends.job, which)].mean())
    which = which[-_DRAWN_JOBS:]
    copies = int(np.clip(round(_DRAWN_JOBS / len(which)), 1, _MOST_COPIES))
    failures = (drawn_failures(rows.jobs, share, rng)[ends.job] for _ in range(copies))
    return together([data(rows, which, replace(ends, failed=failed)) for failed in failures])


def train(fitted: Data, imagined: Data, check: Data, plan: Plan, course: Course = ALONE) -> Trained:
    """Train the members on ``imagined`` and ``fitted`` and then on ``fitted``, and stop by ``check``.

    A training that begins with weights has seen what was imagined, and learns from ``fitted`` alone.
    """
    import torch

    torch.manual_seed(plan.seed)
    begun = None if course.start is None else load(course.start, KIND, SHAPES, features.NAMES)
    center, scale = scalers(fitted.features) if begun is None else (begun.about["center"], begun.about["scale"])
    share = float(np.clip(fitted.failed.mean(), 1e-3, 1 - 1e-3))
    weight = ((1 - share) / share) ** _WEIGHT_POWER
    real = len(fitted.failed)
    taught, checked_by = (
        moved(_tensors(torch, part, center, scale), course.device) for part in (together([fitted, imagined]), check)
    )
    if begun is None:
        parameters = _begin(torch, math.log(share / (1 - share) * weight))
    else:
        parameters = _begin(torch, 0.0) | {name: torch.from_numpy(begun.tensors[name]) for name in NETWORKS}
    parameters = moved(parameters, course.device)

    def loss(odds: Any, failed: Any, ran: Any) -> Any:
        entropy = partial(torch.nn.functional.binary_cross_entropy_with_logits, reduction="none")
        each = entropy(odds[..., 0], failed) * torch.where(failed > 0, weight, 1.0)
        return each + _BESIDES * entropy(odds[..., 1:], ran).sum(-1)

    def steps(epoch: int) -> Iterator[tuple[Any, int]]:
        jobs = len(taught.failed) if begun is None and epoch < DRAWN_EPOCHS else real
        order = torch.stack([torch.randperm(jobs) for _ in range(MEMBERS)])
        for begin in range(0, jobs, plan.batch):
            which = order[:, begin : begin + plan.batch]
            odds = forward(torch, parameters, *taught.take(which), dropout=True)
            yield loss(odds, taught.failed[which], taught.ran[which]).mean(1).sum(), which.shape[1]

    def checked() -> float:
        total = 0.0
        for begin in range(0, len(check.failed), 4096):
            which = torch.arange(begin, min(begin + 4096, len(check.failed))).expand(MEMBERS, -1)
            odds = forward(torch, parameters, *checked_by.take(which)).mean(0)[..., :1]
            total += float(loss(odds, checked_by.failed[which[0]], checked_by.ran[which[0]][:, :0]).sum())
        return total / max(len(check.failed), 1)

    identity = digest((*fitted.arrays, *imagined.arrays, *check.arrays))
    identity += "" if begun is None else f" {begun.about['sha256']}"
    found = fit(parameters, steps, checked, plan, _DESCENT, identity, course, members=MEMBERS)
    linear = logistic.fitted(
        scaled(fitted.features, center, scale), fitted.failed, scaled(check.features, center, scale), check.failed
    )
    tensors = {name: found.tensors[name] for name in NETWORKS}
    tensors |= {
        "linear": linear.weights[:, None].astype(np.float32),
        "linear_bias": np.array([linear.bias], np.float32),
    }
    return Trained(tensors, center, scale, found.losses, found.best_epoch)


class _Tensors(NamedTuple):
    x: Any
    of: Any
    tokens: Any
    length: Any
    common: Any
    failed: Any
    ran: Any

    def take(self, which: Any) -> tuple[Any, ...]:
        """What ``forward`` takes of some jobs."""
        of = self.of[which]
        return self.x[which], self.tokens[of], self.length[of], self.common[which]


def _tensors(torch: Any, part: Data, center: list[float], scale: list[float]) -> _Tensors:
    arrays = (scaled(part.features, center, scale), *part.known, *(each.astype(np.float32) for each in part[2:]))
    return _Tensors(*(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))


def _begin(torch: Any, first_odds: float) -> dict[str, Any]:
    parameters = {}
    for name, shape in {**NETWORKS, **_BESIDE_SHAPES}.items():
        if shape[1] > 1 and name != "common_key":
            parameters[name] = torch.randn(shape) * shape[1] ** -0.5 * (0.3 if name.endswith("last1") else 1.0)
        else:
            parameters[name] = torch.zeros(shape)
    parameters["common_key"] += _FIRST_LIKING * torch.eye(*SHAPES["common_key"][1:])  # each head something else
    parameters["norm"] += 1.0
    parameters["last_bias1"] += first_odds
    for layer in range(LAYERS):
        parameters[f"bias{layer}"][..., HIDDEN : 2 * HIDDEN] = 1.0  # so that nothing is forgotten at first
    return parameters


def forward(
    torch: Any, parameters: Mapping[str, Any], x: Any, tokens: Any, length: Any, common: Any, *, dropout: bool = False
) -> Any:
    """The log odds of J jobs, (E, J, 3), by features (E, J, F) and what is known of them: see ``job_failure_network``.

    They are of failing, of ending at once and of meeting the walltime.
    """
    functional = torch.nn.functional

    def dropped(value: Any, rate: float = _DROPOUT) -> Any:
        return functional.dropout(value, rate, training=dropout)

    p = parameters
    members, jobs = x.shape[:2]
    split = (members, jobs, -1, HEADS, HIDDEN // HEADS)
    x = dropped(x, _FEATURE_DROPOUT)
    told = torch.stack([_lstm(torch, p, member, tokens[member], dropout) for member in range(members)])
    job = dropped(functional.silu(x @ p["job"] + p["job_bias"]))
    both = torch.cat([told, job[:, :, None]], 2)
    query = (job @ p["query"]).view(members, jobs, 1, HEADS, -1)
    key = (both @ p["key"][:, None]).view(split)
    seen_too = tokens @ p["token_value"][:, None] + common @ p["common_value"][:, None]
    value = both @ p["value"][:, None] + functional.pad(seen_too, (0, 0, 0, 1))
    likes = common @ p["common_key"][:, None]
    likes = likes.masked_fill((torch.arange(LENGTH, device=length.device) >= length[..., None])[..., None], -math.inf)
    likes = torch.cat([likes, p["itself"][:, None].expand(members, jobs, 1, HEADS)], 2)
    score = (key * query).sum(-1) * (HIDDEN // HEADS) ** -0.5 + likes
    share = dropped(torch.softmax(score, 2), _DROPOUT / 2)
    seen = (share[..., None] * value.view(split)).sum(2).reshape(members, jobs, HIDDEN)
    out = functional.layer_norm(job + dropped(seen @ p["out"]), (HIDDEN,), eps=NORM_EPSILON)
    out = torch.cat([out * p["norm"] + p["norm_bias"], x], 2)
    last = functional.silu(dropped(out) @ p["last0"] + p["last_bias0"])
    last = dropped(last)
    return torch.cat([last @ p["last1"] + p["last_bias1"], last @ p["beside_last1"] + p["beside_bias1"]], -1)


def _lstm(torch: Any, parameters: Mapping[str, Any], member: int, tokens: Any, dropout: bool) -> Any:
    """What torch's own LSTM says after each end, (J, K, H)."""
    weights = []
    for layer in range(LAYERS):
        for name in ("in", "past", "bias"):
            gates = parameters[f"{name}{layer}"][member].split(HIDDEN, -1)
            value = torch.cat([gates[gate] for gate in _GATES], -1)
            weights.append(value[0] if name == "bias" else value.T.contiguous())
        weights.append(tokens.new_zeros(4 * HIDDEN))  # torch has two biases
    nothing = tokens.new_zeros(LAYERS, len(tokens), HIDDEN)
    rate = _DROPOUT if dropout else 0.0
    return torch.lstm(tokens, (nothing, nothing), weights, True, LAYERS, rate, dropout, False, True)[0]
