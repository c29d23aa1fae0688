"""Jobs that are submitted when their user has seen an earlier one end, and thought about it: no sooner and no later."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from hpcsim.engine.lifecycle import take_in
from hpcsim.workload.think import Thinking

if TYPE_CHECKING:
    from hpcsim.engine.simulation import Simulation


class ClosedLoop:
    """The part of a simulation's jobs that ``thinking`` has follow others.

    ``submitted_s`` are the seconds at which those of them were submitted that have been, by id; ``due_s`` are the
    seconds at which the next ones will be, whose users are thinking.
    """

    def __init__(self, thinking: Thinking) -> None:
        self._thinking = thinking
        self._next: dict[int, list[int]] = {}  # the jobs that follow one, by its id
        for job_id in (thinking.follows_J >= 0).nonzero()[0].tolist():
            self._next.setdefault(int(thinking.follows_J[job_id]), []).append(job_id)
        self.jobs: frozenset[int] = frozenset(job_id for each in self._next.values() for job_id in each)
        self.submitted_s: dict[int, int] = {}
        self.due_s: dict[int, int] = {}

    @property
    def is_over(self) -> bool:
        """Whether all of them have been submitted."""
        return len(self.submitted_s) == len(self.jobs)

    def open_below(self, job_id: int) -> int:
        """How many more of them have been submitted than there are below this id."""
        return len(self.submitted_s) - sum(each < job_id for each in self.jobs)

    def ended(self, simulation: Simulation, job_id: int) -> None:
        """A job has ended, or was refused: its user thinks, and then submits those that follow it."""
        for following in self._next.get(job_id, ()):
            due = simulation.now + int(self._thinking.think_s_J[following])
            self.due_s[following] = due
            self._await(simulation, due)

    def go_on(self, simulation: Simulation) -> None:
        """Wait again for all that is due, on a new clock."""
        for due in sorted({*self.due_s.values()}):
            self._await(simulation, due)

    def _await(self, simulation: Simulation, due: int) -> None:
        simulation.agenda.after_ends(due - simulation.now, lambda _: self._submit(simulation, due))

    def _submit(self, simulation: Simulation, now: int) -> None:
        """Submit all that is due in this second, in the order of their ids."""
        simulation.now = now
        ready = sorted(job_id for job_id, due in self.due_s.items() if due == now)
        for job_id in ready:
            del self.due_s[job_id]
            self.submitted_s[job_id] = now
            take_in(simulation, next(simulation.workload.jobs(job_id, job_id + 1))._replace(submit=now))
        simulation.ask_for_pass()

    def __deepcopy__(self, memo: object) -> ClosedLoop:
        twin = copy.copy(self)
        twin.submitted_s, twin.due_s = self.submitted_s.copy(), self.due_s.copy()
        return twin
