"""How RLSchert is trained: it imitates shortest job first, then improves by proximal policy optimisation.

An episode is so many jobs in a row of a scenario, on a machine that begins empty. It is paid, as time goes by, for the
growth of the slowdowns of all that wait, as a share of what they come to under the rule that it began with: a return of
-1 is as good as that. PPO is sb3-contrib's, with masks for what is not legal.

References
----------
Schulman, Wolski, Dhariwal, Radford and Klimov (2017), Proximal policy optimization algorithms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final, NamedTuple, cast

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from gymnasium.spaces import Box, Discrete
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor, nn

from hpcsim.engine.simulation import Simulation
from hpcsim.engine.view import View
from hpcsim.plugin import Decision
from hpcsim.plugin.loader import load_plugins
from hpcsim.replay import begin, source_of
from hpcsim.scenario import build
from hpcsim.scenario.load import load_scenario
from hpcsim.schedulers.rlschert import trained
from hpcsim.schedulers.rlschert.network import State, padded
from hpcsim.schedulers.rlschert.observing import Pass
from hpcsim.schedulers.rlschert.predicted import Predicted
from hpcsim.schedulers.rlschert.shape import (
    ACTIONS,
    OF_ALL,
    OF_JOB,
    OF_RUNNING,
    RUNNING,
    WINDOW,
    shapes,
)
from hpcsim.schedulers.rlschert.teacher import by_rule

Floats32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

FIRST_SEED: Final = 10_000
"""Jobs that are trained on are drawn with seeds from here on: those of evaluations are below."""

_DOUBT: Final = 0.2  # of what is imitated: a network that is sure of it would never try anything else
_LEAST_S: Final = 60.0  # runtimes below make no difference: nobody foresees them, and they would be all that counts
_LEAST_COST: Final = 0.1  # slowdown a job: where the rule makes jobs wait for less, there is nothing to be learned
_JOB, _RUN = WINDOW * len(OF_JOB), RUNNING * len(OF_RUNNING)


class Plan(NamedTuple):
    """What is learned from, and how much.

    ``episodes`` of at most ``jobs`` jobs of each scenario (with ``overrides``, at ``loads`` by turns) are shown by the
    rule, and imitated for ``passes`` passes; then ``steps`` choices are made by the network itself, in ``at_once``
    episodes. Every ``check_every`` of them it plays the ``checked`` episodes that it never learns from, and the best
    one is kept. With ``start``, the name of weights, it begins with these, and only the critic learns from the rule.
    In every other episode of a check, and in a share ``kills`` of the others, running jobs can be killed. ``seed``
    decides all that is drawn.
    """

    scenarios: tuple[str, ...]
    overrides: tuple[tuple[str, Any], ...] = ()
    loads: tuple[float | None, ...] = (None,)
    seed: int = 1
    jobs: int = 256
    episodes: int = 256
    checked: int = 32
    passes: int = 10
    kills: float = 0.5
    steps: int = 200_000
    at_once: int = 16
    steps_between: int = 64
    check_every: int = 40_000
    rate: float = 1e-3
    entropy: float = 0.003
    start: str | None = None


class Told(NamedTuple):
    """How a training stands: ``steps`` made by the network, and its score, slowdown over that of the rule."""

    steps: int
    score: float


class Trained(NamedTuple):
    """The best network, after how many steps it was that, how good it was then, and all that was told."""

    tensors: dict[str, Floats32]
    steps: int
    score: float
    told: list[Told]


def train(plan: Plan, told: Callable[[Told], None] = lambda now: None) -> Trained:
    """Train by ``plan``. Raises InputError where a scenario is wrong."""
    torch.manual_seed(plan.seed)
    torch.set_num_threads(1)
    sources = [Source(scenario, plan, number) for number, scenario in enumerate(plan.scenarios)]
    environments: list[Callable[[], gymnasium.Env[Any, Any]]] = [
        partial(Environment, sources, plan, number) for number in range(plan.at_once)
    ]
    model = MaskablePPO(
        Policy,
        DummyVecEnv(environments),
        learning_rate=lambda left: plan.rate * (0.1 + 0.9 * left),
        n_steps=plan.steps_between,
        batch_size=256,
        n_epochs=5,
        gamma=1.0,
        gae_lambda=0.95,
        clip_range=0.2,
        ent_coef=plan.entropy,
        vf_coef=0.25,
        max_grad_norm=10.0,
        target_kl=0.03,
        seed=plan.seed,
        device="cpu",
    )
    policy = cast("Policy", model.policy)
    if plan.start is not None:
        policy.kernel.load(trained.read(plan.start))
    imitate(policy, sources, plan)
    keeper = _Keeper(sources, plan, told)
    keeper.check(policy, 0)
    if plan.steps:
        model.learn(plan.steps, callback=keeper)
        keeper.check(policy, plan.steps)
    return Trained(keeper.tensors, keeper.best.steps, keeper.best.score, keeper.told)


def played_by(chooser: Callable[[State], int], scenario: str, seed: int) -> float:
    """The mean slowdown (bound: a minute) of a scenario whose jobs are started as ``chooser`` chooses."""
    simulation = begin(scenario, {"seed": seed})
    episode, grown = Episode(simulation, kills=False), 0.0
    while episode.seen is not None:
        grown += episode.choose(chooser(episode.seen.state()))
    return 1.0 + grown / len(simulation.workload)


class Source:
    """The episodes that a scenario offers: the same number of jobs in a row, from different places of one long draw.

    The first ``plan.checked`` episodes are for checks only. ``rule`` has what each comes to under the rule.
    """

    def __init__(self, scenario: str, plan: Plan, number: int) -> None:
        plugins = load_plugins()
        overrides = {**dict(plan.overrides), "scheduler": "rlschert", "seed": FIRST_SEED * plan.seed + number}
        loaded = load_scenario(
            scenario, overrides, schedulers=plugins.schedulers, twins=plugins.twins, parts=plugins.offers
        )
        self.name = loaded.scenario.name
        self._jobs = min(loaded.scenario.jobs or plan.jobs, plan.jobs)
        count = plan.episodes + plan.checked
        pool = loaded.scenario.model_copy(update={"jobs": self._jobs * count, "days": None})
        self._workload, self._spec, self._nodes = source_of(replace(loaded, scenario=pool), plugins)
        part = loaded.scenario.model_copy(update={"jobs": self._jobs, "days": None})
        self._at_loads = [
            replace(loaded, scenario=part if load is None else part.model_copy(update={"load": load}))
            for load in plan.loads
        ]
        self._plugins, self.count = plugins, len(self._workload) // self._jobs
        self.rule = [0.0] * self.count

    def worth(self, number: int) -> float:
        """What an episode comes to under the rule, or a little where that is next to nothing."""
        return max(self.rule[number], _LEAST_COST * self._jobs)

    def begin(self, number: int, *, kills: bool) -> Simulation:
        """The simulation of an episode, by number."""
        loaded = self._at_loads[number % len(self._at_loads)]
        part = replace(self._workload, table=self._workload.table.slice(number * self._jobs, self._jobs))
        piece = build.cut(loaded, part, self._nodes)
        agent = _Agent(frozenset({"preemption"} if kills else ()))
        twins = build.make_twins(loaded, self._plugins.twins)
        return build.make_simulation(loaded, piece, self._nodes, agent, twins, self._spec)


class _Agent:
    """Stands for the learner in the engine's messages."""

    name = "agent"
    api = 1

    def __init__(self, needs: frozenset[str]) -> None:
        self.needs = needs

    def schedule(self, view: View) -> Iterator[Decision]:
        """Nothing: who learns decides."""
        return iter(())


