"""How likely each unit shows the signs of a fault to come, and when that will come: a bank of shapes to match.

Before many faults more and more errors are corrected, and the unit reads warmer and warmer. A *shape* says how far that
has gone in each of the last hours, from 0 to 1 at the fault: one for each of some lead times and of some parts of it
that are over, and for signs that ended so long ago and came to nothing. By Bayes' rule the errors and the warmth of a
unit tell how likely each shape is, beside none at all. Warmth errs by so much each hour, and by an offset that lasts.

What the signs grow to and how long they last is learned from the hours before failures (``fit``), by expectation and
maximization: each failure had signs of one of the lead times, or none. How often they come is known from how often the
machine has failed so far. N unit-hours, H hours back (the latest last), K shapes.

References: Dempster, Laird and Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm.
Turin (1960), An introduction to matched filters.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

HOURS: Final = 72
LEADS_H: Final = tuple(float(each) for each in np.geomspace(0.75, 60.0, 10).round(2))
_PARTS: Final = 10  # of a lead time
_AGO_H: Final = ((0, 1), (1, 3), (3, 8), (8, 20), (20, 50))  # when signs ended that came to nothing
_LEFT_H: Final = (2.0, 6.0, 12.0, 24.0, 48.0)
SIGNS: Final = (*(f"fault_in_{hours:g}h" for hours in _LEFT_H), "fault_later", "over", "fault_in_a_day", "fault")
"""Ln of how likely a fault is on its way that comes up to then and not before the one beside it; that signs are over;
that one comes within 24 hours, and at all."""

_NOTHING: Final = 0.5  # share of signs that are taken to have come to nothing
_OFFSET_K: Final = 0.1  # that lasts
_LEAST_K: Final = 0.05  # deviation of an hour
_LEAST: Final = 1e-6  # of a probability that is told
_FEWEST: Final = 3  # readings of an hour
_SWEEPS: Final = 40
_CHUNK: Final = 4096
_AT_ONCE: Final = 64  # units whose errors, a row of K numbers each, stay in the cache


class Signs(NamedTuple):
    """What signs grow to, kelvins and errors an hour, the deviations of warmth, and the share of each lead time.

    ``hour_k`` is the deviation of an hour's warmth, to which comes that of a reading by the root of their number.
    """

    warm_k: float
    errors_per_h: float
    hour_k: float
    reading_k: float
    leads: Floats

    def packed(self) -> Singles:
        """All as logarithms, one after another."""
        return np.asarray(np.log([*self[:4], *np.maximum(self.leads, 1e-4)]), np.float32)

    @classmethod
    def unpacked(cls, packed: npt.NDArray[Any]) -> Signs:
        """What ``packed`` has made."""
        warm_k, errors_per_h, hour_k, reading_k, *leads = np.exp(packed.astype(np.float64)).tolist()
        return cls(warm_k, errors_per_h, hour_k, reading_k, np.array(leads) / sum(leads))


SIZE: Final = 4 + len(LEADS_H)


class Seen(NamedTuple):
    """Of N unit-hours the last H: corrected errors, mean kelvins too warm, how many readings tell that; (N, H).

    ``base`` are the errors of the unit in a usual hour, ``rate`` how often units of the machine fail in an hour, (N,).
    """

    errors: Singles
    warm_k: Singles
    readings: Singles
    base: Floats
    rate: Floats


def _shape(lead_h: float, since_h: float) -> Floats:
    """How far signs have gone in each hour that began ``since_h`` ago and are over after ``lead_h``, in the mean."""
    ago = np.arange(HOURS - 1, -1, -1.0)
    begin, end = (np.clip(since_h - hours, 0.0, lead_h) for hours in (ago + 1, ago))
    return np.asarray((end**2 - begin**2) / (2.0 * lead_h))


def _bank() -> tuple[Singles, npt.NDArray[np.int64], Floats, Floats]:
    """The shapes (K, H), the lead time of each, hours of it, and hours until the fault (-1: it came to nothing)."""
    rows = []
    for number, lead_h in enumerate(LEADS_H):
        parts = (np.arange(_PARTS) + 0.5) / _PARTS
        rows += [(_shape(lead_h, part * lead_h), number, lead_h / _PARTS, (1 - part) * lead_h) for part in parts]
        for first, last in _AGO_H:
            since_h = lead_h + (first + last) / 2
            rows.append((_shape(lead_h, since_h), number, float(last - first), -1.0))
    shapes, numbers, hours, left = zip(*rows, strict=True)
    return np.array(shapes, np.float32), np.array(numbers), np.array(hours), np.array(left)


_SHAPES, _LEAD, _HOURS, _LEFT = _bank()
_NOW: Final = np.array([_shape(lead_h, lead_h - min(0.5, lead_h / 2)) for lead_h in LEADS_H], np.float32)
"""Of each lead time the shape half an hour before the fault."""

_KIND: Final = np.where(_LEFT < 0, len(_LEFT_H) + 1, np.searchsorted(_LEFT_H, _LEFT))
_GROUPS: Final = np.stack(
    [*(group == _KIND for group in range(len(_LEFT_H) + 2)), (_LEFT >= 0) & (_LEFT <= 24.0), _LEFT >= 0], 1
).astype(np.float32)


def likelihood(signs: Signs, seen: Seen, shapes: Singles) -> Singles:
    """Ln of how much likelier each shape makes what was seen than no signs, (N, K)."""
    known = seen.readings >= _FEWEST
    variance = signs.hour_k**2 + signs.reading_k**2 / np.maximum(seen.readings, 1.0)
    weight = np.where(known, 1.0 / variance, 0.0).astype(np.float32)
    pull = weight * seen.warm_k
    lasting = (_OFFSET_K**2 / (1.0 + _OFFSET_K**2 * weight.sum(1)))[:, None].astype(np.float32)
    of_shape = weight @ shapes.T
    told, size = pull @ shapes.T, weight @ (shapes * shapes).T
    told -= lasting * of_shape * pull.sum(1)[:, None]
    of_shape *= of_shape
    of_shape *= lasting
    size -= of_shape
    told *= np.float32(signs.warm_k)
    size *= np.float32(signs.warm_k**2 / 2)
    log = told - size
    log -= np.float32(signs.errors_per_h) * shapes.sum(1)
    by_hour = np.ascontiguousarray((np.float32(signs.errors_per_h) * shapes).T)
    for begin in range(0, len(log), _AT_ONCE):
        part = slice(begin, begin + _AT_ONCE)
        row, hour = np.nonzero(seen.errors[part])
        if row.size:
            each = by_hour[hour]
            each /= seen.base[part][row, None].astype(np.float32)
            np.log1p(each, out=each)
            each *= seen.errors[part][row, hour, None]
            first = np.flatnonzero(np.diff(row, prepend=-1))
            log[part][row[first]] += np.add.reduceat(each, first, axis=0)
    return np.asarray(log, np.float32)


def told(signs: Signs, seen: Seen) -> Singles:
    """The features ``SIGNS`` of N unit-hours."""
    parts = [
        _told(signs, Seen._make(each[begin : begin + _CHUNK] for each in seen))
        for begin in range(0, len(seen.base), _CHUNK)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, len(SIGNS)), np.float32)


def _told(signs: Signs, seen: Seen) -> Singles:
    often = np.where(_LEFT < 0, _NOTHING, 1.0) * _HOURS * signs.leads[_LEAD]
    log = likelihood(signs, seen, _SHAPES) + np.log(often)
    log += np.log(seen.rate)[:, None]
    most = np.maximum(log.max(1), 0.0)[:, None]
    log -= most
    share = np.exp(log, out=log).astype(np.float32)
    groups = share @ _GROUPS / (share.sum(1, keepdims=True) + np.exp(-most))
    return np.asarray(np.log(np.maximum(groups, _LEAST)), np.float32)


def fit(before: Seen, usual: Seen) -> Signs:
    """Learn from what was seen half an hour ``before`` failures, and in ``usual`` hours.

    Where nothing is ever warmer or no errors are counted, signs say nothing of it.
    """
    hour_k, reading_k = _deviations(usual)
    count = len(LEADS_H)
    signs = Signs(1.0, 1.0, hour_k, reading_k, np.full(count, 1.0 / count))
    none = 0.5
    variance = hour_k**2 + reading_k**2 / np.maximum(before.readings, 1.0)
    weight = np.where(before.readings >= _FEWEST, 1.0 / variance, 0.0)
    for _ in range(_SWEEPS):
        log = likelihood(signs, before, _NOW) + np.log((1.0 - none) * np.maximum(signs.leads, 1e-6))
        most = np.maximum(log.max(1), np.log(none))
        share = np.exp(log - most[:, None])
        share /= (share.sum(1) + none * np.exp(-most))[:, None]  # (N, K), the rest is of none
        warm = float((share * ((weight * before.warm_k) @ _NOW.T)).sum())
        size = float((share * (weight @ (_NOW * _NOW).T)).sum())
        row, hour = np.nonzero(before.errors)
        excess = signs.errors_per_h * _NOW.T[hour]
        of_signs = float(
            (before.errors[row, hour, None] * share[row] * excess / (before.base[row, None] + excess)).sum()
        )
        exposed = float((share @ _NOW.sum(1)).sum())
        none = float(np.clip(1.0 - share.sum(1).mean(), 0.01, 0.99))
        leads = share.sum(0) + 0.5
        signs = signs._replace(
            warm_k=max(warm / size, 1e-3) if size > 0 else 1e-3,
            errors_per_h=max(of_signs / max(exposed, 1e-9), 1e-4),
            leads=leads / leads.sum(),
        )
    return signs


def _deviations(usual: Seen) -> tuple[float, float]:
    """Of an hour's warmth, and of a reading's beyond that."""
    readings, warm_k = usual.readings.reshape(-1), usual.warm_k.reshape(-1)
    full = readings == readings.max(initial=0.0)
    some = (readings >= _FEWEST) & ~full & (readings <= readings.max(initial=0.0) / 2)
    if min(full.sum(), some.sum()) < 100:
        return 0.1, 0.5
    spread, some_spread = (1.4826**2 * float(np.median(np.abs(warm_k[each]))) ** 2 for each in (full, some))
    shares = float((1.0 / readings[some]).mean()), 1.0 / float(readings.max())
    reading = max((some_spread - spread) / (shares[0] - shares[1]), 1e-4)
    return max(spread - reading * shares[1], _LEAST_K**2) ** 0.5, reading**0.5
