"""AIMS: a double dueling DQN that consults all four twins and weighs energy, performance and reliability.

The decisions of a pass are made one after the other: a job and how it starts, or that nothing more starts and what
becomes of idle nodes. A job that is chosen and does not fit has nodes kept for it by the rule of EASY.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from hpcsim import plugin
from hpcsim.plugin import Decision, Job, Plant, Room, Sleeping, Start, View, taken_at
from hpcsim.schedulers.orders import urgent_first

from . import trained
from .beliefs import Beliefs, waited_h
from .choosing import HELD, Worth, aversions, best, worth
from .expert import by_rule
from .journal import Choice, Journal
from .network import Floats32, State, values_of_all
from .objectives import BEGIN, Objectives
from .observing import Pass, Rhythm, legal_rest
from .shape import CLOCKS, MODES

Floats = npt.NDArray[np.float64]

_REST_AFTER: tuple[float | None, ...] = (None, 0.0, inf)  # seconds; None: the break-even time
_COUNTED_W = 1.0  # stands for watts where only nodes are counted


class Chooser(Protocol):
    """Who chooses among the actions of a state: a network, a rule, or a learner that explores."""

    def __call__(self, state: State, now: int) -> int:
        """The place of the chosen action in ``state.legal_A``."""
        ...


Share = Annotated[float, Field(ge=0, le=1)]


class Aims:
    """Asks the digital twins about jobs and nodes, and lets a trained network choose what starts, how, where, how fast.

    The network says of each action how much energy, waiting and lost work it expects, by an ensemble that also says
    how unsure that is. The weights of the three adapt every hour; what a twin is unsure of counts less, and of actions
    alike in the mean the surer one is taken. The weights of the network are those of the scenario's machine.

    References
    ----------
    van Hasselt, Guez and Silver (2016), Deep reinforcement learning with double Q-learning.
    Wang, Schaul, Hessel, van Hasselt, Lanctot and de Freitas (2016), Dueling network architectures for deep
    reinforcement learning.
    van Mieghem (1995), Dynamic scheduling with convex delay costs: the generalized c-mu rule.
    """

    name = "aims"
    api = 1
    cites = ("vanHasselt2016", "Wang2016", "Schaul2016", "Abels2019", "Osband2016", "vanMieghem1995")
    needs: frozenset[str] = frozenset()
    uses = frozenset({"sleep", "speed", "places", "power", "heat"})
    twins: Mapping[str, str] = {
        "performance": "runtime-ensemble", "energy": "energy-cnn-lstm", "fault": "fault-lstm", "thermal": "thermal-rc",
    }  # fmt: skip
    passes_when_idle = True

    class Options(plugin.Options):
        """What can be switched off, to see what it is worth."""

        weights: str | None = Field(
            None,
            description="a file of weights (.json), or the name of those of a machine that come with hpcsim; the "
            "scenario's machine where it is one of them, else those named general",
        )
        policy: Literal["network", "rule", "random"] = Field(
            "network",
            description="who chooses: the network, the rule that its training began with, or chance",
        )
        objectives: tuple[Share, Share, Share] = Field(
            BEGIN, description="the weights of energy, performance and reliability to begin with"
        )
        adapt: bool = Field(True, description="whether the weights of the objectives adapt every hour")
        kappa: float = Field(
            1.0, ge=0, description="how much less an objective counts whose twin is unsure; 0: no less"
        )
        anchor: bool = Field(
            True,
            description="whether an action is taken that the rule would not take only if it is better than the rule's, "
            "less the aversion",
        )
        aversion: float | None = Field(
            None,
            ge=0,
            description="standard deviations of the ensemble that an action is marked down; the network's own "
            "unless given",
        )
        patience: int = Field(
            14_400,
            ge=0,
            description="seconds since its submission that a job may be left waiting before nodes are kept for it; 0: "
            "without end",
        )
        promise: float = Field(
            2.0,
            ge=0,
            description="a job may be left waiting so many times as long as it would be if all nodes did what was "
            "before it first, by what was believed when it came; if that is more than the patience",
        )
        runtime_power: float = Field(
            0.5,
            ge=0,
            le=1,
            description="whose turn it is by the rule: who has waited most by this power of the predicted runtime",
        )
        journal: int = Field(
            3, ge=0, description="so many actions that were not chosen are kept of each choice, to be explained"
        )
        sleep: bool = Field(True, description="whether idle nodes may sleep")
        speed: bool = Field(True, description="whether jobs may start at a lower clock")
        places: bool = Field(True, description="whether jobs may be kept from the nodes most likely to fail")
        cooling: bool = Field(True, description="whether the mode of the cooling plant is changed")

        @field_validator("objectives")
        @classmethod
        def _are_shares(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
            if abs(sum(value) - 1.0) > 1e-6:
                raise PydanticCustomError("shares", "Weights should add up to 1")
            return value

    def __init__(self, options: Options | None = None) -> None:
        self._options = options = options or self.Options.model_validate({})
        levers = {"sleep": options.sleep, "speed": options.speed, "places": options.places}
        self.uses = self.uses - {name for name, used in levers.items() if not used}
        self._network: trained.Network | None = None
        found = trained.read(options.weights or "general")  # what is not sound, or lacks, is told of before the run
        if options.weights is not None:
            self._network = found
        self.chooser: Chooser = {"network": self._by_network, "rule": self._by_rule, "random": self._by_chance}[
            options.policy
        ]
        self.objectives = Objectives(adapt=options.adapt, begin=options.objectives)
        self._beliefs, self._rhythm, self._sleeping, self._plant = Beliefs(), Rhythm(), Sleeping(), Plant()
        self._hour, self._journal = _Hour(), Journal(options.journal)
        self._seen: Pass | None = None
        self._rest = 0  # how the last choice of a pass said that idle nodes rest
        self.hourly_O: Floats | None = None
        """What an hour usually costs in the units of rewards; as in the network's training unless given."""
        self._rng = np.random.default_rng(0)  # the view's, once there is one

    def schedule(self, view: View) -> Iterator[Decision]:
        if self._options.cooling and {"power", "heat"} <= self.needs:
            yield from self._plant.decide(view)
        sleeps = "sleep" in self.needs
        seen = self._sleeping.shown(view) if sleeps else view
        room = seen.room()
        self._rng = view.rng
        network = self._network = self._network or _network_of(view)
        self._weigh(view, network)
        hourly_O = network.hourly_O if self.hourly_O is None else self.hourly_O
        chosen, self._rest = self._choose(seen, room, hourly_O, sleeps)
        self._seen = None  # it is of this pass, and holds the room
        decisions: list[Decision] = [Start(job, why, speed) for job, _, speed, why in chosen]
        if sleeps:
            after_s = _REST_AFTER[self._rest]
            decisions = self._sleeping.decide(view, decisions, view.power.break_even_s if after_s is None else after_s)
        yield from self._placed(view, room, decisions, {job.id: mode for job, mode, *_ in chosen})

    # -- the choices of a pass ------------------------------------------------------------------

    def _choose(
        self, view: View, room: Room, hourly_O: Floats, sleeps: bool
    ) -> tuple[list[tuple[Job, int, float, str]], int]:
        """Jobs that start, each with its mode, speed and why, and how the pass ends."""
        places = 2 if "places" in self.needs and not room.names_units and "fault" in view.twins else 1
        chosen: list[tuple[Job, int, float, str]] = []
        if all(job.nodes > room.reach for job in view.queue):  # idle nodes go on as before
            self._beliefs.learn(view.queue, view)
            waited, busy = waited_h(view.queue, view.now), 1.0 - room.free / max(view.up_nodes, 1)
            self._rhythm.congested(waited, busy, float(hourly_O[1]) / 3600.0, view.now)
            return chosen, self._rest
        self._seen = seen = Pass(
            view, room, self._beliefs, self._rhythm, self.objectives.weights, hourly_O,
            sleeps=sleeps, speeds="speed" in self.needs, places=places, runtime_power=self._options.runtime_power,
        )  # fmt: skip
        head: Job | None = None
        for start in urgent_first(view, room) if room.special else ():
            chosen.append((start.job, 0, 1.0, start.why))
            if start.job in seen.jobs:
                seen.chosen(seen.jobs.index(start.job), 0)
        patience, promise = self._options.patience, self._options.promise
        while patience and head is None and (place := seen.left_behind(patience, promise)) is not None:
            job = seen.jobs[place]
            if room.take(job):
                chosen.append((job, 0, 1.0, "has waited for too long"))
                seen.chosen(place, 0)
            elif self._keep_nodes(view, room, seen, job):
                head = job
            else:
                seen.chosen(place, None)
        while True:
            fits_J = seen.fits()
            legal_JM = seen.legal(fits_J) if fits_J.any() else np.zeros((len(seen.jobs), len(MODES)), bool)
            may_end = bool(view.running) or bool(chosen) or not fits_J.any()
            legal_R = legal_rest(sleeps=sleeps and room.free >= view.unit_nodes, may_end=may_end)
            if legal_JM.sum() + legal_R.sum() == 1 and legal_R.any():
                return chosen, int(legal_R.argmax())
            action = self.chooser(State(*seen.numbers(fits_J), legal_JM, legal_R), view.now)
            place, mode = divmod(action, len(MODES))
            if place >= len(seen.jobs):
                return chosen, action - len(seen.jobs) * len(MODES)
            job = seen.jobs[place]
            head = self._try(view, room, seen, place, mode, head)
            if room.started and room.started[-1] is job:
                speed = float(seen.speed_JC[place, MODES[mode][0]])
                chosen.append((job, mode, speed, self._why(mode, kept_for=head)))

    def _try(self, view: View, room: Room, seen: Pass, place: int, mode: int, head: Job | None) -> Job | None:
        """Take the job in that place if it may start; else keep nodes for it, if they are kept for none. The head."""
        job = seen.jobs[place]
        outlasts = head is not None and job.walltime > seen.longest_s
        taken = taken_at(int(view.now + seen.longest_s), room, head, job) if head is not None and outlasts else 0
        if taken <= seen.extra and room.take(job):
            seen.chosen(place, mode, taken=taken)
        elif head is None and self._keep_nodes(view, room, seen, job):
            head = job
        else:
            seen.chosen(place, None)
        return head

    def _keep_nodes(self, view: View, room: Room, seen: Pass, job: Job) -> bool:
        """Whether nodes are now kept for ``job``; not if by the present rules it never has them."""
        try:
            shadow_s, extra = view.shadow(job, room)
        except ValueError:
            return False
        seen.reserved(shadow_s, extra, shadow_s - view.now - view.launch_latency)
        seen.chosen(seen.jobs.index(job), None)
        return True

    @staticmethod
    def _why(mode: int, kept_for: Job | None) -> str:
        clock, place = MODES[mode]
        said = "the best of what could start" if kept_for is None else f"delays not {kept_for.name}, which is next"
        return said + (f"; {CLOCKS[clock]}" if clock else "") + ("; on safe nodes" if place else "")

    def _by_network(self, state: State, now: int) -> int:
        given, of_network_D = self._options.aversion, self._known.aversion_D
        usual = by_rule(state) if self._options.anchor else None
        choice = Choice(now, self.seen.names, state, self.objectives.weights, usual)
        if usual is not None and (of_network_D.min() if given is None else given) >= HELD:
            self._journal.keep(choice)
            if self._journal.is_full:
                self._journal.catch_up(self._asked)
            return usual
        ((q_AHO, found),) = self._asked([choice])
        chosen = best(found, aversions(of_network_D, state, usual) if given is None else given)
        self._journal.note(choice, q_AHO, found, chosen)
        return chosen

    def _asked(self, choices: Sequence[Choice]) -> list[tuple[Floats32, Worth]]:
        """What the network says of choices: the values of all actions, and what they are worth."""
        network, kappa = self._known, self._options.kappa
        found = values_of_all(network.tensors, [each.state for each in choices], dueling=network.dueling)
        return [
            (q_AHO, worth(q_AHO, each.state, each.weights, kappa, each.usual))
            for q_AHO, each in zip(found, choices, strict=True)
        ]

    @property
    def _known(self) -> trained.Network:
        if self._network is None:
            raise RuntimeError("the network is known once a pass has begun")
        return self._network

    @staticmethod
    def _by_rule(state: State, now: int) -> int:
        return by_rule(state)

    def _by_chance(self, state: State, now: int) -> int:
        return int(self._rng.choice(np.flatnonzero(state.legal_A)))

    def tables(self) -> dict[str, dict[str, Any]]:
        """What it leaves in the run directory: its ``choices``, and the ``weights`` of the objectives by the hour."""
        self._journal.catch_up(self._asked)
        return self._journal.tables(self.objectives.course)

    # -- for whoever trains it ------------------------------------------------------------------

    @property
    def seen(self) -> Pass:
        """The pass in which a choice is made now."""
        if self._seen is None:
            raise RuntimeError("a pass is known once a choice is made")
        return self._seen

    def measured_rates(self) -> Floats:
        """Means since the first pass: kilowatts of the facility, node-hours waited by what waits, nodes at risk."""
        return self._hour.mean()

    # -- what is around them ----------------------------------------------------------------------

    def _weigh(self, view: View, network: trained.Network) -> None:
        """Adapt the weights of the objectives."""
        machine = view.machine
        power_share = hottest_c = 0.0
        facility_w = _COUNTED_W
        if machine is not None:
            power = view.power
            facility_w, power_share = power.facility_w, power.facility_w / power.cap_w
            if "heat" in self.needs and self._beliefs.margin_k:
                hottest_c = machine.thermal.cpu_throttle_c - self._beliefs.margin_k
        self._hour.add(view, facility_w, self._beliefs)
        measured = self._hour.measured(view.now, network.usual)
        self.objectives.follow(view.now, measured, power_share, hottest_c)

    def _placed(
        self, view: View, room: Room, decisions: list[Decision], modes: Mapping[int, int]
    ) -> Iterator[Decision]:
        """The decisions, with the units of the jobs that are to have safe ones, those before the others.

        Their order matters where jobs stop others or have nodes of their own: then all are placed by the scenario.
        """
        starts = [each for each in decisions if isinstance(each, Start)]
        safe = [each for each in starts if MODES[modes[each.job.id]][1]]
        if not safe or room.stopped or any(each.job.id in room.special for each in starts):
            yield from decisions
            return
        placing, risky_U = view.placing(), np.flatnonzero(self._beliefs.risky_U)
        others: list[Decision] = [each for each in decisions if each not in safe]
        for each in safe:
            units = placing.choose(each.job, "packed", risky_U)
            if units is None:  # some have gone to other jobs in this pass, or are asleep
                others.append(each._replace(why=f"{each.why}, of which too few are free"))
            else:
                yield each._replace(units=units)
        yield from others

    def __deepcopy__(self, memo: dict[int, Any]) -> Aims:
        twin = copy.copy(self)
        for name in ("objectives", "_beliefs", "_rhythm", "_sleeping", "_plant", "_hour", "_journal"):
            setattr(twin, name, copy.deepcopy(getattr(self, name), memo))
        own = getattr(self.chooser, "__func__", None)
        if own is not None and getattr(self.chooser, "__self__", None) is self:
            twin.chooser = own.__get__(twin)
        return twin


