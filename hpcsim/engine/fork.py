"""Copies of a simulation: one that goes on as it does, and one that knows no more than its scheduler."""

from __future__ import annotations

import copy
from array import array
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcsim.engine.view import View
from hpcsim.errors import SchedulerError
from hpcsim.workload.job import COMPLETED

if TYPE_CHECKING:
    from hpcsim.engine.simulation import Simulation

# What of a simulation changes and is copied for a fork as it is: columns and dictionaries of what does not change.
_COPIED = (
    "special", "held", "running", "chosen", "state", "rejected", "rejected_late", "eligible", "held_by",
    "dependencies", "arrivals", "releases", "ledger", "attempts", "decided",
)  # fmt: skip


def fork(simulation: Simulation) -> Simulation:
    """See ``Simulation.fork``."""
    twin, memo = _twin(simulation)
    twin.scheduler_rng = copy.deepcopy(simulation.scheduler_rng, memo)
    twin.scheduler = _copied(simulation.scheduler, memo)
    twin.twins = {question: _copied(plugin, memo) for question, plugin in simulation.twins.items()}
    twin.learning = [plugin for plugin in twin.twins.values() if hasattr(plugin, "ended")]
    if twin.site is not None and simulation.site is not None:
        twin.site.sense_as(simulation.site)
    twin.agenda.go_on()
    return twin


def believed(simulation: Simulation, runtime_s: Mapping[int, int], beta: float) -> Simulation:
    """A fork that knows nothing but what the scheduler can, with the pass open that it is in: see ``what_if``.

    ``runtime_s`` is how long each job that has not ended is believed to run in all; ``beta`` how far the others, which
    have not started, follow the clock.
    """
    twin, _ = _twin(simulation)
    failures_seed, policy_seed = simulation.scheduler_rng.integers(2**63, size=2).tolist()
    twin.scheduler_rng = np.random.default_rng(policy_seed)
    twin.learning, twin.closed_loop, twin.is_belief = [], None, True
    twin.arrivals.stop()
    twin._outcome = bytes([COMPLETED]) * len(simulation.state)
    twin._runtime = simulation._runtime[:]
    for job_id, seconds in runtime_s.items():
        twin._runtime[job_id] = seconds
    if twin.site is not None:
        twin.site.believe(simulation.now, runtime_s, failures_seed, beta)
        twin.agenda.forget_site()
    for job_id, (_, generation, row) in twin.agenda.ends.items():
        if twin.site is None:
            end = max(twin.running[job_id].start + runtime_s[job_id], simulation.now + 1)
        else:
            end = twin.site.cluster.executions[job_id].end
        twin.agenda.ends[job_id] = end, generation, row
    twin.agenda.go_on()
    twin._pass_is_open = True
    return twin


def _twin(simulation: Simulation) -> tuple[Simulation, dict[int, Any]]:
    """A fork without plug-ins of its own, to which nothing happens yet; and what was copied, for ``deepcopy``."""
    twin = copy.copy(simulation)
    memo: dict[int, Any] = {id(simulation): twin}
    for name in _COPIED:
        setattr(twin, name, copy.copy(getattr(simulation, name)))
    twin.queue = copy.deepcopy(simulation.queue, memo)
    twin.pass_seconds = array("d")
    twin._decided = simulation._decided.copy()
    twin.observers = None
    twin.site, twin.centre = copy.deepcopy(simulation.site, memo), copy.deepcopy(simulation.centre, memo)
    twin.pools = copy.deepcopy(simulation.pools, memo)
    twin.closed_loop = copy.deepcopy(simulation.closed_loop, memo)
    if simulation.sharing is not None and twin.site is not None and twin.site.cluster.shares is not None:
        twin.sharing = simulation.sharing.in_fork(twin.site.cluster.shares)
    twin.agenda, twin._view = simulation.agenda.in_fork(twin), View(twin)
    memo[id(simulation._view)], memo[id(simulation.workload)] = twin._view, simulation.workload
    if twin.site is not None:
        twin.site.attach(twin)
    if twin.centre is not None:
        twin.centre.attach(twin)
    return twin, memo


def _copied(plugin: Any, memo: dict[int, Any]) -> Any:
    """A scheduler or twin for a fork."""
    try:
        return copy.deepcopy(plugin, memo)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise SchedulerError(f"{plugin.name} cannot be copied for a fork: {what}; give it a __deepcopy__") from error