class Episode:
    """An episode, choice by choice: ``seen`` is the pass that is open, None when it is over."""

    def __init__(self, simulation: Simulation, *, kills: bool) -> None:
        self._simulation, self._kills = simulation, kills
        self._predicted, self._killed = Predicted(), set[int]()
        runtime_s = [simulation.program_of(job)[0] for job in range(len(simulation.workload))]
        self._rate = 1.0 / np.maximum(runtime_s, _LEAST_S)
        self.seen: Pass | None = None
        self._go_on()

    def choose(self, action: int) -> float:
        """Do it; by how much the slowdowns of all waiting jobs grow until the next choice."""
        if self.seen is None:
            raise ValueError("the episode is over")
        if self.seen.choose(action, "chosen") and self.seen.asks:
            return 0.0
        self._simulation.decide(self.seen.decisions)
        self._killed.update(self.seen.stopped)
        return self._go_on()

    def _go_on(self) -> float:
        """To the next pass in which there is something to choose."""
        simulation, grown = self._simulation, 0.0
        while True:
            began = simulation.now
            rate = float(self._rate[[job.id for job in simulation.queue.jobs]].sum())
            view = simulation.advance()
            grown += rate * (simulation.now - began)
            if view is None:
                self.seen = None
                return grown
            self.seen = Pass(
                view, self._predicted, window=WINDOW, patience=0, killed=self._killed if self._kills else None
            )
            if self.seen.asks:
                return grown
            simulation.decide(self.seen.decisions)


