"""The course of a training of AIMS: a rule shows how, then the network plays itself and learns from what came of it.

Episodes are played by worker processes while the learner learns from those before, so an episode is played by the
network of one round earlier. Everything is drawn from the seed and the number of the round: the same plan gives the
same network, also after a stop.
"""

from __future__ import annotations

import hashlib
import json
import resource
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hpcsim.errors import InputError, RunError
from hpcsim.schedulers.aims.choosing import HELD
from hpcsim.schedulers.aims.learning import Learner, Recipe, Told
from hpcsim.schedulers.aims.network import drawn
from hpcsim.schedulers.aims.objectives import BEGIN
from hpcsim.schedulers.aims.replay import Replay
from hpcsim.schedulers.aims.shape import DEPARTURES, OBJECTIVES, shapes
from hpcsim.training.episodes import Order, Played, Tensors, Who, play
from hpcsim.workers import Pool, WorkerDied

Floats = npt.NDArray[np.float64]

LOADS: Final = (0.7, 0.9, 1.2)
FIRST_SEED: Final = 10_000
"""Months of training have seeds from here on: those of evaluations are below."""

_BESIDE: Final = 0.25  # of a usual hour, added to both parts of a ratio: where hardly anything waits decides little

_LEAST_WAITED_H: Final = 0.1  # node-hours a node: where it is less, an hour of it would be many usual ones

_LEARNED: Final = ("job", "mode", "rest")
"""In what a network departs while it learns. Holding nodes back looks too good meanwhile, and is tried last."""

_SURE: Final = 1.645  # standard errors: by chance it is more in one of twenty

_CHECKED_SEED, _HELD_SEED = 9_000, 8_000
_MOMENTS: Final = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps of each tensor


class Plan(NamedTuple):
    """What is played and how much is learned.

    ``measured`` episodes of ``days`` days are played by the rule without lower clocks and chosen places, to see what an
    hour costs; ``shown`` ones by the rule as it is, and ``imitated`` updates made; then there are
    ``rounds`` of ``at_once`` episodes and ``updates`` updates. Every ``check_every`` rounds the network plays
    ``checked`` episodes that it never learns from, and the best one is kept. In the end ``held`` others say in what it
    had best depart from the rule, and ``confirmed`` others whether it may. ``weights`` are those of the objectives;
    with ``various_weights`` every other episode has random ones. ``seed`` decides all that is drawn. ``days`` and
    ``loads`` are None for a scenario that has its own; ``show_epsilon`` of the actions that the rule shows are random;
    ``options`` are those of the scheduler.
    """

    scenarios: tuple[str, ...]
    seed: int = 1
    days: float | None = 1.5
    loads: tuple[float | None, ...] = LOADS
    measured: int = 4
    shown: int = 12
    show_epsilon: float = 0.1
    imitated: int = 1500
    rounds: int = 8
    at_once: int = 4
    updates: int = 250
    check_every: int = 2
    checked: int = 10
    held: int = 16
    confirmed: int = 48
    capacity: int = 50_000
    alpha: float = 0.6
    epsilon: tuple[float, float] = (0.2, 0.02)
    imitate: tuple[float, float] = (1.0, 0.01)
    ahead_s: int = 7200
    aversion: float = 1.0
    anchor: bool = True
    weights: tuple[float, float, float] = BEGIN
    uncertainty: bool = True
    various_weights: bool = True
    recipe: Recipe = Recipe()
    overrides: tuple[tuple[str, Any], ...] = ()
    options: tuple[tuple[str, Any], ...] = ()


class Round(NamedTuple):
    """A round in numbers: its own, updates so far, means of what was told of them, and how good the network was then.

    ``parts`` are what the objectives cost with the network, as multiples of what they cost with the rule, in the
    geometric mean of the same episodes, and ``score`` is their weighed geometric mean: 1 is as good as the rule.
    """

    number: int
    updates: int
    loss: float
    imitation: float
    value: float
    score: float | None
    parts: tuple[float, ...] | None


class _Tried(NamedTuple):
    """What episodes cost with some departures from the rule: log of the ratio, its error, ratios by objective."""

    ratio: float
    error: float
    parts: tuple[float, ...]


