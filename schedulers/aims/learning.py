"""How a network of AIMS learns: double Q-learning of a vector of values on a semi-Markov clock.

Rewards come late and what a single choice changes is small beside all else that happens. So there are two targets: the
reward until the next moment and the value of that, for which action was the better one, which has little noise; and the
rewards of an hour or more and the value behind them, for what the state is worth, which is learned soon.

References
----------
van Hasselt, Guez and Silver (2016), Deep reinforcement learning with double Q-learning. Schaul, Quan, Antonoglou and
Silver (2016), Prioritized experience replay. Hester et al. (2018), Deep Q-learning from demonstrations (the margin by
which what a rule chose is to be better). Bradtke and Duff (1995), Reinforcement learning methods for continuous-time
Markov decision problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from .choosing import surer
from .expert import by_rule
from .network import BELIEVED, Floats32, State
from .replay import Outcome, Replay, Step
from .shape import HEADS, MODES, OBJECTIVES

_OUT = (HEADS, len(OBJECTIVES))


class Recipe(NamedTuple):
    """How to learn.

    ``margin`` is by how much what the rule chose is to be better; ``doubt`` weighs the squares of what is added to
    beliefs, so that chance teaches little. ``anchor`` and ``aversion`` are those by which actions will be chosen. The
    other booleans are for ablations: what is worth how much.
    """

    batch: int = 128
    rate: float = 3e-4
    last_rate: float = 3e-5  # in the end, so that the network settles
    decay: float = 1e-5
    longest: float = 10.0  # gradient
    follow: float = 0.01  # of what the target network differs by, at each update
    kappa: float = 1.0
    margin: float = 0.05
    doubt: float = 0.05
    beta: float = 0.4  # of importance weights, to begin with; it goes to 1
    anchor: bool = True
    aversion: float = 1.0
    dueling: bool = True
    double: bool = True


class Told(NamedTuple):
    """An update in numbers: the loss of values, that of imitation, and the mean value of what was chosen."""

    loss: float
    imitation: float
    value: float


class Flat(NamedTuple):
    """B states as flat tensors: all jobs of all states, and all legal actions of all states, those of a state together.

    Of each action: its state, its mode or way to rest, the row of its job (-1: it is to rest), what is believed of it,
    its weights; of each state what is believed of it.
    """

    job_JF: torch.Tensor
    state_J: torch.Tensor
    all_BG: torch.Tensor
    state_A: torch.Tensor
    mode_A: torch.Tensor
    job_A: torch.Tensor
    believed_AO: torch.Tensor
    ahead_BO: torch.Tensor
    weights_AO: torch.Tensor
    first_B: npt.NDArray[np.int64]


def flat(states: Sequence[State], kappa: float) -> Flat:
    """States of different numbers of jobs as one batch, without padding."""
    jobs = np.array([len(state.job_JF) for state in states])
    before = np.concatenate([[0], np.cumsum(jobs)[:-1]])
    legal = [np.flatnonzero(state.legal_A) for state in states]
    count = np.array([len(each) for each in legal])
    place, of_state = np.concatenate(legal), np.repeat(np.arange(len(states)), count)
    of_jobs = place < jobs[of_state] * len(MODES)
    mode = np.where(of_jobs, place % len(MODES), place - jobs[of_state] * len(MODES))
    job = np.where(of_jobs, before[of_state] + place // len(MODES), -1)
    job_JF = np.concatenate([state.job_JF for state in states]).astype(np.float32)
    all_BG = np.stack([state.all_G for state in states]).astype(np.float32)
    weights_BO, state_J = all_BG[:, -len(OBJECTIVES) :], np.repeat(np.arange(len(states)), jobs)
    of_job_JO = surer(weights_BO[state_J], job_JF, kappa)
    weights_AO = np.where(of_jobs[:, None], np.append(of_job_JO, weights_BO[:1], 0)[job], weights_BO[of_state])
    believed_AO = np.zeros((len(job), len(OBJECTIVES)), np.float32)
    believed_AO[of_jobs] = np.concatenate([state.believed_JMO for state in states])[job[of_jobs], mode[of_jobs]]
    return Flat(
        torch.from_numpy(job_JF), torch.from_numpy(state_J), torch.from_numpy(all_BG), torch.from_numpy(of_state),
        torch.from_numpy(mode), torch.from_numpy(job), torch.from_numpy(believed_AO),
        torch.from_numpy(np.stack([state.ahead_O for state in states])),
        torch.from_numpy(weights_AO.astype(np.float32)), np.concatenate([[0], np.cumsum(count)[:-1]]),
    )  # fmt: skip


class Values(NamedTuple):
    """Of all legal actions, ``(A, heads, objectives)``: what they are worth, and what of that is their state's.

    ``learned_AHO`` is what of the actions is not believed but learned, before its mean is taken away.
    """

    q_AHO: torch.Tensor
    of_state_AHO: torch.Tensor
    learned_AHO: torch.Tensor


def values(tensors: dict[str, torch.Tensor], batch: Flat, *, dueling: bool) -> Values:
    """What ``network.values`` says of each state; without ``dueling`` nothing of it is the state's."""
    states, width = len(batch.all_BG), tensors["job.2"].shape[1]
    whole = torch.relu(batch.all_BG @ tensors["all.1"] + tensors["all.1.bias"])
    hidden = batch.job_JF @ tensors["job.1"] + tensors["job.1.bias"]
    hidden = functional.layer_norm(hidden, (width,), tensors["job.norm"], tensors["job.norm.bias"], 1e-5)
    seen = torch.relu(torch.relu(hidden) @ tensors["job.2"] + tensors["job.2.bias"])
    counts = torch.bincount(batch.state_J, minlength=states).clamp(min=1).unsqueeze(1)
    nothing = seen.new_zeros((states, width))
    mean = nothing.index_add(0, batch.state_J, seen) / counts
    most = nothing.scatter_reduce(
        0, batch.state_J.unsqueeze(1).expand_as(seen), seen, "amax"
    )  # rectified: none is below 0
    context = torch.relu(torch.cat([mean, most, whole], 1) @ tensors["context.1"] + tensors["context.1.bias"])
    context = torch.relu(context @ tensors["context.2"] + tensors["context.2.bias"])
    rests = batch.job_A < 0
    of_job = (seen @ tensors["action.job"])[batch.job_A[~rests]]
    of_job = of_job + (context @ tensors["action.context"])[batch.state_A[~rests]]
    of_job = of_job + BELIEVED * batch.believed_AO[~rests] @ tensors["action.believed"]
    of_job = torch.relu(of_job + tensors["action.mode"][batch.mode_A[~rests]])
    of_rest = (context @ tensors["rest.context"])[batch.state_A[rests]] + tensors["rest.mode"][batch.mode_A[rests]]
    features = of_job.new_empty((len(rests), of_job.shape[1]))
    features = features.index_copy(0, (~rests).nonzero()[:, 0], of_job)
    features = features.index_copy(0, rests.nonzero()[:, 0], torch.relu(of_rest))
    learned = features @ tensors["advantage"]
    believed = batch.believed_AO.repeat(1, HEADS)
    if dueling:
        legal = torch.bincount(batch.state_A, minlength=states).unsqueeze(1)
        average = learned.new_zeros((states, learned.shape[1])).index_add(0, batch.state_A, learned) / legal
        value = torch.relu(context @ tensors["value.1"] + tensors["value.1.bias"]) @ tensors["value.2"]
        of_state = (value + tensors["value.2.bias"] + batch.ahead_BO.repeat(1, HEADS))[batch.state_A]
        q = learned - average[batch.state_A] + believed + of_state
    else:
        q, of_state = learned + believed, torch.zeros_like(learned)
    return Values(q.reshape(-1, *_OUT), of_state.reshape(-1, *_OUT), learned.reshape(-1, *_OUT))


