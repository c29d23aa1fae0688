"""GreenDRL, rebuilt from its abstract: a network decides how much may start and how to cool, rules do the rest.

Every slot of 15 minutes the network chooses how many nodes of deferrable jobs may start, and a mode of the cooling
plant. What it lets go is scheduled by EASY beside all jobs that cannot be put off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hpcsim import plugin
from hpcsim.plugin import Decision, Hold, Job, Room, SetCooling, Sleeping, Start, View, backfill
from hpcsim.schedulers.orders import urgent_first

from . import network, trained
from .deferring import Deferring
from .green import Green
from .observing import Plant, Slot, numbers, plant_of

Floats32 = npt.NDArray[np.float32]
Chooser = Callable[[Floats32], tuple[int, int]]

_NEAR_K: Final = 2.0
"""How far beyond the machine's own margin the hottest node may be from its throttle before the plant cools the most."""

_ASKED: Final = 4
"""Of so many jobs that do not fit now it is asked when they could start."""


class GreenDRL:
    """A reconstruction of GreenDRL: deferrable jobs wait for green power, and the plant cools no more than it has to.

    A network that was trained by PPO chooses, every slot, which part of the deferrable jobs that could start may do so
    and how the plant cools; what it sees is the sun (else the grid's carbon intensity or price) with its forecast, the
    machine and the queue by slack. Rules do the rest: jobs that cannot be put off are scheduled by EASY, deferrable
    ones go by their latest start and join the others when it comes, idle nodes sleep, and a machine that gets too warm
    is cooled whatever the network says. The full text of the paper was not at hand: slots, features, coefficients and
    the size of the network are the project's own choice.

    References
    ----------
    Zhang, Wang, Gu and Nguyen (2022), GreenDRL: managing green datacenters using deep reinforcement learning.
    Schulman, Wolski, Dhariwal, Radford and Klimov (2017), Proximal policy optimization algorithms.
    """

    name = "greendrl"
    api = 1
    cites: tuple[str, ...] = ("Zhang2022", "Schulman2017", "Lifka1995", "MualemFeitelson2001")
    needs: frozenset[str] = frozenset({"sleep", "power"})
    uses = frozenset({"heat", "solar"})
    passes_when_idle = True

    class Options(plugin.Options):
        """Which jobs may wait for how long, and for what."""

        weights: str = Field(
            trained.GENERAL, description="a file of weights (.json), or the name of weights that come with hpcsim"
        )
        signal: Literal["auto", "solar", "carbon", "price"] = Field(
            "auto", description="what is green; auto: the sun where the scenario has a plant, else the carbon intensity"
        )
        slack: int = Field(43_200, ge=0, description="seconds for which a deferrable job may be put off; 0: none is")
        kappa: float | None = Field(
            None, gt=0, description="no job is put off by more than so many times its walltime; null: no such limit"
        )
        deferrable: float = Field(0.5, ge=0, le=1, description="share of the jobs that are deferrable, drawn by name")
        seed: int = Field(1, ge=0, description="of that draw")
        cooling: bool = Field(True, description="whether the mode of the cooling plant is changed")
        sleep_after: int | None = Field(
            None, ge=0, description="seconds after which idle nodes sleep; null: the machine's break-even time"
        )
        slot: int = Field(900, ge=60, le=3600, description="seconds between two choices")

    def __init__(self, options: Options | None = None) -> None:
        self._options = options = options or self.Options.model_validate({})
        if options.signal == "solar":
            self.needs = self.needs | {"solar"}
        self.choose: Chooser | None = None
        """Who chooses a load level and a place in ``network.COOLING``; None: the trained network."""
        self.deferring = Deferring(options.deferrable, options.slack, options.kappa, options.seed)
        self._sleeping = Sleeping()
        self._released: set[int] = set()
        self._slot = -1
        self._signal: Green | None = None  # which one is known once the scenario has told what it has
        self._plant: Plant | None = None
        self._wanted = ""  # the cooling mode
        self._looked: tuple[int, Slot, Floats32] | None = None

    def schedule(self, view: View) -> Iterator[Decision]:
        options = self._options
        begins = self.begins_slot(view)
        if begins:
            slot, numbers_F = self.look(view)
            self._begin(view, slot, self._chosen(numbers_F))
        seen = self._sleeping.shown(view)
        held = {job.id for job in self._held(seen, (self._slot + 1) * options.slot)}
        decisions: list[Decision] = list(_by_easy(seen, seen.room(), held))
        after_s = view.power.break_even_s if options.sleep_after is None else float(options.sleep_after)
        yield from self._sleeping.decide(view, decisions, after_s, held)
        mode = self._mode(view)
        if mode != view.power.cooling_mode:
            yield SetCooling(mode, "too warm" if mode != self._wanted else "chosen for this slot")
        if begins:
            yield Hold((self._slot + 1) * options.slot, "to choose again")

    # -- a slot -----------------------------------------------------------------------------------

    def begins_slot(self, view: View) -> bool:
        """Whether a choice is due in this pass."""
        return view.now // self._options.slot != self._slot

    def look(self, view: View) -> tuple[Slot, Floats32]:
        """What there is to be chosen in the slot that begins now, and what the network is told of it."""
        if self._looked is None or self._looked[0] != view.now:
            options, plant = self._options, self._plant_of(view)
            slot = self._slot_of(view)
            told = numbers(
                view, plant, self._green, slot, self.deferring, self.margin_k(view), options.deferrable, options.slack
            )  # fmt: skip
            self._looked = view.now, slot, told
        return self._looked[1:]

    def _slot_of(self, view: View) -> Slot:
        """The jobs that are held back, those of them that could start together now, and those that wait anyway."""
        seen = self._sleeping.shown(view)
        held = self._held(seen, (view.now // self._options.slot + 1) * self._options.slot)
        held.sort(key=self.deferring.latest_s)
        ids = {job.id for job in held}
        room = seen.room()
        started = {each.job.id for each in _by_easy(seen, room, ids)}
        held = [job for job in held if job.id not in room.special]
        startable, kept, asked = [], [], 0
        for job in held:
            if room.take(job):
                startable.append(job)
            elif asked < _ASKED:
                asked += 1
                if self._starts_at(seen, room, job) >= self.deferring.latest_s(job):
                    self._released.add(job.id)  # by now it has to wait in the queue to start in time
                    continue
            kept.append(job)
        return Slot(kept, startable, [job for job in seen.queue if job.id not in ids and job.id not in started])

    @staticmethod
    def _starts_at(view: View, room: Room, job: Job) -> int:
        try:
            return view.shadow(job, room).time
        except ValueError:  # by the present rules its queue never has the nodes
            return -1

    def _begin(self, view: View, slot: Slot, chosen: tuple[int, int]) -> None:
        level, cooling = chosen
        self._slot = view.now // self._options.slot
        if self._options.cooling:
            self._wanted = self._plant_of(view).modes[cooling]
        waiting = {job.id for job in view.queue}
        self._released &= waiting
        if level == network.LEVELS - 1:
            self._released |= {job.id for job in slot.held}  # those too that have to wait until they fit
            return
        target = slot.demand * level / (network.LEVELS - 1)
        for job in slot.startable:
            if target <= 0:
                break
            self._released.add(job.id)
            target -= job.nodes

    def _held(self, view: View, end_s: int) -> list[Job]:
        """The jobs that are held back in the slot that ends at ``end_s``, in the order of submission."""
        released, latest_s = self._released, self.deferring.latest_s
        return [job for job in view.queue if job.id not in released and latest_s(job) >= end_s]

    def _chosen(self, numbers_F: Floats32) -> tuple[int, int]:
        if self.choose is not None:
            return self.choose(numbers_F)
        return network.choose(trained.read(self._options.weights), numbers_F)

    # -- the plant ----------------------------------------------------------------------------------

    @property
    def _green(self) -> Green:
        if self._signal is None:
            wanted = self._options.signal
            if wanted == "auto":
                wanted = "solar" if "solar" in self.needs else "carbon"
            self._signal = Green(wanted, self._options.slot)
        return self._signal

    def _plant_of(self, view: View) -> Plant:
        machine = view.machine
        if self._plant is None:
            if machine is None:
                raise plugin.InputError("greendrl: this scenario only counts nodes; set machine.model and physics")
            self._plant, self._wanted = plant_of(view, machine), view.power.cooling_mode
        return self._plant

    def margin_k(self, view: View) -> float | None:
        """How many K the hottest node is from the margin to its throttle; None where the scenario has no heat."""
        machine = view.machine
        if machine is None or "heat" not in self.needs:
            return None
        return machine.thermal.cpu_throttle_c - machine.thermal.margin_k - float(view.node_c.max())

    def _mode(self, view: View) -> str:
        margin_k = self.margin_k(view)
        too_warm = self._options.cooling and margin_k is not None and margin_k < _NEAR_K
        return self._plant_of(view).coldest if too_warm else self._wanted


def _by_easy(view: View, room: Room, held: set[int]) -> Iterator[Start]:
    """Start what EASY would start of the jobs that are not ``held``."""
    waiting: Sequence[Job] = view.queue
    if room.special:
        held = held - room.special.keys()
        yield from urgent_first(view, room)
    taken = held | {job.id for job in room.started}
    queue = iter([job for job in waiting if job.id not in taken])
    for head in queue:
        if not room.take(head):
            break
        yield Start(head, "first of those that are not put off")
    else:
        return
    if not room.reach:
        return
    behind = [job for job in queue if job.nodes <= room.reach]
    if not behind:
        return
    shadow, extra = view.shadow(head, room)
    yield from backfill(room, head, behind, shadow, extra, shadow - view.now - view.launch_latency)