class Trained(NamedTuple):
    """The best network, what an hour usually costs, how the rounds went, and how well the best one did.

    ``aversion_D`` is how many deviations better than the rule an action had best to be, by how it departs from that;
    ``tried`` tells what it cost with each kind of departure, and with several. ``cpu_s`` are the CPU seconds of learner
    and workers, all in all; those before a stop are not in it.
    """

    tensors: dict[str, npt.NDArray[np.float32]]
    usual_O: Floats
    rates_O: Floats
    rounds: list[Round]
    score: float
    parts: tuple[float, ...]
    aversion_D: tuple[float, ...]
    tried: dict[str, _Tried]
    cpu_s: float
    dueling: bool


def train(
    plan: Plan,
    *,
    workers: int,
    checkpoint: Path | None = None,
    resume: bool = False,
    told: Callable[[Round], None] = lambda done: None,
) -> Trained:
    """Train by ``plan`` in so many worker processes; ``told`` is called after each round.

    ``checkpoint`` is written after each check, and ``resume`` goes on from it. Raises InputError where it is of another
    plan, or damaged, and RunError where worker processes die of the same episode.
    """
    torch.set_num_threads(1)
    try:
        with Pool(workers) as pool:
            course = _Course(plan, pool)
            if resume and checkpoint is not None and checkpoint.exists():
                course.restore(checkpoint)
            else:
                course.begin()
            while course.number < plan.rounds:
                done = course.round()
                if checkpoint is not None and done.score is not None:
                    course.leave(checkpoint)
                told(done)
            course.hold()
            best = course.best
    except WorkerDied as death:
        is_kept = checkpoint is not None and checkpoint.exists()
        kept = f"--resume goes on from {checkpoint}" if is_kept else "nothing is kept of this training"
        raise RunError(f"{death}, perhaps as memory ran out: fewer --workers take less; {kept}") from None
    spent = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = sum(each.ru_utime + each.ru_stime for each in spent)
    return Trained(
        best[2], course.usual_O, course.rates_O, course.rounds, best[0], best[1], course.aversion_D, course.tried,
        cpu_s, plan.recipe.dueling,
    )  # fmt: skip


def hourly_cost(played: Played, usual_O: Floats) -> Floats:
    """What an episode cost in an hour, in usual hours, with what no schedule changes: 1 is usual."""
    cost = -played.total_O / played.hours / usual_O
    cost += 1.0, 0.0, played.usual_loss_h / played.hours / usual_O[2]
    return np.asarray(np.maximum(cost, 0.0))  # a job that starts twice may be spared its usual loss twice


def log_ratios(hourly_EO: Floats, other_EO: Floats) -> Floats:
    """The logarithms of what episodes cost, over what the same cost otherwise: ``(E, O)``."""
    return np.asarray(np.log((hourly_EO + _BESIDE) / (other_EO + _BESIDE)).reshape(-1, len(OBJECTIVES)))


