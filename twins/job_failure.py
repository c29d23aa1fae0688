"""How likely a job's program is to fail, learned: LSTMs with attention over the last ends of its user."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import Ended, InputError, Job, Prediction, View

from . import job_failure_network as network
from . import platt
from . import weights as files
from .features import COUNTED, NAMES, History
from .job_failure_network import KIND
from .job_failure_sequences import COMMON, LENGTH, TOKEN, LastJobs, group
from .network import scaled
from .remembered import Remembered

SEQUENCE: Final = {"length": LENGTH, "token": list(TOKEN), "common": list(COMMON)}
"""What the sequences are made of, as the JSON of weights tells it."""

_MOST_ODDS: Final = 1e3
_EVERY: Final = 50  # ends from one calibration to the next


class Network(NamedTuple):
    """Weights in use: tensors, scalers, and of the validation jobs, from which calibration starts, what was and came.

    ``odds`` are the mean log odds of its members, ``failed`` whether the job failed.
    """

    tensors: dict[str, npt.NDArray[np.float32]]
    center: list[float]
    scale: list[float]
    odds: list[float]
    failed: list[bool]


@cache
def read(path: Path) -> Network:
    """The network of a JSON file; InputError for one that is not sound."""
    tensors, about = files.load(path, KIND, network.SHAPES, NAMES)
    if about.get("sequence") != SEQUENCE:
        raise InputError(f"{path}: trained with other sequences than this hpcsim makes; train the twin again")
    odds, failed = about.get("odds"), about.get("failed")
    if not isinstance(odds, list) or not isinstance(failed, list) or len(odds) != len(failed):
        raise InputError(f"{path}: odds and failed should be lists of equal length")
    if not all(isinstance(each, float) and abs(each) < _MOST_ODDS for each in odds) or not all(
        each in (0, 1) for each in failed
    ):
        raise InputError(f"{path}: odds should be numbers, and failed 0 or 1")
    return Network(network.ready(tensors), about["center"], about["scale"], odds, [bool(each) for each in failed])


def prediction(odds_JE: npt.NDArray[Any], scaling: platt.Scaling) -> Prediction:
    """The probability that log odds of E members mean, and its deviations."""
    members_JE = network.probability(scaling(odds_JE))
    return Prediction(
        network.probability(scaling(odds_JE.mean(1))),
        np.sqrt((members_JE * (1 - members_JE)).mean(1)),
        members_JE.std(1),
    )


class JobFailure:
    """How likely programs fail, by what was asked for, the history, and the last fifteen ends of the user.

    Each of three networks and a logistic regression says the log odds that a job ends as ``failed``; their mean is
    stretched and moved so that it would have been right about the last thousand ends. The aleatoric deviation is that
    of failing or not, as the members see it; the epistemic one is how far their probabilities lie apart.

    A job is predicted when it is asked about first, and again when 1, 2, 4, 8 ... more jobs of its user (or of its
    nodes and walltime, where users have no names) have ended.

    References
    ----------
    Lakshminarayanan, Pritzel and Blundell (2017), Simple and scalable predictive uncertainty estimation using deep
    ensembles. Platt (1999), Probabilistic outputs for support vector machines.
    """

    def __init__(self, weights: str | None = None) -> None:
        """``weights``: a JSON file, or the name of shipped ones; None for those of the machine, else ``general``."""
        self._named = weights  # the machine's, once it is known
        if weights is not None and (path := files.path(weights, KIND)).parent != files.TRAINED:
            read(path)  # so that a file that is not sound is told of before the run begins
        self._history = History()
        self._last = LastJobs()
        self._remembered = Remembered(group)
        self._odds_JE = np.zeros((0, network.MEMBERS + 1), np.float32)
        self._known: list[tuple[float, bool]] = []  # mean log odds and whether it failed, of the last that ended
        self._since = 0  # how many of them came after the last calibration
        self._scaling: platt.Scaling | None = None

    def job_failure(self, jobs: Sequence[Job], view: View) -> Prediction:
        """Probability that the program of each of J jobs would fail by itself, if it was started now."""
        if self._named is None:
            self._named = files.of_machine(view.machine, KIND)
        used = read(files.path(self._named, KIND))
        if self._scaling is None:
            self._known = [*zip(used.odds, used.failed, strict=True), *self._known]
            self._calibrate()
        fresh = self._remembered.fresh
        new = [job for job in jobs if job.id not in fresh]
        if new:
            self._predict(new, view, used)
        return prediction(self._odds_JE[[fresh[job.id] for job in jobs]], self._calibrated)

    def ended(self, end: Ended) -> None:
        """Learn of a job that has ended, and of how well it was predicted."""
        row = self._remembered.forget(end.job)
        if row is not None and end.state in COUNTED:
            self._known.append((float(self._odds_JE[row].mean()), end.state == "failed"))
            self._since += 1
            if self._since == _EVERY:
                self._calibrate()
        self._history.add(end)
        self._last.add(end)
        self._remembered.outdate(end.job, self._last.known)

    def _predict(self, jobs: list[Job], view: View, used: Network) -> None:
        x = scaled(self._history.features(jobs, view.utc_s - view.now, view.nodes), used.center, used.scale)
        odds_JE = network.log_odds(used.tensors, x, self._last.sequences(jobs))
        rows = [self._remembered.place(job, self._last.known(job)) for job in jobs]
        more = self._remembered.rows - len(self._odds_JE)
        if more:
            self._odds_JE = np.concatenate([self._odds_JE, np.zeros((more, network.MEMBERS + 1), np.float32)])
        self._odds_JE[rows] = odds_JE

    def _calibrate(self) -> None:
        del self._known[: -platt.WINDOW]
        self._since = 0
        odds, failed = (np.array(each) for each in zip(*self._known, strict=True)) if self._known else ([], [])
        self._scaling = platt.fitted(np.array(odds), np.array(failed, bool))

    @property
    def _calibrated(self) -> platt.Scaling:
        if self._scaling is None:
            raise RuntimeError("asked before it is calibrated")
        return self._scaling

    def __deepcopy__(self, memo: object) -> JobFailure:
        twin = copy.copy(self)
        twin._history, twin._last = self._history.copy(), self._last.copy()
        twin._remembered = self._remembered.copy()
        twin._odds_JE, twin._known = self._odds_JE.copy(), self._known.copy()
        return twin
