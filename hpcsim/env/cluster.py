"""``hpcsim/Cluster-v0``: a learner chooses which waiting job comes next, on the engine that runs every scheduler.

References
----------
Zhang, Dai, He, Bao and Xie (2020), RLScheduler: an automated HPC batch job scheduler using reinforcement learning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box, Discrete, Space

from hpcsim.engine.attempts import REJECTED
from hpcsim.engine.decisions import Start
from hpcsim.engine.room import Room
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.view import View
from hpcsim.env.backfill import backfilled
from hpcsim.env.episodes import Episodes
from hpcsim.env.observation import FEATURES, Floats32, Observer
from hpcsim.env.reward import Ended, Reward, RewardName
from hpcsim.errors import InputError
from hpcsim.schedulers.orders import OrderName
from hpcsim.workload.job import Job

Unfitting = Literal["reserve", "head", "mask"]
Step = tuple[Floats32, float, bool, bool, dict[str, Any]]

SCENARIO: Mapping[str, Any] = MappingProxyType({"base": "bare", "name": "cluster-v0", "profile": "polaris-nodebug"})
"""The scenario of an environment that is given none: a synthetic month of Polaris on counted nodes."""


class ClusterEnv(gymnasium.Env[Floats32, np.int64]):
    """Choose the next job of the queue, or wait; docs/environment.md says all of it.

    Parameters
    ----------
    scenario, overrides, plugins : as for ``hpcsim.simulate``. The scenario's jobs are the pool that episodes are cut
        out of; its scheduler matters for ``warm_up`` only.
    jobs : of an episode.
    warm_up : so many jobs before them are seen to by the scenario's scheduler, so that the machine is not empty.
    window : how many waiting jobs are shown, the first of the queue.
    unfitting : what becomes of a chosen job that does not fit now. ``reserve``: it is started as soon as it fits, and
        nothing else is asked until then. ``head``: it is reserved until something happens; then the choice is free
        again. ``mask``: it cannot be chosen.
    backfill : the order in which other jobs may start while a chosen job is waited for, if they do not delay it by the
        rule of ``easy``; None: none may.
    may_wait : whether to wait can be chosen where there is a job to choose.
    reward : the metric of the episode, see ``hpcsim.env.reward``.
    dense : whether jobs are paid for when they end, instead of all at the end of the episode; the sum is the same.
    render_mode : ``ansi`` or None.

    ``shown`` are the jobs in the rows of the last observation. Nothing is read before the first ``reset``. Raises
    InputError where an option, the scenario or its jobs are wrong.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012  as Gymnasium declares it

    def __init__(
        self,
        scenario: str | Path | Mapping[str, Any] = SCENARIO,
        overrides: Mapping[str, Any] | Sequence[str] = (),
        *,
        plugins: Sequence[str | Path] = (),
        jobs: int = 256,
        warm_up: int = 0,
        window: int = 128,
        unfitting: Unfitting = "reserve",
        backfill: OrderName | None = None,
        may_wait: bool = True,
        reward: RewardName = "bounded-slowdown",
        dense: bool = False,
        render_mode: str | None = None,
    ) -> None:
        for name, value, least in (("jobs", jobs, 1), ("warm_up", warm_up, 0), ("window", window, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"{name}: found {value!r}, expected a whole number of at least {least}")
        _refuse_unknown("unfitting", unfitting, get_args(Unfitting))
        _refuse_unknown("backfill", backfill, (None, *get_args(OrderName)))
        _refuse_unknown("render_mode", render_mode, (None, *self.metadata["render_modes"]))
        if backfill is not None and unfitting == "mask":
            raise InputError(f"backfill: found {backfill!r}, but no job is waited for where unfitting is 'mask'")
        self._scenario, self._overrides, self._plugins = scenario, overrides, plugins
        self._size, self._warm_up, self._window = jobs, warm_up, window
        self._unfitting, self._order, self._may_wait = unfitting, backfill, may_wait
        self._reward = Reward(reward, dense=dense)
        self.render_mode = render_mode
        self.observation_space: Space[Floats32] = Box(0.0, 1.0, (window * len(FEATURES),), np.float32)
        self.action_space: Space[np.int64] = Discrete(window + 1)
        self._episodes: Episodes | None = None
        self._simulation: Simulation | None = None
        self._view: View | None = None
        self.shown: Sequence[Job] = ()

    # -- Gymnasium ----------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats32, dict[str, Any]]:
        """Begin an episode, drawn by ``seed``; ``options={"start": k}`` begins it with job ``k`` of the pool."""
        super().reset(seed=seed)
        episodes = self._episodes or self._load()
        first, luck = int(self.np_random.integers(episodes.count)), int(self.np_random.integers(2**63))
        for option, value in (options or {}).items():
            _refuse_unknown("options", option, ("start",))
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < episodes.count:
                raise InputError(f"options: start: found {value!r}, expected a number below {episodes.count}")
            first = value
        self._simulation = simulation = episodes.begin(first, luck)
        self._submit = simulation.workload.column("submit_s").tolist()
        self._state_J = np.frombuffer(simulation.state, np.uint8)  # a window on it: it changes by itself
        self._open_J = np.ones(len(self._submit), bool)  # not known to have ended
        self._counts_J = np.ones(len(self._submit), bool)
        self._row: dict[int, int] = {}  # of each job's last attempt
        self._rows = self._over = 0  # attempts seen, and those of them that have ended
        self._observer.begin(first)
        self._reward.begin(1)
        self._see_ends(simulation)
        self._counts_J[list(self._row)] = False  # the scenario's scheduler has started them
        self._reward.begin(int(self._counts_J.sum()))
        self._view = self._next_choice(simulation, simulation.advance())
        observation, info = self._ask()
        return observation, info | {"start": first}

    def step(self, action: np.int64 | int) -> Step:
        """Do ``action``: start or reserve the job in that row of the observation, or wait for the next event.

        An action that is masked out changes nothing, and ``info["invalid_action"]`` says so.
        """
        simulation, view = self._simulation, self._view
        if simulation is None or view is None:
            raise gymnasium.error.ResetNeeded("the episode is over, or none has begun: call reset()")
        if not 0 <= action <= self._window:
            raise gymnasium.error.InvalidAction(f"found action {action!r}, expected 0 to {self._window}")
        if not self._mask[action]:
            observation, info = self._ask()
            return observation, 0.0, False, False, info | {"invalid_action": True}
        waits = action == self._window
        after = simulation.advance() if waits else self._choose(simulation, view, self.shown[int(action)])
        self._view = self._next_choice(simulation, after)
        self._see_ends(simulation)
        is_over = self._view is None
        reward = self._reward.pay(simulation, is_over=is_over)
        observation, info = self._ask()
        if is_over:
            info |= self._reward.summary(simulation)
        return observation, reward, is_over, False, info

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Which actions can be taken now, window + 1 of them; the name is sb3-contrib's."""
        return self._mask.copy()

    def render(self) -> str | None:
        """The machine and the first ten jobs of the queue as text, in the mode ``ansi``."""
        simulation = self._simulation
        if self.render_mode is None or simulation is None:
            return None
        lines = [
            f"t={simulation.now} s: {simulation.free_nodes} of {simulation.nodes} nodes are free, "
            f"{len(simulation.running)} jobs run, {len(simulation.queue)} wait"
        ]
        if self.shown:
            lines.append(f"{'':>4} {'job':>12} {'nodes':>7} {'walltime s':>10} {'waited s':>10}")
        for row, job in enumerate(self.shown[:10]):
            fits = "  fits" if self._fits_W[row] else ""
            waited = simulation.now - job.submit
            lines.append(f"{row:4} {job.name:>12.12} {job.nodes:7} {job.walltime:10} {waited:10}{fits}")
        return "\n".join(lines) + "\n"

    def close(self) -> None:
        """Let go of the simulation and of the jobs."""
        self._episodes = self._simulation = self._view = None

    # -- what a learner's author may look at --------------------------------------------------

    @property
    def simulation(self) -> Simulation:
        """The simulation of this episode. Raises gymnasium.error.ResetNeeded before the first."""
        if self._simulation is None:
            raise gymnasium.error.ResetNeeded("no episode has begun: call reset()")
        return self._simulation

    # -- an action ----------------------------------------------------------------------------

    def _load(self) -> Episodes:
        episodes = Episodes(self._scenario, self._overrides, self._plugins, jobs=self._size, warm_up=self._warm_up)
        if self._reward.name == "energy" and not episodes.has_physics:
            raise InputError("reward: found 'energy', but this scenario only counts nodes; give it physics")
        self._observer = Observer(episodes.pool, episodes.nodes, self._window)
        self._episodes = episodes
        return episodes

    def _choose(self, simulation: Simulation, view: View, job: Job) -> View | None:
        """Start ``job``, or wait for it as long as the option says; the pass that is open then."""
        room, why = view.room(), "chosen"
        while not room.take(job):
            if self._order is not None:
                simulation.decide(backfilled(view, room, job, self._order))
            after = simulation.advance()
            if after is None or self._unfitting == "head" or job.id not in simulation.queue:
                return after  # in the last case the queue rules have turned it away
            view, room, why = after, after.room(), "chosen, and now it fits"
        simulation.decide([Start(job, why)])
        return view

    def _next_choice(self, simulation: Simulation, view: View | None) -> View | None:
        """The next pass in which there is a job to choose, from ``view`` on; None when the episode is over."""
        while view is not None and not self._can_choose(view):
            view = simulation.advance()
        return view

    def _can_choose(self, view: View) -> bool:
        """Look at the first jobs of the queue; whether there is one to choose."""
        self.shown = jobs = view.queue[: self._window]
        self._room = room = view.room()
        if type(room) is Room:
            free = room.free
            fits = [job.nodes <= free for job in jobs]
        else:  # a room of its own for each: what is taken is not given back
            fits = [job.nodes <= room.reach and view.room().take(job) for job in jobs]
        self._fits_W = np.array(fits, bool)
        return bool(jobs) if self._unfitting != "mask" else True in fits

    def _ask(self) -> tuple[Floats32, dict[str, Any]]:
        """The observation, the mask of actions and the rest of ``info``."""
        simulation, view, count = self.simulation, self._view, len(self.shown)
        self._mask = mask = np.zeros(self._window + 1, bool)
        if view is None:
            self.shown = ()
            mask[-1] = True  # of an episode that is over; some libraries cannot do with none
            observation = np.zeros(self.observation_space.shape or (), np.float32)
        else:
            mask[:count] = self._fits_W if self._unfitting == "mask" else True
            mask[-1] = self._may_wait and self._something_comes(simulation)
            observation = self._observer.observe(view, self._room, self.shown, self._fits_W)
        return observation, {
            "action_mask": mask.copy(),
            "now_s": simulation.now,
            "waiting": len(simulation.queue),
        }

    def _something_comes(self, simulation: Simulation) -> bool:
        """Whether time goes on if nothing is started: always so where nothing can be."""
        comes = bool(simulation.running) or simulation.submitted < len(simulation.workload)
        return comes or not self._fits_W.any()

    def _see_ends(self, simulation: Simulation) -> None:
        """Tell the observer and the reward of the jobs that have ended since the last step."""
        attempts = simulation.attempts
        for row in range(self._rows, len(attempts)):
            self._row[attempts.row(row)[0]] = row
        self._rows = len(attempts)
        over = self._rows - len(simulation.running)
        if over == self._over:
            return
        self._over = over
        for job_id in np.flatnonzero(self._open_J & (self._state_J <= REJECTED)).tolist():
            self._open_J[job_id] = False
            row = self._row.get(job_id, -1)
            if row < 0:
                continue  # rejected
            _, _, start, end, _, _ = attempts.row(row)
            job = Ended(job_id, self._submit[job_id], start, end)
            self._observer.ended(job_id, job.end - job.start)
            if self._counts_J[job_id]:
                self._reward.add(job)


def _refuse_unknown(option: str, found: object, known: Sequence[object]) -> None:
    if found not in known:
        raise InputError(f"{option}: found {found!r}, expected one of {', '.join(map(repr, known))}")