def weighed(q_AHO: torch.Tensor, batch: Flat) -> torch.Tensor:
    """The mean over the heads of the weighed values, one number for each action."""
    return (q_AHO.mean(1) * batch.weights_AO).sum(1)


def lead(q_AHO: torch.Tensor, batch: Flat, usual_B: torch.Tensor, aversion: float) -> torch.Tensor:
    """By how much each action is better than the usual one of its state, less ``aversion`` deviations of the heads.

    To rest where the usual one is a start is never better: how good it is to hold nodes back is learned too badly for
    states to be valued by it.
    """
    scalar_AH = (q_AHO * batch.weights_AO.unsqueeze(1)).sum(2)
    beyond_AH = scalar_AH - scalar_AH[usual_B][batch.state_A]
    found_A = beyond_AH.mean(1) - aversion * beyond_AH.std(1, correction=0)
    holds_A = (batch.job_A < 0) & (batch.job_A[usual_B][batch.state_A] >= 0)
    return found_A.masked_fill(holds_A, -torch.inf)


def best_of_each(scalar_A: torch.Tensor, batch: Flat) -> torch.Tensor:
    """The place of the best action of each state; the first of equals."""
    states = len(batch.all_BG)
    highest = scalar_A.new_full((states,), -torch.inf).scatter_reduce(0, batch.state_A, scalar_A, "amax")
    place = torch.arange(len(scalar_A))
    found = torch.full((states,), len(scalar_A))
    is_best = scalar_A == highest[batch.state_A]
    return found.scatter_reduce(0, batch.state_A[is_best], place[is_best], "amin")


