"""Episodes of an environment: so many jobs in a row of a scenario's, on a machine that begins empty."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hpcsim.engine.decisions import Decision
from hpcsim.engine.scheduler import Scheduler
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.view import View
from hpcsim.errors import InputError
from hpcsim.plugin.loader import load_plugins
from hpcsim.scenario import build, parts
from hpcsim.scenario.load import load_scenario
from hpcsim.scenario.needs import refuse_lacking
from hpcsim.workload.job import Workload


class Episodes:
    """The simulations that a scenario offers.

    ``pool`` are its jobs, those of its window if it has one. An episode is ``jobs`` of them in a row, after ``warm_up``
    others that the scenario's own scheduler has seen to.
    """

    def __init__(
        self,
        scenario: str | Path | Mapping[str, Any],
        overrides: Mapping[str, Any] | Sequence[str],
        plugins: Sequence[str | Path],
        *,
        jobs: int,
        warm_up: int,
    ) -> None:
        self._plugins = found = load_plugins([Path(file) for file in plugins])
        self._loaded = load_scenario(
            scenario, overrides, schedulers=found.schedulers, twins=found.twins, parts=found.offers
        )
        if self._loaded.scenario.until is not None:
            raise InputError(f"{self._loaded.place('until')}: until: an episode ends with its last job, leave it out")
        if self._loaded.scenario.levers is not None:
            raise InputError(
                f"{self._loaded.place('levers')}: levers: they are around a scheduler, and here none decides"
            )
        for key in ("load", "shake", "closed_loop"):
            if getattr(self._loaded.scenario, key) is not None:
                raise InputError(f"{self._loaded.place(key)}: {key}: an episode has jobs as they came, leave it out")
        readers = parts.readers_of(found.offers["workloads"], self._loaded)
        self.nodes: int
        workload, self._spec, self.nodes = build.jobs_and_machine(self._loaded, readers, found.machines)
        self.pool: Workload = build.cut(self._loaded, workload, self.nodes).workload
        self._jobs, self._warm_up = jobs, warm_up
        self.count: int = len(self.pool) - jobs - warm_up + 1
        """How many episodes there are: one for each job of the pool that can be the first."""
        if self.count < 1:
            raise InputError(
                f"an episode of {warm_up + jobs} jobs cannot be cut out of {self.pool.source}: it has {len(self.pool)}"
            )
        self._links = self.pool.table.column("after").null_count < len(self.pool)

    @property
    def has_physics(self) -> bool:
        """Whether nodes are more than counted."""
        return self._spec is not None

    def begin(self, first: int, seed: int) -> Simulation:
        """The simulation of the episode whose first job is number ``first`` of the pool, warmed up.

        ``seed`` decides what the pool does not: how the machine behaves where the scenario has physics.
        """
        size = self._warm_up + self._jobs
        part = (
            self.pool.take(np.arange(first, first + size))
            if self._links
            else replace(self.pool, table=self.pool.table.slice(first, size))
        )
        submit = part.column("submit_s")
        piece = build.Cut(part, int(submit[0]), None, None, {})
        loaded = replace(self._loaded, scenario=self._loaded.scenario.model_copy(update={"seed": seed}))
        rule, twins = None, {}
        if self._warm_up:
            rule = build.make_scheduler(loaded, self._plugins.schedulers[loaded.scenario.scheduler.name])
            twins = build.make_twins(loaded, self._plugins.twins)
            refuse_lacking(loaded, rule, twins, part)
        simulation = build.make_simulation(loaded, piece, self.nodes, _Agent(rule), twins, self._spec)
        if self._warm_up:
            simulation.run(int(submit[self._warm_up]))
        return simulation


class _Agent:
    """Stands for the learner in the engine's messages, and hands the passes of the warm-up on to ``rule``."""

    name = "agent"
    api = 1

    def __init__(self, rule: Scheduler | None) -> None:
        self._rule = rule
        self.needs = getattr(rule, "needs", ())

    def schedule(self, view: View) -> Iterable[Decision]:
        """What the rule decides."""
        return () if self._rule is None else self._rule.schedule(view)


def users_of(workload: Workload) -> tuple[np.ndarray, int]:
    """A number for the user of each of J jobs, and how many there are."""
    column = workload.table.column("user").combine_chunks()
    return column.indices.to_numpy().astype(np.intp), len(column.dictionary)