def _network_of(view: View) -> trained.Network:
    """The network of the machine."""
    return trained.read(trained.named(None if view.machine is None else view.machine.name.lower()))


class _Hour:
    """What was measured since the weights were adapted last: integrals over time of power, waiting jobs, and risk."""

    def __init__(self) -> None:
        self._since = self._at = -1
        self._rates, self._sums, self._all = np.zeros(3), np.zeros(3), np.zeros(3)
        self._begin = -1

    def add(self, view: View, facility_w: float, beliefs: Beliefs) -> None:
        """Note the rates that hold from now on."""
        now = view.now
        if self._at < 0:
            self._begin = self._since = self._at = now
        self._sums += self._rates * (now - self._at)
        self._all += self._rates * (now - self._at)
        self._at = now
        busy = sum(each.job.nodes for each in view.running.values())
        self._rates[:] = facility_w / 1000.0, waited_h(view.queue, now), busy * beliefs.mean_risk

    def mean(self) -> Floats:
        """The mean rates since the first pass."""
        return self._all / max(self._at - self._begin, 1)

    def measured(self, now: int, usual: Floats) -> Floats:
        """The mean rates since they were asked for last, as multiples of the ``usual`` ones; 1 where there is none."""
        spent = max(now - self._since, 1)
        mean = self._sums / spent
        if spent >= 3600:
            self._since, self._sums = now, np.zeros(3)
        return np.where(usual > 0, mean / np.where(usual > 0, usual, 1.0), 1.0)