class Learner:
    """A network that learns from a replay. ``tensors`` are its weights now; ``updates`` counts the steps of AdamW."""

    def __init__(self, tensors: dict[str, Floats32], recipe: Recipe) -> None:
        self.recipe = recipe
        self.tensors = {name: torch.from_numpy(value.copy()).requires_grad_() for name, value in tensors.items()}
        self.target = {name: value.detach().clone() for name, value in self.tensors.items()}
        self.optimizer = torch.optim.AdamW(self.tensors.values(), lr=recipe.rate, weight_decay=recipe.decay)
        self.updates = 0

    def begin_at(self, steps: Sequence[Step]) -> None:
        """Have all values begin where these steps have them in the mean, beyond what is believed."""
        beyond = [step.far.reward_O + step.far.discount * step.far.later.ahead_O - step.state.ahead_O for step in steps]
        forgotten = 1.0 - np.mean([step.far.discount for step in steps])
        bias = torch.from_numpy(np.tile(np.mean(beyond, 0) / forgotten, HEADS).astype(np.float32))
        for tensors in (self.tensors, self.target):
            tensors["value.2.bias"].data.copy_(bias)

    def arrays(self) -> dict[str, Floats32]:
        """The weights as numpy arrays; copies."""
        return {name: value.detach().numpy().copy() for name, value in self.tensors.items()}

    def update(self, replays: Sequence[Replay], progress: float, imitate: float) -> Told:
        """One step on a batch, of which each replay gives an equal part.

        ``progress`` from 0 to 1 moves beta, ``imitate`` weighs the margin of the rule.
        """
        recipe = self.recipe
        beta = recipe.beta + (1.0 - recipe.beta) * progress
        drawn = [replay.sample(recipe.batch // len(replays), beta) for replay in replays]
        steps = [step for each in drawn for step in each[0]]
        importance, masks = (np.concatenate([each[place] for each in drawn]) for place in (2, 3))
        now = flat([step.state for step in steps], recipe.kappa)
        wanted_near, wanted_far = (
            self._wanted(each) for each in zip(*[(step.near, step.far) for step in steps], strict=True)
        )
        found = values(self.tensors, now, dueling=recipe.dueling)
        q = found.q_AHO
        chosen_A = torch.from_numpy(now.first_B + [_rank(step.state, step.action) for step in steps])
        chosen = q[chosen_A]
        over_long = chosen
        if recipe.dueling:  # what an action is better or worse by is not learned from what has so much noise
            of_state = found.of_state_AHO[chosen_A]
            over_long = of_state + (chosen - of_state).detach()
        counts_BO = now.all_BG[:, -len(OBJECTIVES) :] > 0.0  # an objective that decides nothing teaches nothing
        mask = torch.from_numpy(masks * importance[:, None]).unsqueeze(2) * counts_BO.unsqueeze(1)
        near = functional.smooth_l1_loss(chosen, wanted_near, reduction="none")
        far = functional.smooth_l1_loss(over_long, wanted_far, reduction="none")
        loss = ((near + far) * mask).mean()
        if recipe.dueling:  # else the same numbers have to say what the state is worth
            loss = loss + recipe.doubt * found.learned_AHO.square().mean()
        scalar = weighed(q, now)
        margin = torch.full_like(scalar, recipe.margin)
        margin[chosen_A] = 0.0
        most = scalar.new_full((len(steps),), -torch.inf).scatter_reduce(0, now.state_A, scalar + margin, "amax")
        of_rule = torch.tensor([step.of_rule for step in steps], dtype=torch.float32)
        imitation = ((most - scalar[chosen_A]) * of_rule).sum() / of_rule.sum().clamp(min=1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.rate + (recipe.last_rate - recipe.rate) * progress
        self.optimizer.zero_grad()
        (loss + imitate * imitation).backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        torch.nn.utils.clip_grad_norm_(self.tensors.values(), recipe.longest)
        self.optimizer.step()
        self.updates += 1
        with torch.no_grad():
            for name, value in self.tensors.items():
                self.target[name].lerp_(value, recipe.follow)
            error = ((chosen - wanted_near).mean(1) * now.weights_AO[chosen_A]).sum(1).numpy()
        for replay, (_, place, _, _), part in zip(replays, drawn, np.split(error, len(replays)), strict=True):
            replay.surprised(place, part)
        return Told(float(loss.detach()), float(imitation.detach()), float(scalar[chosen_A].detach().mean()))

    def _wanted(self, outcomes: Sequence[Outcome]) -> torch.Tensor:
        """What choices with these outcomes are worth, ``(B, heads, objectives)``.

        The best action behind them is chosen by this network and judged by the target network (double), or both by the
        latter. It is chosen as it will be in runs: of many actions whose values are unsure one always looks good, so by
        the plain maximum states with many waiting jobs would be overrated.
        """
        recipe = self.recipe
        later = flat([outcome.later for outcome in outcomes], recipe.kappa)
        with torch.no_grad():
            judged = values(self.target, later, dueling=recipe.dueling).q_AHO
            judge = values(self.tensors, later, dueling=recipe.dueling).q_AHO if recipe.double else judged
            worth = weighed(judge, later)
            if recipe.anchor:
                usual = [_rank(outcome.later, by_rule(outcome.later)) for outcome in outcomes]
                worth = lead(judge, later, torch.from_numpy(later.first_B + usual), recipe.aversion)
            best = judged[best_of_each(worth, later)]
            reward = torch.from_numpy(np.stack([outcome.reward_O for outcome in outcomes]))
            discount = torch.tensor([outcome.discount for outcome in outcomes])
            return reward.unsqueeze(1) + discount[:, None, None] * best


def _rank(state: State, action: int) -> int:
    """Which of the legal actions, in their order, the action in that place is."""
    return int(np.count_nonzero(state.legal_A[:action]))
