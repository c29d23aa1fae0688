"""What jobs take and what the machine will draw, learned: networks on jobs, racks and the last samples."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import NormalDist
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hpcsim.plugin import Ended, InputError, Job, MachineSpec, Options, Prediction, Readings, View

from . import weights as files
from .drift import drift
from .energy_ahead import Jobs
from .energy_features import JOB_NAMES, EnergyHistory, Node, drawn, tells
from .energy_state import EVERY_S, HORIZONS_S, MOST_WAITING, SAMPLES, STATE_NAMES, Moment, Racks, Sample
from .features import Floats, Int64s, once
from .performance_ensemble import COVERAGE, group
from .remembered import Remembered
from .weights import TRAINED

KIND: Final = "energy-cnn-lstm"
FEATURES: Final = (*JOB_NAMES, *(f"moment_{name}" for name in STATE_NAMES))
"""What the networks are told: of a job, then of the machine."""

WINDOW: Final = 1000
"""Of how many of the last ends, and of how many moments, the calibration is."""

BETA, BETA_DEVIATION = 0.55, 0.25
"""How far runtimes follow the clock, of a job unknown: 0.1 to 0.3 where memory limits, up to 1 where computing does."""

_EVERY: Final = 50  # ends from one calibration to the next
_LATELY_S: Final = 3600  # after a question, in which the next one does not have to wait for what it is told
_NORMAL_90: Final = NormalDist().inv_cdf((1 + COVERAGE) / 2)
_LEAST_STRETCH, _MOST_STRETCH = 0.2, 5.0
_H: Final = len(HORIZONS_S)


class Networks(NamedTuple):
    """Weights in use: tensors and scalers of jobs and of moments, and the scores from which the calibration starts."""

    runtime: dict[str, npt.NDArray[np.float32]]
    watts: dict[str, npt.NDArray[np.float32]]
    system: dict[str, npt.NDArray[np.float32]]
    center: list[float]
    scale: list[float]
    unit: Floats
    shares: Floats
    trust: Floats
    job_scores: Floats
    system_scores: Floats


@cache
def read(path: Path) -> Networks:
    """The networks of a JSON file; InputError for one that is not sound."""
    from .energy_network import SHAPES

    tensors, about = files.load(path, KIND, SHAPES, FEATURES)
    told = {
        **{name: _numbers(about, name, (_H,)) for name in ("unit", "shares", "trust")},
        "job_scores": _numbers(about, "job_scores", (-1,)), "system_scores": _numbers(about, "system_scores", (-1, _H)),
    }  # fmt: skip
    wrong = [name for name, values in told.items() if values is None]
    if wrong:
        raise InputError(f"{path}: {wrong[0]} should be finite numbers from 0 on, as hpcsim twins train writes them")
    runtime, watts, system = (
        {name.removeprefix(of): each for name, each in tensors.items() if name.startswith(of)}
        for of in ("runtime.", "watts.", "system.")
    )
    return Networks(runtime, watts, system, about["center"], about["scale"], **told)  # type: ignore[arg-type]  # nothing is wrong, so none of them is None


def _numbers(about: dict[str, Any], key: str, shape: tuple[int, ...]) -> Floats | None:
    try:
        values = np.array(about.get(key), np.float64).reshape(shape)
    except (TypeError, ValueError):
        return None
    return values if np.isfinite(values).all() and (values >= 0).all() else None


class EnergyCNNLSTM:
    """Energy of jobs and power of the machine by networks that have learned.

    *Jobs.* The network of ``runtime-ensemble``, taught anew, says how ln runtime is distributed, another ensemble of
    five how ln watts of a node are: from the request, the time, and what the jobs of the same user, project and queue
    took before. The answer is the median runtime times the median watts. At another speed the dynamic part of the
    watts falls as speed^a, and the runtime grows as 1 + beta (1/speed - 1), at most to the walltime. Beta is what a
    runtime twin has learned of it, else 0.55; its deviation, else 0.25, is part of the epistemic one. Both deviations
    are those of ln energy times the answer.

    *Power.* The next hour is played sixteen times (``energy_ahead``): jobs that run end by what is believed of their
    runtimes, given how long they have run, and EASY gives their nodes to those that wait. Beside the median of that a
    CNN sees the racks, their power and temperature, an LSTM the last 15 samples of the system, five minutes apart;
    fused with the spread of the draws and what a scheduler knows (queue, maintenance, hour and weekday) they say what
    the median misses in 15, 30 and 60 minutes. Between these it is interpolated; beyond an hour it is as after one.

    Both are calibrated in service: deviations are stretched so that 90 % intervals would have held 90 % of the last
    thousand ends, and of the last thousand forecasts whose time has come.

    References
    ----------
    Lakshminarayanan, Pritzel and Blundell (2017), Simple and scalable predictive uncertainty estimation using deep
    ensembles.
    Hsu and Feng (2005), A power-aware run-time system for high-performance computing.
    Lifka (1995), The ANL/IBM SP scheduling system.
    McKay, Beckman and Conover (1979), A comparison of three methods for selecting values of input variables.
    """

    name = "energy-cnn-lstm"
    api = 1
    cites = ("Lakshminarayanan2017", "HsuFeng2005", "Lifka1995", "McKay1979")
    answers: Literal["energy"] = "energy"
    needs = frozenset({"power"})
    senses_every_s = EVERY_S

    class Options(Options):
        """What it was trained on."""

        weights: str | None = Field(
            None,
            description="a file of weights (.json), or the name of those of a machine that come with hpcsim; the "
            "scenario's machine where it is one of them, else those of all, named general",
        )

    def __init__(self, options: Options | None = None) -> None:
        options = options or self.Options.model_validate({})
        self._named = options.weights  # the machine's, once it is known
        if options.weights is not None and (path := weights_path(options.weights)).parent != TRAINED:
            read(path)  # so that a file that is not sound is told of before the run begins
        self._spec: MachineSpec | None = None
        self._history = EnergyHistory()
        self._untold: list[Ended] = []  # since somebody asked
        self._readings: list[Readings] = []  # likewise
        self._asked_s = 0
        self._samples: list[Sample] = []
        self._remembered = Remembered(group)
        self._output = np.zeros((0, 0, 0), np.float32)
        self._answer = np.zeros((0, 3))
        self._job_scores: list[float] = []
        self._unscored: list[tuple[npt.NDArray[np.float32], int, float]] = []  # output, walltime, ln joules per node
        self._job_stretch = 1.0
        self._system_scores: list[list[float]] = [[] for _ in HORIZONS_S]
        self._forecasts: list[tuple[int, int, float, float]] = []  # due second, horizon's place, watts, deviation
        self._stretch = np.ones(_H)
        self._last_end_s, self._freed = -1, 0  # when jobs ended last, and how many nodes they had
        self._judged, self._held = 0, 0  # ends whose energy had been predicted, and how many intervals held it

    # -- what it is told ------------------------------------------------------------------------

    def ended(self, end: Ended) -> None:
        """Learn of a job that has ended: when somebody asks, and at once where somebody has lately."""
        self._untold.append(end)
        if self._spec is not None and end.now - self._asked_s <= _LATELY_S:
            self._learn_all(Node.of(self._spec))
        if end.now != self._last_end_s:
            self._last_end_s, self._freed = end.now, 0
        self._freed += end.job.nodes

    def sensed(self, readings: Readings) -> None:
        """Keep what sensors read, as far as a forecast needs it, until somebody asks."""
        self._readings.append(readings)
        del self._readings[: -SAMPLES - 1]

    # -- what it is asked -----------------------------------------------------------------------

    def energy(self, jobs: Sequence[Job], speeds: Floats, view: View) -> Prediction:
        from .energy_network import watts_of

        node = self._catch_up(view)
        rows = self._rows_of(jobs, view)
        log_s, noise, between = self._answer[rows].T
        watts = watts_of(self._output[rows])
        walltime_s = np.array([job.walltime for job in jobs], np.float64)
        nodes = np.array([job.nodes for job in jobs], np.float64)
        slower = 1.0 / speeds - 1.0
        beta, beta_deviation = _sensitivity(jobs, view)
        longer = np.minimum(log_s + np.log1p(beta * slower), np.log(np.maximum(walltime_s, 1.0)))
        node_w = np.exp(watts.mean) * node.peak_w
        still_w = np.minimum(node_w, node.idle_w)
        node_w = still_w + (node_w - still_w) * (speeds**node.exponent)[:, None]
        log_w = np.log(np.maximum(node_w, 1e-3))
        joules = np.exp(longer + log_w.mean(1)) * nodes
        of_clock = beta_deviation * slower / (1.0 + beta * slower)
        aleatoric = np.sqrt(noise + (watts.deviation**2).mean(1))
        epistemic = np.sqrt(between + log_w.var(1) + of_clock**2)
        scale = joules * self._job_stretch
        return Prediction(joules, aleatoric * scale, epistemic * scale)

    def power(self, horizons_s: Int64s, view: View) -> Prediction:
        """Watts at the wall of all nodes together in each of H horizons."""
        node, spec = self._catch_up(view), self._known_spec
        self._read(spec, node)
        location, aleatoric, epistemic, base_w = self._forecast(self._moment(view, node), node, spec)
        now = view.now
        if not self._forecasts or now >= self._forecasts[-1][0] - HORIZONS_S[-1] + EVERY_S:
            deviation = np.hypot(aleatoric, epistemic)
            self._forecasts += [
                (now + horizon_s, place, base_w + float(location[place]), float(deviation[place]))
                for place, horizon_s in enumerate(HORIZONS_S)
            ]
        at, knots = np.minimum(horizons_s, HORIZONS_S[-1]), (0, *HORIZONS_S)
        watts = base_w + np.interp(at, knots, [0.0, *location])
        deviations = (
            np.sqrt(np.interp(at, knots, [0.0, *(each * self._stretch) ** 2])) for each in (aleatoric, epistemic)
        )
        most_w = spec.power.fixed_w + node.nodes * node.peak_w
        return Prediction(np.clip(watts, 0.0, most_w), *deviations)

    def report(self) -> dict[str, float | None]:
        """How it did in this run, on the jobs whose energy it was asked about: docs/twins.md."""
        if not self._judged:
            return {"predicted": 0, "held_90": None, "drift": None}
        return {
            "predicted": self._judged,
            "held_90": self._held / self._judged,
            "drift": drift(self._job_scores, read(self._known_path).job_scores.tolist()).distance,
        }

    # -- how --------------------------------------------------------------------------------------

    def _catch_up(self, view: View) -> Node:
        """Take in what was told since the last question."""
        if self._spec is None:
            self._spec = view.machine
            if self._named is None:
                self._named = files.of_machine(self._known_spec, "energy")
            used = read(self._known_path)
            self._job_scores = used.job_scores.tolist()
            self._system_scores = used.system_scores.T.tolist()
            self._calibrate_jobs()
            self._calibrate_system()
        node = Node.of(self._known_spec)
        self._asked_s = view.now
        self._learn_all(node)
        return node

    def _learn_all(self, node: Node) -> None:
        for end in self._untold:
            self._learn(end, node)
        self._untold.clear()

    @property
    def _known_spec(self) -> MachineSpec:
        if self._spec is None:
            raise InputError("energy is only known of a machine; set machine.model and physics")
        return self._spec

    def _learn(self, end: Ended, node: Node) -> None:
        job = end.job
        row = self._remembered.forget(job)
        if row is not None and tells(end) and end.speed > 0.95:  # of slow ones beta would be judged as well
            truth = float(np.log(min(end.runtime_s, job.walltime))) + drawn(end, node)
            self._unscored.append((self._output[row].copy(), job.walltime, truth))
            if len(self._unscored) == _EVERY:
                self._calibrate_jobs()
        self._history.add(end, node)
        self._remembered.outdate(job, self._history.runtimes.ends_like)

    def _read(self, spec: MachineSpec, node: Node) -> None:
        """Make samples of readings, and see which forecasts have come true."""
        from .energy_state import sample

        racks = _racks(spec)
        scored = False
        for each in self._readings:
            self._samples.append(sample(each, self._samples[-1] if self._samples else None, racks, node))
            watts = float(each.node_w.mean()) * node.nodes + spec.power.fixed_w
            now = self._samples[-1].time_s
            due = [forecast for forecast in self._forecasts if forecast[0] <= now]
            for due_s, place, believed_w, deviation in due:
                if now < due_s + EVERY_S:
                    self._system_scores[place].append(abs(watts - believed_w) / max(deviation, 1e-9))
                    scored = True
            if due:
                self._forecasts = [forecast for forecast in self._forecasts if forecast[0] > now]
        self._readings.clear()
        del self._samples[:-SAMPLES]
        if scored:
            self._calibrate_system()

    def _rows_of(self, jobs: Sequence[Job], view: View) -> Int64s:
        """The rows of jobs, those predicted that are new, or due again as 1, 2, 4, 8 ... more of their users ended."""
        fresh = self._remembered.fresh
        new = list({job.id: job for job in jobs if job.id not in fresh}.values())  # at several speeds it is there again
        if new:
            from . import network
            from .energy_network import about_jobs, answer_of

            used, node = read(self._known_path), Node.of(self._known_spec)
            features = self._history.features(new, view.utc_s - view.now, node)
            of_jobs = slice(0, len(JOB_NAMES))
            x = network.scaled(features, used.center[of_jobs], used.scale[of_jobs])
            ends_like = self._history.runtimes.ends_like
            place = np.array([self._remembered.place(job, ends_like(job)) for job in new])
            self._grow(self._remembered.rows)
            output = about_jobs(used.runtime, used.watts, features, x)
            walltime_s = np.array([job.walltime for job in new], np.int64)
            said = [(each.tobytes(), job.walltime) for each, job in zip(output, new, strict=True)]
            self._output[place] = output
            self._answer[place] = once(said, lambda some: np.stack(answer_of(output[some], walltime_s[some]), axis=1))
        return np.array([fresh[job.id] for job in jobs], np.int64)

    def _grow(self, rows: int) -> None:
        from .energy_network import ABOUT_A_JOB, MEMBERS

        size = len(self._answer)
        if rows > size:
            output = np.zeros((rows, MEMBERS, ABOUT_A_JOB), np.float32)
            output[:size] = self._output.reshape(size, *output.shape[1:])
            self._output = output
            self._answer = np.concatenate([self._answer, np.zeros((rows - size, 3))])

    def _moment(self, view: View, node: Node) -> Moment:
        """What is known now, as ``energy_records.Moments.at`` tells it of a run that is over."""
        now, queue = view.now, view.queue
        running = sorted(view.running.values(), key=lambda each: each.job.id)
        waiting = list(queue[:MOST_WAITING])
        latest = self._samples[-1] if self._samples else None
        measured = {} if latest is None else dict(zip(latest.jobs.tolist(), latest.node_w.tolist(), strict=True))
        measured_w = np.array([measured.get(each.job.id, np.nan) for each in running])
        elapsed_s = np.array([now - each.start for each in running], np.float64)
        down = view.nodes - view.up_nodes
        free = view.nodes - down - sum(each.job.nodes for each in running)
        maintenance = view.maintenance
        return Moment(
            utc_s=view.utc_s,
            it_w=view.power.it_w,
            free=max(free, 0),
            down=down,
            running=self._as_jobs([each.job for each in running], view, node, elapsed_s, measured_w),
            waiting=self._as_jobs(waiting, view, node),
            waiting_count=len(queue),
            freed=self._freed if self._last_end_s == now else 0,
            arrived=np.array([job.submit == now for job in waiting], bool),
            maintenance_s=np.inf if maintenance is None else float(max(maintenance[0] - now, 0)),
            sample_age_s=4.0 * EVERY_S if latest is None else float(now - latest.time_s),
            overruns=self._history.overruns,
        )

    def _as_jobs(
        self, jobs: Sequence[Job], view: View, node: Node, elapsed_s: Floats | None = None,
        measured_w: Floats | None = None,
    ) -> Jobs:  # fmt: skip
        from .energy_network import as_jobs

        nodes = np.array([job.nodes for job in jobs], np.int64)
        walltime_s = np.array([job.walltime for job in jobs], np.int64)
        self._grow(1)
        rows = self._rows_of(jobs, view)
        return as_jobs(nodes, walltime_s, self._output[rows], node, elapsed_s, measured_w)

    def _forecast(self, moment: Moment, node: Node, spec: MachineSpec) -> tuple[Floats, Floats, Floats, float]:
        """Change of watts in each horizon, its deviations before they are stretched, and the watts that change."""
        from . import network
        from .energy_network import changes, deviation_of, scaled_moments
        from .energy_state import MAP, MEDIANS, numbers

        used = read(self._known_path)
        found, base_w = numbers(moment, node, spec.power.fixed_w)
        of_moments = slice(len(JOB_NAMES), None)
        x = network.scaled(found[None], used.center[of_moments], used.scale[of_moments])[None]
        if self._samples:
            series = [self._samples[max(len(self._samples) - SAMPLES + k, 0)].system for k in range(SAMPLES)]
            maps, steps = scaled_moments(self._samples[-1].map[None], np.stack(series)[None])
        else:
            maps, steps = scaled_moments(np.zeros((1, *MAP)), np.zeros((1, SAMPLES, used.system["lstm_in"].shape[1])))
        output = changes(np, used.system, maps, steps, x)[:, 0].astype(np.float64)
        unit = used.unit * node.dynamic_w * node.nodes
        location, deviation = output[:, :_H], deviation_of(output[:, _H:])
        change = location.mean(0) * unit * used.trust + used.shares * found[MEDIANS] * node.dynamic_w * node.nodes
        return (
            change, np.sqrt((deviation**2).mean(0)) * unit, location.std(0) * unit, base_w
        )  # fmt: skip

    # -- calibration ------------------------------------------------------------------------------

    def _calibrate_jobs(self) -> None:
        """Score the ends since the last time, and stretch by the scores of the window."""
        if self._unscored:
            from .energy_network import believed

            outputs, walltimes, truths = zip(*self._unscored, strict=True)
            mean, deviation = believed(np.stack(outputs), np.array(walltimes))
            scores = np.abs(np.array(truths) - mean) / deviation
            self._judged += len(scores)
            self._held += int(np.count_nonzero(scores <= self._job_stretch * _NORMAL_90))
            self._job_scores += scores.tolist()
            self._unscored = []
        del self._job_scores[:-WINDOW]
        self._job_stretch = stretch(np.array(self._job_scores))

    def _calibrate_system(self) -> None:
        for scores in self._system_scores:
            del scores[:-WINDOW]
        self._stretch = np.array([stretch(np.array(scores)) for scores in self._system_scores])

    @property
    def _known_path(self) -> Path:
        if self._named is None:
            raise RuntimeError("asked before it is known of which machine")
        return weights_path(self._named)

    def __deepcopy__(self, memo: object) -> EnergyCNNLSTM:
        twin = copy.copy(self)
        twin._history = self._history.copy()
        for name in ("_untold", "_readings", "_samples", "_remembered", "_output", "_answer", "_job_scores",
                     "_unscored", "_forecasts", "_stretch"):  # fmt: skip
            setattr(twin, name, getattr(self, name).copy())
        twin._system_scores = [scores.copy() for scores in self._system_scores]
        return twin


def _sensitivity(jobs: Sequence[Job], view: View) -> tuple[Floats, Floats]:
    """How jobs feel a lower clock, (J,), and the deviation of that: by the runtime twin, if it says."""
    if "sensitivity" in view.twins:
        said = view.twins.sensitivity(jobs)
        return said.mean, np.hypot(said.aleatoric, said.epistemic)
    return np.full(len(jobs), BETA), np.full(len(jobs), BETA_DEVIATION)


@cache
def _racks(spec: MachineSpec) -> Racks:
    return Racks.of(spec)


def stretch(scores: Floats) -> float:
    """By what normal deviations are multiplied so that 90 % intervals would have held 90 % of what was scored."""
    n = len(scores)
    if not n:
        return 1.0
    rank = min(int(np.ceil((n + 1) * COVERAGE)), n)
    wanted = float(np.partition(scores, rank - 1)[rank - 1])
    return min(max(wanted / _NORMAL_90, _LEAST_STRETCH), _MOST_STRETCH)


def weights_path(named: str) -> Path:
    """The JSON file of weights that an option names."""
    return files.path(named, "energy")
