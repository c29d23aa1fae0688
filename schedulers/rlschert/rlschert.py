"""RLSchert: a network, taught by shortest job first and then by its own experience, starts jobs, waits, or kills."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import Field

from hpcsim import plugin
from hpcsim.plugin import Decision, Hold, View

from . import trained
from .network import Tensors, logits
from .observing import Pass
from .predicted import AGAIN_S, Predicted
from .shape import WINDOW

_WHY: Final = "the network's choice"


class RLSchert:
    """A window of waiting jobs, remaining runtimes that are predicted anew, and a network that starts, waits or kills.

    A reconstruction: the source could be read in its abstract only, and its constants in the code of others. The
    performance twin says how long waiting jobs will run, and of running ones, every ten minutes, how long they still
    will. A network trained by imitation of shortest job first, and then by proximal policy optimisation, chooses one
    action after the other: start a job of the window, wait for what happens next, or, if ``kill`` is set, stop a
    running job, which goes back into the queue and begins anew. The same network serves machines of all sizes.

    References
    ----------
    Wang, Zhang, Qu, Shen, Liu and Li (2021), RLSchert: an HPC job scheduler using deep reinforcement learning and
    remaining time prediction.
    """

    name = "rlschert"
    api = 1
    cites = ("Wang2021", "Schulman2017")
    needs: frozenset[str] = frozenset()
    uses = frozenset({"preemption"})
    twins: Mapping[str, str] = {"performance": "runtime-ensemble"}

    class Options(plugin.Options):
        """What it sees, and what it may do."""

        weights: str = Field(
            "general",
            description="the name of weights that come with hpcsim, or a file of weights (.json)",
        )
        window: int = Field(WINDOW, ge=1, le=WINDOW, description="waiting jobs that can be started in a pass")
        kill: bool = Field(
            False,
            description="whether running jobs may be stopped, once each and never beyond half of their predicted "
            "runtime, where the scenario has preemption",
        )
        patience: int = Field(
            86_400,
            ge=0,
            description="seconds after which nodes are kept for the job that has waited longest; 0: never",
        )

    def __init__(self, options: Options | None = None) -> None:
        self._options = options = options or self.Options.model_validate({})
        if not options.kill:
            self.uses = frozenset()
        self._tensors: Tensors = trained.read(options.weights)
        self._predicted = Predicted()
        self._killed: set[int] = set()

    def schedule(self, view: View) -> Iterator[Decision]:
        kills = self._options.kill and "preemption" in self.needs
        seen = Pass(
            view, self._predicted, window=self._options.window, patience=self._options.patience,
            killed=self._killed if kills else None,
        )  # fmt: skip
        while seen.asks:
            if not seen.choose(int(logits(self._tensors, seen.state()).argmax()), _WHY):
                break
        yield from seen.decisions
        self._killed.update(seen.stopped)
        if kills and view.running:
            yield Hold(view.now + AGAIN_S, "running jobs are predicted anew")

    def __deepcopy__(self, memo: dict[int, Any]) -> RLSchert:
        twin = copy.copy(self)
        twin._predicted, twin._killed = copy.deepcopy(self._predicted), self._killed.copy()
        return twin
