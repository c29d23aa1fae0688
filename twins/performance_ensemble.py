"""How long jobs will run, learned: a deep ensemble on what is known when a job is submitted."""

from __future__ import annotations

import copy
import math
from collections.abc import Hashable, Sequence
from functools import cache
from pathlib import Path
from statistics import NormalDist
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hpcsim.plugin import Ended, InputError, Job, Options, Prediction, View

from . import weights as files
from .drift import SURE, drift
from .features import COUNTED, NAMES, History, once
from .remembered import Remembered
from .sensitivity import Sensitivity, usually_longer
from .weights import TRAINED

COVERAGE: Final = 0.9
WINDOW: Final = 1000
"""Of how many of the last ends the calibration is."""

_EVERY: Final = 50  # ends from one calibration to the next
_CHUNK: Final = 1024  # jobs: their distributions stay in the cache
_NORMAL_90: Final = NormalDist().inv_cdf((1 + COVERAGE) / 2)
_LEAST_NOISE: Final = 1.0  # of ln runtime, where a clock is judged: the surest predictions are wrong by most of all
_LEAST_SCALE, _MOST_SCALE = 0.2, 5.0


class Network(NamedTuple):
    """Weights in use: tensors, scalers, and the scores of the validation jobs, from which the calibration starts."""

    tensors: dict[str, npt.NDArray[np.float32]]
    center: list[float]
    scale: list[float]
    scores: list[float]


@cache
def read(path: Path) -> Network:
    """The network of a JSON file; InputError for one that is not sound."""
    from .network import KIND, SHAPES

    tensors, about = files.load(path, KIND, SHAPES, NAMES)
    scores = about.get("scores")
    if not isinstance(scores, list) or not all(isinstance(each, float) and 0 <= each <= 1 for each in scores):
        raise InputError(f"{path}: scores should be numbers from 0 to 1")
    return Network(tensors, about["center"], about["scale"], scores)


