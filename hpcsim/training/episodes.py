"""An episode of AIMS: a run of a scenario in which somebody chooses, and all choices are remembered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.replay import begin
from hpcsim.schedulers.aims.aims import Aims
from hpcsim.schedulers.aims.choosing import aversions, best, worth
from hpcsim.schedulers.aims.expert import by_rule
from hpcsim.schedulers.aims.network import State, values
from hpcsim.schedulers.aims.replay import Outcome, Step
from hpcsim.schedulers.aims.shape import DEPARTURES, MODES
from hpcsim.training.rewards import Chosen, Hazard, discounted, paid

AFTER_S: Final = 6 * 3600

Who = Literal["rule", "network", "explorer"]
Tensors = Mapping[str, npt.NDArray[np.float32]]


class Order(NamedTuple):
    """What is to be played: a scenario with overrides, by whom, with which weights of the objectives.

    An ``explorer`` takes a random action with probability ``epsilon``, half of these by the rule, and else follows one
    of the network's heads. ``ahead_s`` is over what time rewards are added up for what a state is worth. ``hourly_O``
    is what an hour usually costs, and ``aversion_D`` is by how an action departs from the rule's.
    """

    scenario: str
    overrides: dict[str, Any]
    who: Who
    seed: int
    weights: tuple[float, float, float]
    hourly_O: tuple[float, float, float]
    epsilon: float = 0.0
    aversion_D: tuple[float, ...] = (0.5,) * len(DEPARTURES)
    kappa: float = 1.0
    anchor: bool = True
    dueling: bool = True
    ahead_s: int = 7200
    options: tuple[tuple[str, Any], ...] = ()


class Played(NamedTuple):
    """What came of it: steps to learn from, and the sums of the rewards, in their units.

    ``hours`` are those that the episode lasted, and ``rates_O`` the means of facility kW, waiting rate and risk;
    ``usual_loss_h`` as in ``Paid``.
    """

    steps: list[Step]
    total_O: npt.NDArray[np.float64]
    rates_O: npt.NDArray[np.float64]
    hours: float
    usual_loss_h: float
    nodes: int


def play(order: Order, tensors: Tensors | None, keep: bool = True) -> Played:
    """Run one episode until its last job is submitted. ``keep``: whether its steps are wanted."""
    options = {"adapt": False, "objectives": list(order.weights), "kappa": order.kappa, **dict(order.options)}
    overrides = {**order.overrides, "scheduler.name": "aims"}
    simulation = begin(order.scenario, overrides | {f"scheduler.{key}": value for key, value in options.items()})
    scheduler = simulation.scheduler
    if not isinstance(scheduler, Aims):
        raise TypeError(f"found {scheduler!r}, expected the scheduler aims")
    scheduler.hourly_O = np.array(order.hourly_O)
    recorder = _Recorder(order, tensors, scheduler, Hazard(simulation))
    scheduler.chooser = recorder
    until_s = int(simulation.workload.column("submit_s")[-1]) + 1
    simulation.run(until_s)
    rates_O, recorder.is_over = scheduler.measured_rates(), True
    simulation.run(until_s + AFTER_S)  # so that it is known what became of most that has started
    chosen = recorder.chosen
    if len(chosen) < 2:
        raise ValueError(f"{order.scenario} {order.overrides}: an episode without choices")
    rewards = paid(simulation, chosen, until_s, recorder.hazard)
    steps: list[Step] = []
    if keep:
        time_N, state = np.array([each.now for each in chosen], float), recorder.state
        near, far = (discounted(time_N, rewards, ahead_s) for ahead_s in (0.0, order.ahead_s))
        for k in np.flatnonzero(far[0] >= 0).tolist():
            soon, late = (Outcome(each[1][k], float(each[2][k]), state[each[0][k]]) for each in (near, far))
            steps.append(Step(state[k], recorder.action[k], soon, late, recorder.of_rule[k]))
    hours = (until_s - simulation.start) / 3600.0
    return Played(steps, rewards.total_O, rates_O, hours, rewards.usual_loss_h, simulation.nodes)


class _Recorder:
    """Chooses, and remembers what it saw and chose."""

    def __init__(self, order: Order, tensors: Tensors | None, scheduler: Aims, hazard: Hazard) -> None:
        self.hazard = hazard
        self._order, self._tensors, self._scheduler = order, tensors, scheduler
        self._rng = np.random.default_rng([order.seed, 77])
        self._head = int(self._rng.integers(2**31))
        self.chosen: list[Chosen] = []
        self.action: list[int] = []
        self.state: list[State] = []
        self.of_rule: list[bool] = []
        self.is_over = False

    def __call__(self, state: State, now: int) -> int:
        if self.is_over:
            return by_rule(state)
        self.hazard.look(now)
        action, of_rule = self._choose(state)
        place, mode = divmod(action, len(MODES))
        seen = self._scheduler.seen
        starts = place < len(seen.jobs)
        speed = float(seen.speed_JC[place, MODES[mode][0]]) if starts else 1.0
        self.chosen.append(Chosen(now, seen.jobs[place].id if starts else -1, speed))
        self.action.append(action)
        small = state._replace(job_JF=_half(state.job_JF), all_G=_half(state.all_G))
        self.state.append(small)
        self.of_rule.append(of_rule)
        return action

    def _choose(self, state: State) -> tuple[int, bool]:
        order, rng = self._order, self._rng
        if order.who == "rule":
            if rng.random() < order.epsilon:
                return int(rng.choice(np.flatnonzero(state.legal_A))), False
            return by_rule(state), True
        if self._tensors is None:
            raise ValueError("a network that chooses needs tensors")
        explores = order.who == "explorer"
        if explores and rng.random() < order.epsilon:
            if rng.random() < 0.5:
                return by_rule(state), False
            return int(rng.choice(np.flatnonzero(state.legal_A))), False
        q = values(self._tensors, state, dueling=order.dueling)
        if explores:
            q = q[:, [self._head % q.shape[1]]]
        usual = by_rule(state) if order.anchor else None
        found = worth(q, state, np.array(order.weights), order.kappa, usual)
        if explores:
            resting = len(state.job_JF) * len(MODES)
            if usual is not None and usual < resting:  # it holds nodes back by chance alone
                found.mean_A[resting:] = -np.inf
            return best(found, 0.0), False
        return best(found, aversions(np.array(order.aversion_D), state, usual)), False


def _half(numbers: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """In half the bytes: many are remembered."""
    return numbers.astype(np.float16)
