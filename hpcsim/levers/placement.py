"""Places by rule: which policy chooses the nodes of which jobs."""

from __future__ import annotations

from collections.abc import Sequence

from hpcsim.engine.decisions import Decision, Start
from hpcsim.engine.site import Site
from hpcsim.engine.view import View
from hpcsim.scenario import levers as settings
from hpcsim.workload.job import Job


class Placement:
    """Jobs start on the nodes that the policy of the first rule that holds for them chooses.

    Those for which none holds, and those that share nodes or have nodes of their own queue, are placed by the
    scenario's policy, after the others of the pass. What the scheduler placed itself stays where it is.
    """

    name = "placement"
    needs = frozenset({"places", "heat"})
    cites: tuple[str, ...] = ()
    wakes_on: frozenset[str] = frozenset()
    passes_when_idle = False

    def __init__(self, rules: Sequence[settings.Placement]) -> None:
        self._rules = tuple(rules)
        self.needs = frozenset({"places", *({"heat"} if any(rule.policy == "coolest" for rule in rules) else ())})

    def impossible(self, site: Site) -> str | None:
        return None

    def shown(self, view: View) -> View:
        return view

    def decide(self, view: View, decisions: list[Decision]) -> list[Decision]:
        placing = None
        placed: list[Decision] = []
        others: list[Decision] = []
        special = view.room().special
        for each in decisions:
            policy = None
            if isinstance(each, Start) and each.units is None and not each.job.cores and each.job.id not in special:
                policy = self._policy(each.job)
            if policy is not None and isinstance(each, Start):
                placing = placing or view.placing()
                units = placing.choose(each.job, policy)  # none where jobs have to be stopped first
                (placed if units else others).append(each._replace(units=units))
            else:
                others.append(each)
        return [*placed, *others]

    def _policy(self, job: Job) -> str | None:
        for rule in self._rules:
            most = job.nodes if rule.most_nodes is None else rule.most_nodes
            if rule.least_nodes <= job.nodes <= most and job.walltime >= rule.least_walltime:
                return rule.policy
        return None
