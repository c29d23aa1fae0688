"""Places by another policy than the scenario's: for those who choose the units that jobs start on."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hpcsim.machine.places import POLICIES
from hpcsim.workload.job import Job

if TYPE_CHECKING:
    from hpcsim.engine.site import Site


class Placing:
    """The free units of a pass, of which each job is given those that some policy chooses.

    It is a copy: what is chosen is taken in no other. A torus has places of another kind; ValueError for one.
    """

    def __init__(self, site: Site, now: int) -> None:
        if site.torus is not None:
            raise ValueError("on a torus jobs start in blocks, which no other policy knows")
        self._cluster = site.cluster
        self._places = copy.deepcopy(site.cluster.places)
        self._now = now

    def choose(self, job: Job, policy: str, avoid: npt.NDArray[np.int64] | None = None) -> tuple[int, ...] | None:
        """The units that ``policy`` chooses for ``job`` beside those chosen before, and those to ``avoid``.

        None if it has no place. Raises ValueError for a policy that is none, or that needs temperatures where there are
        none.
        """
        if policy not in POLICIES:
            raise ValueError(f"found the placement {policy!r}; it is one of {', '.join(POLICIES)}")
        places, heat = self._places, self._cluster.heat
        scores_U = self._cluster.service.failed_U
        if policy == "coolest":
            if heat is None:
                raise ValueError("placement coolest needs temperatures, but this scenario models no heat")
            scores_U = heat.temperatures(self._now)[0]
        places.policy = policy
        if avoid is None:
            return self._taken(job, scores_U)
        barred = avoid[places.up_U[avoid]]
        places.set_down(barred)
        units = self._taken(job, scores_U)
        places.set_up(barred)
        return units

    def _taken(self, job: Job, scores_U: npt.NDArray[np.floating]) -> tuple[int, ...] | None:
        places = self._places
        size = places.size(job.nodes)
        if size is None or size > places.free_nodes:
            return None
        return tuple(places.take(job.nodes, holder=job.id, scores_U=scores_U).tolist())