class Environment(gymnasium.Env[Floats32, np.int64]):
    """Episodes of several scenarios as an environment that Gymnasium knows."""

    def __init__(self, sources: list[Source], plan: Plan, number: int) -> None:
        self.observation_space = Box(-np.inf, np.inf, (_JOB + _RUN + len(OF_ALL),), np.float32)
        self.action_space = Discrete(ACTIONS)
        self._sources, self._plan = sources, plan
        self._rng = np.random.default_rng([plan.seed, 5, number])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats32, dict[str, Any]]:
        """Begin an episode; what comes next hangs on the plan's seed alone."""
        while True:
            source = self._sources[self._rng.integers(len(self._sources))]
            number = int(self._rng.integers(self._plan.checked, source.count))
            kills = bool(self._rng.random() < self._plan.kills)
            self._episode = Episode(source.begin(number, kills=kills), kills=kills)
            if self._episode.seen is not None:
                break
        self._whole = source.worth(number)
        return self._observed(), {}

    def step(self, action: np.int64) -> tuple[Floats32, float, bool, bool, dict[str, Any]]:
        """Do the action."""
        jobs = self._state.job_JF.shape[0]
        chosen = int(action)
        grown = self._episode.choose(chosen if chosen < WINDOW else chosen - WINDOW + jobs)
        is_over = self._episode.seen is None
        return self._observed(), -grown / self._whole, is_over, False, {}

    def action_masks(self) -> Bools:
        """Which actions are legal; the name is sb3-contrib's."""
        return self._legal

    def _observed(self) -> Floats32:
        if self._episode.seen is None:
            self._legal: Bools = np.arange(ACTIONS) == WINDOW  # of an episode that is over
            return np.zeros(self.observation_space.shape or (), np.float32)
        self._state = self._episode.seen.state()
        row, self._legal = padded(self._state)
        return row


