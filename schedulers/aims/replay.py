"""Prioritised experience replay: what surprised more is learned from more often.

Reference: Schaul, Quan, Antonoglou and Silver (2016), Prioritized experience replay.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from .network import Floats32, State
from .shape import HEADS

Int64s = npt.NDArray[np.int64]

EPSILON: Final = 1e-3  # added to errors, so that nothing is never seen again


class Outcome(NamedTuple):
    """What the objectives were paid until a later state, and the discount that applies to what that is worth."""

    reward_O: Floats32
    discount: float
    later: State


class Step(NamedTuple):
    """A choice and what came of it: until the next moment with choices, and over a longer time.

    ``action`` is its place in ``state.legal_A``. ``of_rule`` says that a rule chose it, to be imitated.
    """

    state: State
    action: int
    near: Outcome
    far: Outcome
    of_rule: bool

    def scaled(self, usual_O: npt.NDArray[np.float64]) -> Step:
        """The same with rewards as multiples of ``usual_O``."""
        near, far = (
            outcome._replace(reward_O=(outcome.reward_O / usual_O).astype(np.float32))
            for outcome in (self.near, self.far)
        )
        return self._replace(near=near, far=far)


class Replay:
    """The last ``capacity`` ``steps``; ``alpha`` 0 makes all of them equally likely."""

    def __init__(self, capacity: int, alpha: float, rng: np.random.Generator) -> None:
        self.capacity, self._alpha, self._rng = capacity, alpha, rng
        self._leaves = 1 << (capacity - 1).bit_length()
        self._tree = np.zeros(2 * self._leaves)
        self.steps: list[Step] = []
        self._masks = np.zeros((capacity, HEADS), np.float32)
        self._next = 0
        self._highest = 1.0

    def __len__(self) -> int:
        return len(self.steps)

    def add(self, step: Step) -> None:
        """Remember a step, as likely as the most surprising one so far; each head learns from four of five."""
        if len(self.steps) < self.capacity:
            self.steps.append(step)
        else:
            self.steps[self._next] = step
        self._masks[self._next] = self._rng.random(HEADS) < 0.8
        self._set(np.array([self._next]), np.array([self._highest]))
        self._next = (self._next + 1) % self.capacity

    def sample(self, size: int, beta: float) -> tuple[list[Step], Int64s, Floats32, Floats32]:
        """``size`` steps, their places, their importance weights (at most 1), and which heads learn from them."""
        total = self._tree[1]
        wanted = (np.arange(size) + self._rng.random(size)) * (total / size)
        place = np.ones(size, np.int64)
        while place[0] < self._leaves:
            place = 2 * place
            left = self._tree[place]
            right = wanted >= left
            wanted = np.where(right, wanted - left, wanted)
            place += right
        place = np.minimum(place - self._leaves, len(self.steps) - 1)
        probability = self._tree[place + self._leaves] / total
        weight = (len(self.steps) * np.maximum(probability, 1e-12)) ** -beta
        return [self.steps[k] for k in place], place, (weight / weight.max()).astype(np.float32), self._masks[place]

    def surprised(self, place: Int64s, error: npt.NDArray[np.floating[Any]]) -> None:
        """The steps in these places now have these errors."""
        priority = (np.abs(error) + EPSILON) ** self._alpha
        self._highest = max(self._highest, float(priority.max()))
        self._set(place, priority)

    def _set(self, place: Int64s, priority: npt.NDArray[np.floating[Any]]) -> None:
        node = place + self._leaves
        self._tree[node] = priority
        while node[0] > 1:
            node = np.unique(node // 2)
            self._tree[node] = self._tree[2 * node] + self._tree[2 * node + 1]

    # -- stopping and going on --------------------------------------------------------------------

    def as_arrays(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """All of it as arrays by name, each state once, and the rest as plain data; where it is empty no arrays."""
        plain = {"next": self._next, "highest": self._highest, "rng": self._rng.bit_generator.state}
        if not self.steps:
            return {}, plain
        states: dict[int, tuple[int, State]] = {}
        for step in self.steps:
            for state in (step.state, step.near.later, step.far.later):
                states.setdefault(id(state), (len(states), state))
        every = [state for _, state in states.values()]
        arrays = {
            "job_JF": np.concatenate([state.job_JF for state in every]),
            "jobs_S": np.array([len(state.job_JF) for state in every]),
            "all_SG": np.stack([state.all_G for state in every]),
            "believed_JMO": np.concatenate([state.believed_JMO for state in every]),
            "ahead_SO": np.stack([state.ahead_O for state in every]),
            "legal_JM": np.concatenate([state.legal_JM for state in every]).astype(np.uint8),
            "legal_SR": np.stack([state.legal_R for state in every]).astype(np.uint8),
            "state": np.array([states[id(step.state)][0] for step in self.steps]),
            "action": np.array([step.action for step in self.steps]),
            "later": np.array([[states[id(each.later)][0] for each in step[2:4]] for step in self.steps]),
            "reward": np.array([[each.reward_O for each in step[2:4]] for step in self.steps]),
            "discount": np.array([[each.discount for each in step[2:4]] for step in self.steps]),
            "of_rule": np.array([step.of_rule for step in self.steps]).astype(np.uint8),
            "masks": self._masks, "priority": self._tree[self._leaves :],
        }  # fmt: skip
        return arrays, plain

    def restore(self, arrays: dict[str, npt.NDArray[Any]], plain: dict[str, Any]) -> None:
        """Put back what ``as_arrays`` gave. Raises KeyError or ValueError where it is something else."""
        self._next, self._highest = int(plain["next"]), float(plain["highest"])
        self._rng.bit_generator.state = plain["rng"]
        if not arrays:
            return
        ends = np.cumsum(arrays["jobs_S"])[:-1]
        parts = zip(
            np.split(arrays["job_JF"], ends), arrays["all_SG"], np.split(arrays["believed_JMO"], ends),
            arrays["ahead_SO"], np.split(arrays["legal_JM"].astype(bool), ends), arrays["legal_SR"].astype(bool),
            strict=True,
        )  # fmt: skip
        every = [State(*part) for part in parts]
        columns = (arrays[name] for name in ("state", "action", "reward", "discount", "later", "of_rule"))
        self.steps = []
        for state, action, rewards, discounts, laters, of_rule in zip(*columns, strict=True):
            outcomes = zip(rewards, discounts.tolist(), laters.tolist(), strict=True)
            near, far = (Outcome(reward, discount, every[later]) for reward, discount, later in outcomes)
            self.steps.append(Step(every[state], int(action), near, far, bool(of_rule)))
        self._masks = arrays["masks"].copy()
        self._tree[:] = 0.0
        self._tree[self._leaves :] = arrays["priority"]
        for node in range(self._leaves - 1, 0, -1):
            self._tree[node] = self._tree[2 * node] + self._tree[2 * node + 1]