class _Course:
    """Where a training stands."""

    def __init__(self, plan: Plan, pool: Executor) -> None:
        self._plan, self._pool = plan, pool
        self.number = 0
        self._is_measured = False
        self.aversion_D = (plan.aversion if plan.uncertainty else 0.0,) * len(DEPARTURES)
        self.tried: dict[str, _Tried] = {}
        self.rounds: list[Round] = []
        self.usual_O, self.rates_O, self._rule_O = np.ones(3), np.ones(3), np.ones((plan.checked, 3))
        self.best: tuple[float, tuple[float, ...], dict[str, npt.NDArray[np.float32]]] = (np.inf, (), {})
        rng = np.random.default_rng([plan.seed, 1])
        recipe = plan.recipe._replace(anchor=plan.anchor, aversion=plan.aversion)
        if not plan.uncertainty:
            recipe = recipe._replace(kappa=0.0, aversion=0.0)
        self.learner = Learner(drawn(rng, shapes()), recipe)
        # What the rule showed is never forgotten.
        self.replays = [Replay(plan.capacity, plan.alpha, np.random.default_rng([plan.seed, 2, k])) for k in range(2)]
        self._coming: list[Future[Played]] = []

    def begin(self) -> None:
        """See what an hour costs, let the rule show how, learn to imitate it, and see how good that is."""
        plan, first = self._plan, FIRST_SEED * self._plan.seed
        plain = list(self._play([self._order("rule", first + k) for k in range(plan.measured)], None, keep=False))
        waiting, lost_h = np.mean(
            [(-each.total_O[1] / each.hours, each.usual_loss_h / each.hours) for each in plain], 0
        )
        self.rates_O = np.mean([played.rates_O for played in plain], 0)
        least = 1.0, _LEAST_WAITED_H * plain[0].nodes * 3600.0, 1e-3
        self.usual_O = np.maximum([self.rates_O[0], waiting, lost_h], least)
        self._is_measured = True
        shown = [self._order("rule", first + k, epsilon=plan.show_epsilon) for k in range(plan.shown)]
        checked = [self._order("rule", _CHECKED_SEED + k) for k in range(plan.checked)]
        of_rule = list(self._play(shown, None))
        judged = list(self._play(checked, None, keep=False))
        self._rule_O = np.array([self._hourly(played) for played in judged])
        for played in of_rule:
            self._remember(played, self.replays[0])
        if not len(self.replays[0]):
            raise InputError("the episodes are too short to learn from")
        self.learner.begin_at(self.replays[0].steps)
        for _ in range(plan.imitated):
            self.learner.update(self.replays[:1], 0.0, plan.imitate[0])
        self._judge()

    def round(self) -> Round:
        """Have episodes played by the present network, learn from those before, and remember these."""
        plan, number = self._plan, self.number
        progress = number / max(plan.rounds, 1)
        epsilon = plan.epsilon[0] + (plan.epsilon[1] - plan.epsilon[0]) * min(1.0, 2 * progress)
        imitate = plan.imitate[0] + (plan.imitate[1] - plan.imitate[0]) * min(1.0, 2 * progress)
        first = FIRST_SEED * plan.seed + plan.shown + number * plan.at_once
        orders = [self._order("explorer", first + k, epsilon=epsilon) for k in range(plan.at_once)]
        coming = self._submit(orders, self.learner.arrays())
        known = [replay for replay in self.replays if len(replay)]
        learned = [self.learner.update(known, progress, imitate) for _ in range(plan.updates)]
        for future in coming:
            self._remember(future.result(), self.replays[1])
        self.number += 1
        loss, imitation, value = np.mean(learned, 0) if learned else Told(0.0, 0.0, 0.0)
        score, parts = None, None
        if self.number % plan.check_every == 0 or self.number == plan.rounds:
            score, parts = self._judge()
        done = Round(self.number, self.learner.updates, float(loss), float(imitation), float(value), score, parts)
        self.rounds.append(done)
        return done

    def hold(self) -> None:
        """Find in what the best network had best depart from the rule, on episodes by which it was not chosen.

        Each kind of departure is allowed alone, then all, then those together that made episodes cheaper. What did best
        is played on other episodes, as of several that are tried one always looks good, and is kept if it is better
        there too, by a test of one side at 5 %; else the network is held to the rule.
        """
        plan, tensors = self._plan, self.best[2]
        if not (plan.uncertainty and plan.anchor and plan.held):
            return
        screen = self._compared(tensors, _HELD_SEED, plan.held)
        tried = {kinds: screen(kinds) for kinds in (*((kind,) for kind in DEPARTURES), DEPARTURES)}
        cheaper = tuple(kind for kind in DEPARTURES if tried[(kind,)].ratio < 0.0)
        if len(cheaper) > 1 and cheaper not in tried:
            tried[cheaper] = screen(cheaper)
        kept, score, parts = min(tried, key=lambda kinds: tried[kinds].ratio), 1.0, (1.0,) * len(OBJECTIVES)
        self.tried = {" + ".join(kinds): each for kinds, each in tried.items()}
        if tried[kept].ratio + tried[kept].error < 0.0:
            found = self._compared(tensors, _HELD_SEED + plan.held, plan.confirmed)(kept)
            self.tried["confirmed: " + " + ".join(kept)] = found
            if found.ratio + _SURE * found.error < 0.0:
                self.aversion_D, self.best = self._averse(kept), (float(np.exp(found.ratio)), found.parts, tensors)
                return
        self.aversion_D, self.best = self._averse(()), (score, parts, tensors)

    def _compared(self, tensors: Tensors, first: int, count: int) -> Callable[[Sequence[str]], _Tried]:
        """What episodes cost, over what they do with the rule, if only these kinds of departure are allowed."""
        orders = [self._order("rule", first + k) for k in range(count)]
        of_rule = np.array([self._hourly(played) for played in self._play(orders, None, keep=False)])

        def compare(kinds: Sequence[str]) -> _Tried:
            ratio_EO = self._ratios(tensors, self._averse(kinds), first, of_rule)
            ratio_E = ratio_EO @ self._weights()
            error = float(ratio_E.std(ddof=1) / np.sqrt(count))
            return _Tried(float(ratio_E.mean()), error, tuple(np.exp(ratio_EO.mean(0)).tolist()))

        return compare

    def _averse(self, kinds: Sequence[str]) -> tuple[float, ...]:
        """How averse to be to each kind of departure, if only some are allowed."""
        return tuple(self._plan.aversion if kind in kinds else HELD for kind in DEPARTURES)

    def _judge(self) -> tuple[float, tuple[float, ...]]:
        """How good the network is on the episodes that it never learns from, and its parts; the best one is kept."""
        tensors = self.learner.arrays()
        ratios_O = self._ratios(tensors, self._averse(_LEARNED), _CHECKED_SEED, self._rule_O).mean(0)
        score, parts = float(np.exp(self._weights() @ ratios_O)), tuple(np.exp(ratios_O).tolist())
        if score < self.best[0]:
            self.best = score, parts, tensors
        return score, parts

    def _ratios(self, tensors: Tensors, aversion_D: tuple[float, ...], first: int, of_rule_EO: Floats) -> Floats:
        """The logarithms of what episodes from seed ``first`` on cost with a network, over what with the rule."""
        orders = [self._order("network", first + k, aversion_D=aversion_D) for k in range(len(of_rule_EO))]
        return log_ratios(
            np.array([self._hourly(each) for each in self._play(orders, tensors, keep=False)]), of_rule_EO
        )

    def _hourly(self, played: Played) -> Floats:
        return hourly_cost(played, self.usual_O)

    def _weights(self) -> Floats:
        return np.array(self._plan.weights)

    def _order(
        self, who: Who, seed: int, *, epsilon: float = 0.0, aversion_D: tuple[float, ...] = (0.0,) * len(DEPARTURES)
    ) -> Order:
        plan = self._plan
        rng = np.random.default_rng([seed, 3])
        scenario = plan.scenarios[seed % len(plan.scenarios)]
        load = plan.loads[seed // len(plan.scenarios) % len(plan.loads)]
        weights = self._weights()
        if who == "explorer" and plan.various_weights and rng.random() < 0.5:
            weights = 0.1 + 0.7 * rng.dirichlet(np.ones(3))
        month = {"days": plan.days, "load": load}
        month = {"seed": seed} | {key: value for key, value in month.items() if value is not None}
        exact = (float(weights[0]), float(weights[1]), float(weights[2]))
        kwh, waiting, lost = self.usual_O.tolist()
        options = plan.options if self._is_measured else (*plan.options, ("speed", False), ("places", False))
        recipe = self.learner.recipe
        return Order(
            scenario, month | dict(plan.overrides), who, seed, exact, (kwh, waiting, lost), epsilon,
            aversion_D=aversion_D if plan.uncertainty else (0.0,) * len(DEPARTURES), kappa=recipe.kappa,
            anchor=plan.anchor, dueling=recipe.dueling, ahead_s=plan.ahead_s, options=options,
        )  # fmt: skip

    def _submit(self, orders: Sequence[Order], tensors: Tensors | None, *, keep: bool = True) -> list[Future[Played]]:
        return [self._pool.submit(play, order, tensors, keep) for order in orders]

    def _play(self, orders: Sequence[Order], tensors: Tensors | None, *, keep: bool = True) -> Iterator[Played]:
        for future in self._submit(orders, tensors, keep=keep):
            yield future.result()

    def _remember(self, played: Played, replay: Replay) -> None:
        """Remember as many steps of an episode, drawn from it, as leave room for twelve such episodes."""
        most = self._plan.capacity // 12
        rng = np.random.default_rng([self._plan.seed, 4, self.number, len(replay)])
        kept = rng.permutation(len(played.steps))[:most]
        for place in sorted(kept.tolist()):
            replay.add(played.steps[place].scaled(self.usual_O))

    # -- stopping and going on --------------------------------------------------------------------

    @property
    def _identity(self) -> str:
        return hashlib.sha256(repr(self._plan).encode()).hexdigest()

    def leave(self, path: Path) -> None:
        """Write all that the next round hangs on, as numbers: the file is there whole or not at all."""
        score, parts, tensors = self.best
        optimizer = self.learner.optimizer.state_dict()["state"]
        arrays = {f"best.{name}": value for name, value in tensors.items()}
        for number, (name, value) in enumerate(self.learner.arrays().items()):
            arrays |= {f"now.{name}": value, f"target.{name}": self.learner.target[name].numpy()}
            arrays |= {f"{moment}.{name}": optimizer[number][moment].numpy().reshape(-1) for moment in _MOMENTS}
        plain = []
        for number, replay in enumerate(self.replays):
            remembered, rest = replay.as_arrays()
            arrays |= {f"replay.{number}.{name}": value for name, value in remembered.items()}
            plain.append(rest)
        told = {
            "identity": self._identity, "number": self.number, "updates": self.learner.updates, "score": score,
            "parts": parts, "rounds": self.rounds, "usual": self.usual_O.tolist(), "rates": self.rates_O.tolist(),
            "rule": self._rule_O.tolist(), "replays": plain, "tensors": list(arrays),
        }  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.draft")
        save_file(
            {key: np.ascontiguousarray(value) for key, value in arrays.items()}, draft, {"told": json.dumps(told)}
        )
        draft.replace(path)

    def restore(self, path: Path) -> None:
        """Put back what ``leave`` wrote; InputError where it is damaged, or of another plan."""
        try:
            with safe_open(path, "numpy") as file:
                told = json.loads(file.metadata()["told"])
                arrays = {name: file.get_tensor(name) for name in told["tensors"]}
            if told["identity"] != self._identity:
                raise InputError(f"{path}: of another plan; train without --resume")
            learner, moments = self.learner, {}
            for number, name in enumerate(learner.tensors):
                shape = tuple(learner.tensors[name].shape)
                learner.tensors[name].data.copy_(torch.from_numpy(arrays[f"now.{name}"]))
                learner.target[name] = torch.from_numpy(arrays[f"target.{name}"])
                moments[number] = {
                    moment: torch.from_numpy(arrays[f"{moment}.{name}"]).reshape(() if moment == "step" else shape)
                    for moment in _MOMENTS
                }
            learner.optimizer.load_state_dict({**learner.optimizer.state_dict(), "state": moments})
            learner.updates = int(told["updates"])
            self.number = int(told["number"])
            self.rounds = [Round(*each) for each in told["rounds"]]
            self._is_measured = True
            self.usual_O, self.rates_O, self._rule_O = (np.array(told[name]) for name in ("usual", "rates", "rule"))
            best = {name: arrays[f"best.{name}"] for name in learner.tensors}
            self.best = float(told["score"]), tuple(map(float, told["parts"])), best
            for number, replay in enumerate(self.replays):
                mine = f"replay.{number}."
                remembered = {key.removeprefix(mine): value for key, value in arrays.items() if key.startswith(mine)}
                replay.restore(remembered, told["replays"][number])
        except (OSError, ValueError, KeyError, TypeError, IndexError, RuntimeError, SafetensorError) as error:
            raise InputError(f"{path}: no checkpoint of this training: {error}") from error