class RuntimeEnsemble:
    """Runtimes by an ensemble of five networks, on the request, the time and the history of user, project and queue.

    Each network says of ln runtime a mixture of normals, some of them around the runtimes of certain earlier jobs,
    which ends at the walltime. The answer is the median of all of them; the aleatoric deviation is what they see as
    noise on average, the epistemic one how far their means lie apart. Both are stretched so that 90 % intervals would
    have held 90 % of the last thousand ends.

    A job is predicted when it is asked about first, and again when 1, 2, 4, 8 ... more jobs of its user (or of its
    nodes and walltime, where users have no names) have ended. For a job that runs it is the median of what is possible
    after the time that it has run.

    How jobs feel a lower clock is learned from the ends of those that ran on one (``sensitivity``); in the history they
    stand with the runtime that they would have had at full speed.

    References
    ----------
    Lakshminarayanan, Pritzel and Blundell (2017), Simple and scalable predictive uncertainty estimation using deep
    ensembles.
    Bishop (1994), Mixture density networks.
    Chernozhukov, Wüthrich and Zhu (2021), Distributional conformal prediction.
    """

    name = "runtime-ensemble"
    api = 1
    cites = ("Lakshminarayanan2017", "Bishop1994", "Chernozhukov2021")
    answers: Literal["performance"] = "performance"

    class Options(Options):
        """What it was trained on, and what it answers."""

        weights: str | None = Field(
            None,
            description="a file of weights (.json), or the name of those of a machine that come with hpcsim; the "
            "scenario's machine where it is one of them, else those of all, named general",
        )
        point: Literal["median", "mean"] = Field("median", description="what of the distribution is answered")

    def __init__(self, options: Options | None = None) -> None:
        options = options or self.Options.model_validate({})
        self._named = options.weights  # the machine's, once it is known
        self._point = options.point
        if options.weights is not None and (path := weights_path(options.weights)).parent != TRAINED:
            read(path)  # so that a file that is not sound is told of before the run begins
        self._history = History()
        self._remembered = Remembered(group)
        self._output = np.zeros((0, 0, 0), np.float32)
        self._answer = np.zeros((0, 3))
        self._scores: list[float] = []
        self._unscored: list[tuple[npt.NDArray[np.float32], int, int]] = []  # output, walltime, runtime of ends
        self._stretch = 0.0
        self._slow = Sensitivity()
        self._seen, self._held, self._accuracy = 0, 0, 0.0  # ends that had been predicted, and how well
        self._drifted_s: int | None = None

    def performance(self, jobs: Sequence[Job], view: View) -> Prediction:
        if self._named is None:
            self._named = files.of_machine(view.machine, "performance")
        if not self._stretch:
            self._scores = list(read(self._known_path).scores)
            self._calibrate()
        fresh = self._remembered.fresh
        new = [job for job in jobs if job.id not in fresh]
        if new:
            self._predict(new, view)
        rows = np.array([fresh[job.id] for job in jobs])
        answer = self._answer[rows]
        running = view.running
        if running:
            begun = [(place, running[job.id].start) for place, job in enumerate(jobs) if job.id in running]
            if begun:
                place, start = np.array(begun).T
                elapsed_s = np.maximum(view.now - start, 0).astype(np.float64)
                walltime_s = np.array([jobs[i].walltime for i in place])
                answer[place] = self._answers(self._output[rows[place]], walltime_s, elapsed_s)
        return Prediction(
            np.ascontiguousarray(answer[:, 0]), answer[:, 1] * self._stretch, answer[:, 2] * self._stretch
        )

    def ended(self, end: Ended) -> None:
        """Learn of a job that has ended, and of how well it was predicted."""
        job = end.job
        row = self._remembered.forget(job)
        if row is not None and end.state in COUNTED:
            said = self._answer[row]
            self._learn_clock(end, said)
            end = self._at_full_speed(end)
            self._count(end, said)
            self._unscored.append((self._output[row].copy(), job.walltime, end.runtime_s))
            if len(self._unscored) == _EVERY:
                self._calibrate()
                self._watch(end.now)
        elif row is None:
            end = self._at_full_speed(end)
        self._history.add(end)
        self._remembered.outdate(job, self._history.ends_like)

    def sensitivity(self, jobs: Sequence[Job], view: View) -> Prediction:
        """How jobs feel a lower clock, by what has been seen of their users' jobs at lower clocks."""
        mean, deviation = np.array([self._slow.believed(group(job)) for job in jobs], np.float64).T
        return Prediction(np.ascontiguousarray(mean), np.zeros(len(jobs)), np.ascontiguousarray(deviation))

    def report(self) -> dict[str, float | None]:
        """How it did in this run, on the jobs that it was asked about: docs/twins.md."""
        if not self._seen:
            return {"predicted": 0, "accuracy": None, "held_90": None, "drift": None, "drifted_since_s": None}
        now = drift(self._scores, read(self._known_path).scores)
        return {
            "predicted": self._seen,
            "accuracy": self._accuracy / self._seen,
            "held_90": self._held / self._seen,
            "drift": now.distance,
            "drifted_since_s": self._drifted_s,
        }

    def _learn_clock(self, end: Ended, said: npt.NDArray[np.float64]) -> None:
        """Learn from one that ran on a lower clock how its user's jobs feel that."""
        point, aleatoric, epistemic = said.tolist()
        if end.state == "completed" and point > 0:
            noise = math.sqrt(math.log1p((self._stretch * math.hypot(aleatoric, epistemic) / point) ** 2))
            longer = math.log(max(end.runtime_s, 1) / point)
            self._slow.learn(group(end.job), end.speed, longer, max(noise, _LEAST_NOISE))

    def _at_full_speed(self, end: Ended) -> Ended:
        """The end as it would usually have been at full speed."""
        longer = usually_longer(end.speed)
        return end if longer == 1.0 else end._replace(runtime_s=max(round(end.runtime_s / longer), 1))

    def _count(self, end: Ended, said: npt.NDArray[np.float64]) -> None:
        """Count how good what was said of it is."""
        point, aleatoric, epistemic = said.tolist()
        real = max(end.runtime_s, 1)
        self._seen += 1
        self._accuracy += min(point, real) / max(point, real, 1e-9)
        self._held += abs(real - point) <= _NORMAL_90 * self._stretch * math.hypot(aleatoric, epistemic)

    def _watch(self, now: int) -> None:
        """Note when what happens has begun to be unlike what was learned."""
        if self._drifted_s is None and drift(self._scores, read(self._known_path).scores).chance < SURE:
            self._drifted_s = now

    def _predict(self, jobs: list[Job], view: View) -> None:
        from . import network

        used = read(self._known_path)
        features = self._history.features(jobs, view.utc_s - view.now, view.nodes)
        x = network.scaled(features, used.center, used.scale)
        output = network.outputs(used.tensors, x, network.pointed(features))
        walltime_s = np.array([job.walltime for job in jobs], np.int64)
        rows = np.array([self._remembered.place(job, self._history.ends_like(job)) for job in jobs])
        self._grow(self._remembered.rows)
        self._output[rows] = output

        def answers(some: list[int]) -> npt.NDArray[np.float64]:
            parts = (some[begin : begin + _CHUNK] for begin in range(0, len(some), _CHUNK))
            return np.concatenate([self._answers(output[part], walltime_s[part], None) for part in parts])

        said = [(each.tobytes(), job.walltime) for each, job in zip(output, jobs, strict=True)]
        self._answer[rows] = once(said, answers)

    def _grow(self, rows: int) -> None:
        from . import network

        size = len(self._answer)
        if rows > size:
            shape = (rows, network.MEMBERS, 3 * network.COMPONENTS)
            output = np.zeros(shape, np.float32)
            output[:size] = self._output.reshape(size, *shape[1:])
            self._output = output
            self._answer = np.concatenate([self._answer, np.zeros((rows - size, 3))])

    def _answers(
        self,
        output: npt.NDArray[np.float32],
        walltime_s: npt.NDArray[np.int64],
        elapsed_s: npt.NDArray[np.float64] | None,
    ) -> npt.NDArray[np.float64]:
        """Point, aleatoric and epistemic deviation of J jobs, (J, 3), before they are stretched."""
        from . import lognormal, network

        mixture = network.mixture_of(output, walltime_s)
        mean, aleatoric, epistemic = lognormal.moments(mixture, elapsed_s)
        if self._point == "median":
            mean = lognormal.quantiles(mixture, np.full((len(mean), 1), 0.5), elapsed_s)[:, 0]
        return np.stack([mean, aleatoric, epistemic], axis=1)

    def _calibrate(self) -> None:
        """Score the ends since the last time, and stretch by the scores of the window."""
        from . import lognormal, network

        if self._unscored:
            outputs, walltimes, runtimes = zip(*self._unscored, strict=True)
            mixture = network.mixture_of(np.stack(outputs), np.array(walltimes))
            self._scores += lognormal.central_mass(mixture, np.array(runtimes, np.float64)).tolist()
            self._unscored = []
        del self._scores[:-WINDOW]
        mass = lognormal.conformal_mass(np.array(self._scores), COVERAGE)
        wanted = NormalDist().inv_cdf((1 + min(mass, 1 - 1e-9)) / 2) if mass > 0 else 0.0
        scale = wanted / _NORMAL_90
        self._stretch = min(max(scale, _LEAST_SCALE), _MOST_SCALE)

    @property
    def _known_path(self) -> Path:
        if self._named is None:
            raise RuntimeError("asked before it is known of which machine")
        return weights_path(self._named)

    def __deepcopy__(self, memo: object) -> RuntimeEnsemble:
        twin = copy.copy(self)
        twin._history = self._history.copy()
        twin._remembered = self._remembered.copy()
        twin._output, twin._answer = self._output.copy(), self._answer.copy()
        twin._scores = self._scores.copy()
        twin._unscored, twin._slow = self._unscored.copy(), self._slow.copy()
        return twin


def weights_path(named: str) -> Path:
    """The JSON file of weights that an option names."""
    return files.path(named, "performance")


def group(job: Job) -> Hashable:
    """By whose ends answers about a job change: its user's, or of its nodes and walltime where that has no name."""
    return job.user or (job.nodes, job.walltime)