class Kernel(nn.Module):
    """The network of ``schedulers/rlschert/network.py`` on padded states, and a critic of the same context."""

    def __init__(self) -> None:
        super().__init__()
        self.latent_dim_pi, self.latent_dim_vf = ACTIONS, 64
        self.tensors = nn.ParameterDict()
        for name, shape in shapes().items():
            spread = 0.0 if len(shape) == 1 else (0.1 if name.endswith(".out") else 1.0) * (2.0 / shape[0]) ** 0.5
            self.tensors[name.replace(".", "-")] = nn.Parameter(spread * torch.randn(shape))
        pooled = shapes()["context.1"][0]
        self.critic = nn.Sequential(nn.Linear(pooled, 128), nn.ReLU(), nn.Linear(128, self.latent_dim_vf), nn.ReLU())

    def arrays(self) -> dict[str, Floats32]:
        """The tensors of the policy by name."""
        return {name: self._of(name).detach().numpy().copy() for name in shapes()}

    def load(self, tensors: Mapping[str, Floats32]) -> None:
        """Take on these tensors."""
        with torch.no_grad():
            for name, value in tensors.items():
                self._of(name).copy_(torch.from_numpy(value))

    def forward(self, row: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of all actions, and what the critic sees."""
        job, running, whole = row[:, :_JOB], row[:, _JOB : _JOB + _RUN], row[:, _JOB + _RUN :]
        job = job.reshape(-1, WINDOW, len(OF_JOB))
        running = running.reshape(-1, RUNNING, len(OF_RUNNING))
        job_D, job_pooled = self._encoded("job", job)
        running_D, running_pooled = self._encoded("running", running)
        pooled = torch.cat([*job_pooled, *running_pooled, whole], -1)
        context = torch.relu(pooled @ self._of("context.1") + self._of("context.1.bias"))

        def judged(action: str, each: Tensor) -> Tensor:
            shared = context @ self._of(f"{action}.context") + self._of(f"{action}.bias")
            return (torch.relu(each + shared[:, None]) @ self._of(f"{action}.out"))[..., 0]

        logits = [
            judged("start", job_D @ self._of("start.job")),
            judged("wait", torch.zeros(len(row), 1, 1)),
            judged("kill", running_D @ self._of("kill.running")),
        ]
        return torch.cat(logits, -1), self.critic(pooled)

    def forward_actor(self, row: Tensor) -> Tensor:
        """The logits alone."""
        return self.forward(row)[0]

    def forward_critic(self, row: Tensor) -> Tensor:
        """What the critic sees alone."""
        return self.forward(row)[1]

    def _encoded(self, kind: str, rows: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        hidden = torch.relu(rows @ self._of(f"{kind}.1") + self._of(f"{kind}.1.bias"))
        hidden = torch.relu(hidden @ self._of(f"{kind}.2") + self._of(f"{kind}.2.bias"))
        there = rows[..., :1]
        hidden = hidden * there
        # rectified numbers are 0 or more, so rows that are not there are never the largest
        return hidden, (hidden.sum(1) / there.sum(1).clamp(min=1.0), hidden.amax(1))

    def _of(self, name: str) -> Tensor:
        return cast("Tensor", self.tensors[name.replace(".", "-")])


class Policy(MaskableActorCriticPolicy):
    """``Kernel`` as sb3-contrib wants it."""

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = Kernel()  # type: ignore[assignment]  # sb3 names its own class here

    def _build(self, lr_schedule: Callable[[float], float]) -> None:
        super()._build(lr_schedule)
        self.action_net = nn.Identity()  # the kernel's logits are those of the actions
        self.optimizer = torch.optim.Adam(self.parameters(), lr=lr_schedule(1), eps=1e-5)

    @property
    def kernel(self) -> Kernel:
        """The network."""
        return cast("Kernel", self.mlp_extractor)


def imitate(policy: Policy, sources: list[Source], plan: Plan) -> float:
    """Teach ``policy`` what the rule does, and its critic what comes of it; the last share of actions that agree."""
    rows, masks, actions, returns = _shown(sources, plan)
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3)
    rng = np.random.default_rng([plan.seed, 6])
    agree = 0.0
    for _ in range(plan.passes):
        order = torch.from_numpy(rng.permutation(len(rows)))
        right = 0
        for first in range(0, len(rows), 256):
            batch = order[first : first + 256]
            logits, seen = policy.kernel(rows[batch])
            legal = masks[batch]
            logits = logits.masked_fill(~legal, -1e9)
            log_p = torch.log_softmax(logits, -1)
            value = policy.value_net(seen)[:, 0]
            others = (log_p * legal).sum(-1) / legal.sum(-1)
            loss = 0.25 * nn.functional.huber_loss(value, returns[batch])
            if plan.start is None:
                loss = loss - (1 - _DOUBT) * log_p.gather(1, actions[batch, None]).mean() - _DOUBT * others.mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
            optimizer.step()
            right += int((logits.argmax(-1) == actions[batch]).sum())
        agree = right / len(rows)
    return agree


def _shown(sources: list[Source], plan: Plan) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """States, masks, actions and returns of all episodes under the rule; what each comes to is noted in its source."""
    rows: list[Floats32] = []
    masks: list[Bools] = []
    actions: list[int] = []
    returns: list[float] = []
    for source in sources:
        for number in range(source.count):
            kills = number % 2 == 1
            grown, first = [], len(rows)
            for row, mask, action, cost in _played(source, number, by_rule, kills=kills):
                grown.append(cost)
                if number >= plan.checked:
                    rows.append(row)
                    masks.append(mask)
                    actions.append(action)
            source.rule[number] = sum(grown)
            if len(rows) > first:
                returns += (-np.cumsum(grown[::-1])[::-1] / source.worth(number)).tolist()
    return (
        torch.from_numpy(np.array(rows)),
        torch.from_numpy(np.array(masks)),
        torch.from_numpy(np.array(actions)),
        torch.tensor(returns, dtype=torch.float32),
    )


def _played(
    source: Source, number: int, chooser: Callable[[State], int], *, kills: bool
) -> Iterator[tuple[Floats32, Bools, int, float]]:
    """Padded states, masks, actions and costs of an episode in which ``chooser`` chooses."""
    episode = Episode(source.begin(number, kills=kills), kills=kills)
    while episode.seen is not None:
        state = episode.seen.state()
        action = chooser(state)
        jobs = len(state.job_JF)
        row, mask = padded(state)
        yield row, mask, action if action < jobs else action - jobs + WINDOW, episode.choose(action)


class _Keeper(BaseCallback):
    """Checks the network now and then, and keeps the best."""

    def __init__(self, sources: list[Source], plan: Plan, tell: Callable[[Told], None]) -> None:
        super().__init__()
        self._sources, self._plan, self._tell = sources, plan, tell
        self._next = plan.check_every
        self.best, self.tensors = Told(0, np.inf), dict[str, Floats32]()
        self.told: list[Told] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= self._next:
            self._next += self._plan.check_every
            self.check(cast("Policy", self.model.policy), self.num_timesteps)

    def check(self, policy: Policy, steps: int) -> None:
        """Play the episodes that nobody learns from; the best network so far is kept."""
        from hpcsim.schedulers.rlschert.network import logits

        tensors = policy.kernel.arrays()

        def choose(state: State) -> int:
            return int(logits(tensors, state).argmax())

        shares = []
        for source in self._sources:
            numbers = range(min(self._plan.checked, source.count))
            mine = sum(cost for n in numbers for *_, cost in _played(source, n, choose, kills=n % 2 == 1))
            shares.append(mine / sum(source.worth(n) for n in numbers))
        now = Told(steps, float(np.mean(shares)))
        self.told.append(now)
        if now.score < self.best.score:
            self.best, self.tensors = now, tensors
        self._tell(now)
