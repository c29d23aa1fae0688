"""What the digital twins say of jobs and nodes: asked once for each job, all new ones together.

How long it will run is asked when a job is first seen, all else when it can first be chosen. A scenario may lack twins;
then the walltime stands for the runtime, and what nobody can tell is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import Job, Prediction, Running, View

from .placing import risky

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

J_PER_KWH: Final = 3.6e6
LEAST_RUNTIME_S: Final = 10.0  # the bound of the bounded slowdown
WARMED_S: Final = 1800  # after which a node is about as warm as a job makes it
RISK_S: Final = 3600  # how long what is known of nodes holds
AHEAD_S: Final = 6 * 3600  # for which failures of nodes are predicted

COLUMNS: Final = (
    "submit_s", "nodes", "walltime_s", "runtime_s", "runtime_doubt", "runtime_epistemic", "energy_kwh", "energy_doubt",
    "dynamic_w", "beta", "clock", "saved_when_slow", "fails", "fails_epistemic", "warmth_k", "in_turn_s",
)  # fmt: skip
"""Of those that are not plain: ``dynamic_w`` of a node above idle at full speed; ``beta``, how far the runtime follows
the clock; the ``clock`` of least energy, and the share of the energy that is saved at it; ``in_turn_s``, how long
it was to wait when it was first seen, if all nodes do what runs and waits before it first."""

_PLAIN: Final = [COLUMNS.index(name) for name in ("submit_s", "nodes", "walltime_s")]
_WALLTIME, _RUNTIME, _DOUBT, _EPISTEMIC = (
    COLUMNS.index(name) for name in ("walltime_s", "runtime_s", "runtime_doubt", "runtime_epistemic")
)
_TOGETHER: Final = 8
_SURE: Final = 0.999  # the greatest probability of a failure that is believed
_ASKED_SPEED: Final = 0.9  # at which the twin of energy is asked a second time
_ASKED_LOADS: Final = 5  # of a node, from idle to full, of which the twin of heat is asked; in between it is a line
_BETA: Final = 0.55  # of jobs of which no twin tells it
_MOST_DYNAMIC: Final = 0.95  # of the watts of a node


class Beliefs:
    """A row of numbers for each job that was seen, ``COLUMNS``; and how likely each unit fails within ``AHEAD_S``."""

    def __init__(self) -> None:
        self._row: dict[int, int] = {}
        self._table = np.zeros((256, len(COLUMNS)))
        self._is_whole = np.zeros(256, bool)
        self._known_at = -RISK_S
        self.risk_U: Floats = np.zeros(0)
        """Probability of each unit to go out of service within ``AHEAD_S``; nothing where no twin tells."""
        self.risky_U = risky(self.risk_U)
        """Which of them are far more likely to than most."""
        self.mean_risk = 0.0
        self.rate_U: Floats = np.zeros(0)
        self.mean_rate = 0.0
        """Both as failures in a second."""
        self.margin_k = 0.0
        """How far the hottest node is below the limit at which it is slowed down; 0 where heat is not modelled."""
        self._load_w, self._warmth_k = np.zeros(0), np.zeros(0)  # watts of a node, and what they make it, of that limit

    def of(self, jobs: Sequence[Job], view: View) -> Floats:
        """All that is known of ``jobs``, ``(J, COLUMNS)``."""
        rows = self._rows(jobs, view)
        new = np.flatnonzero(~self._is_whole[rows])
        if len(new):
            self._learn_all([jobs[place] for place in new.tolist()], rows[new], view)
        return self._table[rows]

    def of_runtimes(self, jobs: Sequence[Job], view: View) -> Floats:
        """The same, but that where no more was asked so far than how long a job runs, all else is 0."""
        rows = self._rows(jobs, view)
        return self._table[rows]

    def learn(self, jobs: Sequence[Job], view: View) -> None:
        """Ask about those that are new once they are several, for they are not wanted yet: together costs less."""
        new = [job for job in jobs if job.id not in self._row]
        if len(new) >= _TOGETHER:
            self._learn(new, view)

    def _rows(self, jobs: Sequence[Job], view: View) -> Int64s:
        """The rows of jobs; those that are new are given the next ones."""
        rows = self._known(jobs)
        new = np.flatnonzero(rows < 0)
        if len(new):
            rows[new] = len(self._row) + np.arange(len(new))
            self._learn([jobs[place] for place in new.tolist()], view)
        return rows

    def _known(self, jobs: Sequence[Job]) -> Int64s:
        """The rows of jobs, -1 of those that are new."""
        row = self._row
        return np.array([row.get(job.id, -1) for job in jobs], np.int64)

    def runtime_s(self, running: Sequence[Running]) -> Floats:
        """How long running jobs are believed to run in all, as said when they waited; else their walltime."""
        rows = self._known([each.job for each in running])
        return np.where(rows >= 0, self._table[rows, _RUNTIME], [each.job.walltime for each in running])

    def look_at_machine(self, view: View) -> None:
        """Learn how likely units fail and how warm they are, if that is not known of the last hour."""
        machine = view.machine
        if machine is None or view.now - self._known_at < RISK_S:
            return
        self._known_at = view.now
        if "fault" in view.twins:
            self.believe_risks(view.twins.fault(np.arange(machine.units), AHEAD_S).mean)
        if "thermal" in view.twins:
            node_c, limit_c, spec = view.node_c, machine.thermal.cpu_throttle_c, machine.power
            self.margin_k = float(limit_c - node_c.max())
            usual = int(np.argpartition(node_c, len(node_c) // 2)[len(node_c) // 2])
            self._load_w = spec.idle_w + np.linspace(0.0, 1.0, _ASKED_LOADS) * (spec.cpu_dyn_w + spec.gpu_dyn_w)
            said = view.twins.thermal(np.full(_ASKED_LOADS, usual), self._load_w, WARMED_S)
            self._warmth_k = said.mean - limit_c

    def believe_risks(self, risk_U: Floats) -> None:
        """Take units to go out of service within ``AHEAD_S`` with these probabilities."""
        self.risk_U, self.mean_risk, self.risky_U = risk_U, float(risk_U.mean()), risky(risk_U)
        self.rate_U = -np.log1p(-np.minimum(risk_U, _SURE)) / AHEAD_S
        self.mean_rate = float(self.rate_U.mean())

    def _learn(self, jobs: Sequence[Job], view: View) -> None:
        """Give new jobs their rows: what they want, how long they will run, and wait."""
        first, last = len(self._row), len(self._row) + len(jobs)
        while last > len(self._table):
            self._table = np.concatenate([self._table, np.zeros_like(self._table)])
            self._is_whole = np.concatenate([self._is_whole, np.zeros_like(self._is_whole)])
        self._row |= {job.id: first + place for place, job in enumerate(jobs)}
        new = self._table[first:last]
        new[:, _PLAIN] = [(job.submit, job.nodes, job.walltime) for job in jobs]
        runtime, most_s = view.twins.performance(jobs), np.maximum(new[:, _WALLTIME], LEAST_RUNTIME_S)
        new[:, _RUNTIME] = np.minimum(np.maximum(runtime.mean, LEAST_RUNTIME_S), most_s)
        new[:, _DOUBT], new[:, _EPISTEMIC] = _relative(runtime)
        self._learn_turns(first, view)

    def _learn_all(self, jobs: Sequence[Job], rows: Int64s, view: View) -> None:
        """Fill in all else of the rows of jobs."""
        self.look_at_machine(view)  # for who has not
        self._is_whole[rows] = True
        table, twins = self._table[rows], view.twins
        column = {name: table[:, place] for place, name in enumerate(COLUMNS)}
        column["clock"][:] = 1.0
        if "energy" in twins:
            speed = 1.0 if view.machine is None else max(_ASKED_SPEED, view.machine.power.least_speed)
            both = twins.energy(jobs, [[1.0], [speed]] if speed < 1.0 else [[1.0]])
            energy = Prediction(*(part[0] for part in both))
            column["energy_kwh"][:] = energy.mean / J_PER_KWH
            column["energy_doubt"][:] = _relative(energy)[0]
            if speed < 1.0:
                column["beta"][:] = twins.sensitivity(jobs).mean if "sensitivity" in twins else _BETA
                _learn_clocks(column, both.mean[1] / np.maximum(energy.mean, 1.0), speed, view)
            if len(self._load_w):
                watts = energy.mean / np.maximum(column["runtime_s"] * column["nodes"], 1.0)
                column["warmth_k"][:] = np.interp(watts, self._load_w, self._warmth_k)
        if "job_failure" in twins:
            fails = twins.job_failure(jobs)
            column["fails"][:], column["fails_epistemic"][:] = fails.mean, fails.epistemic
        self._table[rows] = table

    def _learn_turns(self, first: int, view: View) -> None:
        """Fill in ``in_turn_s`` of the rows from ``first`` on."""
        running = list(view.running.values())
        left_s = self.runtime_s(running) - np.array([view.now - each.start for each in running])
        runs = float(np.maximum(left_s, 0.0) @ np.array([each.job.nodes for each in running], float))
        row = self._known(view.queue)
        row = row[row >= 0]
        nodes, runtime_s = (self._table[row, COLUMNS.index(name)] for name in ("nodes", "runtime_s"))
        before = runs + np.cumsum(nodes * runtime_s) - nodes * runtime_s
        in_turn_s = view.now - self._table[row, COLUMNS.index("submit_s")] + before / view.nodes
        self._table[row[row >= first], COLUMNS.index("in_turn_s")] = in_turn_s[row >= first]


def waited_h(jobs: Sequence[Job], now: int) -> float:
    """Node-hours that waiting ``jobs`` have waited so far, all together."""
    return sum([job.nodes * (now - job.submit) for job in jobs]) / 3600.0


def node_hours(known_JC: Floats) -> float:
    """Predicted node-hours of jobs in whose rows of ``COLUMNS`` they stand."""
    nodes, runtime_s = (known_JC[:, COLUMNS.index(name)] for name in ("nodes", "runtime_s"))
    return float(nodes @ runtime_s) / 3600.0


def _learn_clocks(column: dict[str, Floats], part: Floats, speed: float, view: View) -> None:
    """What is left of the energy at a lower clock tells the watts above idle, and with beta the clock of least energy.

    Such a part is (1 - x + x s^a) (1 + beta (1/s - 1)), x being the dynamic share of the watts.
    """
    power, beta = view.power, column["beta"]
    spec = power.node
    share = (1.0 - part / (1.0 + beta * (1.0 / speed - 1.0))) / (1.0 - speed**spec.speed_exponent)
    share = np.clip(share, 0.0, _MOST_DYNAMIC)
    dynamic_w = np.minimum(spec.idle_w * share / (1.0 - share), spec.cpu_dyn_w + spec.gpu_dyn_w)
    clock = np.array([power.best_speed(w, b) for w, b in zip(dynamic_w.tolist(), beta.tolist(), strict=True)])
    drawn = (spec.idle_w + dynamic_w * clock**spec.speed_exponent) * (1.0 + beta * (1.0 / clock - 1.0))
    column["dynamic_w"][:], column["clock"][:] = dynamic_w, clock
    column["saved_when_slow"][:] = 1.0 - drawn / (spec.idle_w + dynamic_w)


def _relative(said: Prediction) -> tuple[Floats, Floats]:
    """Both deviations together, and the epistemic one alone, as shares of the mean."""
    size = np.maximum(np.abs(said.mean), 1e-9)
    return np.hypot(said.aleatoric, said.epistemic) / size, said.epistemic / size
