"""Training of GreenDRL by PPO: on days of some years, watched on days of others, the best network is kept.

References
----------
Schulman, Wolski, Dhariwal, Radford and Klimov (2017), Proximal policy optimization algorithms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.errors import InputError, lacking
from hpcsim.schedulers.greendrl import trained as files
from hpcsim.schedulers.greendrl.greendrl import Chooser
from hpcsim.schedulers.greendrl.network import LEVELS, WIDTH, choose
from hpcsim.training.green_days import CALM, DAY_S, YEAR_DAYS, Year
from hpcsim.training.green_rule import by_rule
from hpcsim.training.green_slots import GreenSlots, Span

try:
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv
    from torch.nn import functional
except ModuleNotFoundError as error:
    raise lacking("training GreenDRL", "stable-baselines3", "train") from error

Tensors = dict[str, npt.NDArray[np.float32]]

TRAINING_YEAR: Final = 1000
WATCHED_YEAR: Final = 2000
TEST_YEAR: Final = 3000
"""The first seeds of the years of which days are trained on, watched, and kept for tests."""


_DECIDED: Final = {"scheduler", "scheduler.name", "scheduler.signal", "scheduler.slot", "seed", "days", "jobs", "load"}


class Plan(NamedTuple):
    """What is trained on. Each of ``machines`` is a scenario, with ``overrides``, played by one environment at a time.

    ``signals`` go round with the spans; ``options`` are those of the scheduler. A rule plays ``shown`` spans on each
    machine, and the network imitates it for ``imitated`` steps, with labels ``smoothed`` so that it still tries other
    things. ``furthest`` is the divergence at which the epochs of an update end. The other names are those of PPO.
    """

    machines: tuple[str, ...] = ("mira", "theta", "cooley", "mira", "theta", "mira", "theta", "cooley")
    signals: tuple[str, ...] = ("solar", "solar", "carbon")
    loads: tuple[float, ...] = (0.4, 0.6, 0.8)
    sun: float = 1.5
    days: float = 2.0
    spans: int = 36
    watched: int = 4
    shown: int = 4
    imitated: int = 1500
    smoothed: float = 0.2
    steps: int = 24_000
    watch_every: int = 8
    furthest: float = 0.03
    seed: int = 1
    rollout: int = 192
    epochs: int = 10
    batch: int = 256
    rate: float = 3e-4
    gamma: float = 0.99
    gae: float = 0.95
    clip: float = 0.2
    entropy: float = 0.003
    options: tuple[tuple[str, Any], ...] = ()
    overrides: tuple[tuple[str, Any], ...] = ()


class Seen(NamedTuple):
    """How training went: steps so far, and the mean reward of an episode on days that are not trained on."""

    steps: int
    reward: float


class Trained(NamedTuple):
    """The best network, and how training went."""

    tensors: Tensors
    seen: list[Seen]
    best: Seen


def spans_of(machine: str, first_year: int, count: int, plan: Plan, rng: np.random.Generator) -> list[Span]:
    """So many spans of days spread over years of a machine; ``first_year`` is the seed of the first."""
    overrides = {**CALM, **dict(plan.overrides)}
    year_of: dict[tuple[int, bool], Year] = {}
    found = []
    for k in range(count):
        signal = plan.signals[k % len(plan.signals)]
        place = k % 2, signal == "solar"
        year = year_of.setdefault(place, Year(machine, first_year + place[0], plan.sun if place[1] else 0.0, overrides))
        day = (k + rng.random()) * (YEAR_DAYS - 30) / count
        load = plan.loads[int(rng.integers(len(plan.loads)))]
        found.append(Span(year, year.with_jobs(int(day * DAY_S), plan.days, load), plan.days, load, signal))
    return found


def train(
    plan: Plan | None = None,
    *,
    told: Callable[[Seen], None] = lambda seen: None,
    kept: Callable[[Trained], None] = lambda best: None,
) -> Trained:
    """Train by ``plan`` in one process. Same plan, same network.

    ``told`` is called whenever the network was watched, and ``kept`` with what there is whenever it was better than
    before, so that nothing is lost by an end before its time.

    Raises InputError where a scenario or an option is wrong, and where stable-baselines3 is not installed, when this
    module is imported.
    """
    plan = plan or Plan()
    options = dict(plan.options)
    named = {f"scheduler.{key}": value for key, value in options.items()}
    for key in (*named, *dict(plan.overrides)):
        if key in _DECIDED or key.startswith("window"):
            raise InputError(f"{key}: a training of greendrl decides this by itself; it cannot be set")
    named["scheduler.name"] = "greendrl"
    for machine in dict.fromkeys(plan.machines):
        Year(machine, TRAINING_YEAR, 0.0, {**CALM, **dict(plan.overrides)}).refuse_unfit(named)
    torch.set_num_threads(1)
    environments = []
    for number, machine in enumerate(plan.machines):
        rng = np.random.default_rng([plan.seed, number])
        spans = spans_of(machine, TRAINING_YEAR * plan.seed + 10 * number, plan.spans, plan, rng)
        environments.append(GreenSlots(spans, options))
    watched = [
        spans_of(machine, WATCHED_YEAR, plan.watched, plan, np.random.default_rng([plan.seed, 99]))
        for machine in dict.fromkeys(plan.machines)
    ]
    playing = GreenSlots([span for spans in watched for span in spans], options)
    learner = learner_of(plan, environments)
    imitate(learner, environments, plan)
    tensors = exported(learner)
    seen = [Seen(0, mean_reward(playing, partial(choose, tensors)))]
    told(seen[0])
    best = seen[0]
    kept(Trained(tensors, seen, best))
    a_round = plan.rollout * len(environments) * plan.watch_every
    while learner.num_timesteps < plan.steps:
        learner.learn(a_round, reset_num_timesteps=False)
        now = exported(learner)
        seen.append(Seen(learner.num_timesteps, mean_reward(playing, partial(choose, now))))
        told(seen[-1])
        if seen[-1].reward > best.reward:
            best, tensors = seen[-1], now
            kept(Trained(tensors, seen, best))
    return Trained(tensors, seen, best)


def learner_of(plan: Plan, environments: Sequence[GreenSlots]) -> PPO:
    """PPO as the plan says, which has learned nothing yet."""
    return PPO(
        "MlpPolicy", DummyVecEnv([partial(_itself, each) for each in environments]), learning_rate=plan.rate,
        n_steps=plan.rollout, batch_size=plan.batch, n_epochs=plan.epochs, gamma=plan.gamma, gae_lambda=plan.gae,
        clip_range=plan.clip, ent_coef=plan.entropy, target_kl=plan.furthest, seed=plan.seed, device="cpu",
        policy_kwargs={"net_arch": {"pi": [WIDTH, WIDTH], "vf": [WIDTH, WIDTH]}, "activation_fn": torch.nn.Tanh},
    )  # fmt: skip


def _itself(environment: GreenSlots) -> GreenSlots:
    return environment


def exported(learner: PPO) -> Tensors:
    """The policy of a learner as ``schedulers.greendrl.network`` has it."""
    state = learner.policy.state_dict()
    layers = {"1": "mlp_extractor.policy_net.0", "2": "mlp_extractor.policy_net.2", "out": "action_net"}
    found: Tensors = {}
    for name, layer in layers.items():
        found[name] = state[f"{layer}.weight"].numpy().T.copy()
        found[f"{name}.bias"] = state[f"{layer}.bias"].numpy().copy()
    return found


def imitate(learner: PPO, environments: Sequence[GreenSlots], plan: Plan) -> None:
    """Let the rule play, and have the policy say what it did; what is worth how much it learns only later."""
    states, actions = [], []
    for environment in environments[: len(set(plan.machines))]:
        for _ in range(plan.shown):
            for numbers_F, chosen in episode(environment, by_rule, plan.seed):
                states.append(numbers_F)
                actions.append(chosen)
    state, action = torch.from_numpy(np.array(states)), torch.from_numpy(np.array(actions))
    rng = np.random.default_rng([plan.seed, 7])
    policy: Any = learner.policy
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3)
    for _ in range(plan.imitated):
        batch = torch.from_numpy(rng.integers(len(state), size=plan.batch))
        logits = policy.action_net(policy.mlp_extractor.forward_actor(state[batch]))
        load = functional.cross_entropy(logits[:, :LEVELS], action[batch, 0], label_smoothing=plan.smoothed)
        loss = load + functional.cross_entropy(logits[:, LEVELS:], action[batch, 1], label_smoothing=plan.smoothed)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        optimizer.step()


def episode(
    playing: GreenSlots, chooser: Chooser, seed: int
) -> Iterator[tuple[npt.NDArray[np.float32], tuple[int, int]]]:
    """What was seen and chosen in the slots of the next span."""
    numbers_F, _ = playing.reset(seed=seed)
    is_over = is_cut = False
    while not (is_over or is_cut):
        action = chooser(numbers_F)
        yield numbers_F, action
        numbers_F, _, is_over, is_cut, _ = playing.step(np.array(action))


def mean_reward(playing: GreenSlots, chooser: Chooser) -> float:
    """The mean over all spans of the sum of rewards of whoever chooses."""
    total = 0.0
    for _ in range(playing.count):
        numbers_F, _ = playing.reset(seed=1)
        is_over = is_cut = False
        while not (is_over or is_cut):
            numbers_F, reward, is_over, is_cut, _ = playing.step(np.array(chooser(numbers_F)))
            total += reward
    return total / playing.count


def train_into(
    directory: Path, name: str, plan: Plan, command: str, told: Callable[[Seen], None] = lambda seen: None
) -> Path:
    """Train by ``plan`` and write the weights whenever they are better than before; the path of their JSON file.

    ``command`` is what they were asked for by, which is kept with them. Raises as ``train`` does.
    """
    written: list[Path] = []

    def kept(best: Trained) -> None:
        about = {"command": command, **told_of(plan, best)}
        written.append(files.write(directory, name, best.tensors, about))

    train(plan, told=told, kept=kept)
    return written[-1]


def told_of(plan: Plan, trained: Trained) -> dict[str, Any]:
    """What the JSON beside the weights tells of their training."""
    plain = {key: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
             for key, value in plan._asdict().items()}  # fmt: skip
    return {"plan": plain, "steps": trained.best.steps, "watched_reward": trained.best.reward}
