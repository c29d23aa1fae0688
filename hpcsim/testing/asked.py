"""A twin that is asked: in every pass of a simulation, about all jobs that wait or all units that there are."""

from __future__ import annotations

import copy
import hashlib
import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import numpy as np

from hpcsim.engine.decisions import Decision, Start
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.truth import Truth
from hpcsim.engine.twins import AT_MOST_1, CELSIUS, Ended, Prediction, answered, gpus_get_warm
from hpcsim.engine.view import View
from hpcsim.machine.readings import Readings
from hpcsim.testing.watched import CHANGES, Pass, Watched, changed, visible

__tracebackhide__ = True

SHAPE, FINITE, SIGN, RANGE, SINGLY, AGAIN = "shape", "finite", "sign", "range", "singly", "again"
"""Kinds of faults of an answer, besides those of a scheduler."""

_CLOSE = 1e-4  # relative: what single precision and another order of adding may bring
HORIZON_S = 3_600


class Asked(Watched):
    """Asks ``inner``, a twin, and starts jobs in their order; the answers stand where a scheduler's decisions would.

    ``others`` are asked and told the same, such as copies of the twin; their answers are in ``answers_of_others``.
    """

    def __init__(
        self,
        inner: Any,
        *,
        looks: bool = False,
        during: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        super().__init__(inner, looks=looks, during=during)
        self.question: str = inner.answers
        self.questions: tuple[str, ...] = answered(inner)
        self.twins: dict[str, Any] = {self.question: _Told(self)}
        self.others: list[Any] = []
        self.truth: Truth | None = None  # what oracles are given
        self.answers_of_others: list[list[str]] = []
        self._told: list[tuple[Any, ...]] = []

    def schedule(self, view: View) -> list[Decision]:
        simulation = view._simulation
        asked = [
            (question, _about(question, view))
            for question in self.questions
            if question != "gpu_thermal" or gpus_get_warm(view.machine)
        ]
        before = (*visible(simulation), tuple(self._told)) if self.looks else ()
        answers = [self._ask(self.inner, question, about, view) for question, about in asked]
        if self.looks and (*visible(simulation), tuple(self._told)) != before:
            self._blame(CHANGES, simulation, changed(before, (*visible(simulation), tuple(self._told))))
        for (question, about), answer in zip(asked, answers, strict=True):
            self._judge_answer(simulation, question, answer, about, view)
        self.passes.append(Pass(simulation.now, before, tuple(map(_text, answers))))
        for twin, told in zip(self.others, self.answers_of_others, strict=True):
            texts = tuple(_text(self._ask(twin, question, about, view)) for question, about in asked)
            told.append(str(Pass(simulation.now, (), texts)))
        room = view.room()
        decisions: list[Decision] = []
        for job in view.queue:
            if not room.take(job):
                break
            decisions.append(Start(job))
        return decisions

    def also_ask(self, twin: Any) -> list[str]:
        """Ask ``twin`` the same from now on; returns the list that its answers come into."""
        if self.truth is not None:
            twin.knows(self.truth)
        self.others.append(twin)
        self.answers_of_others.append([])
        return self.answers_of_others[-1]

    def tell(self, end: Ended) -> None:
        """Tell all of them of a job that has ended."""
        self._told.append((end.job.id, end.runtime_s, end.state, end.energy_j))
        for twin in (self.inner, *self.others):
            if hasattr(twin, "ended"):
                with self.during():
                    twin.ended(end)

    def sense(self, readings: Readings) -> None:
        """Tell all of them what sensors read, each in arrays of its own."""
        self._told.append((hashlib.sha256(pickle.dumps(tuple(readings))).hexdigest(),))
        for twin in (self.inner, *self.others):
            with self.during():
                twin.sensed(copy.deepcopy(readings))

    def about(self, view: View) -> tuple[Any, ...]:
        """What there is to ask about: the arguments before the view."""
        return _about(self.question, view)

    def ask(self, about: tuple[Any, ...], view: View) -> Any:
        """The answer, whatever it is."""
        return self._ask(self.inner, self.question, about, view)

    def _ask(self, twin: Any, question: str, about: tuple[Any, ...], view: View) -> Any:
        with self.during():
            return getattr(twin, question)(*about, view)

    def _judge_answer(
        self, simulation: Simulation, question: str, answer: Any, about: tuple[Any, ...], view: View
    ) -> None:
        count = len(about[0])
        if not isinstance(answer, tuple) or len(answer) != 3:
            self._blame(SHAPE, simulation, f"answered {answer!r}, not Prediction(mean, aleatoric, epistemic)")
            return
        for name, values in zip(Prediction._fields, answer, strict=True):
            what = f"answered about {count} with {name} "
            if not isinstance(values, np.ndarray) or values.dtype != np.float64 or values.shape != (count,):
                found = f"{values.dtype} of shape {values.shape}" if isinstance(values, np.ndarray) else repr(values)
                self._blame(SHAPE, simulation, f"{what}{found}; expected an array of {count} float64")
                return
            if not np.isfinite(values).all():
                bad = int(np.flatnonzero(~np.isfinite(values))[0])
                where = "a division by 0, or the logarithm of one"
                self._blame(FINITE, simulation, f"{what}{values[bad]} for number {bad}; most likely {where}")
                return
            if name != "mean" and values.min() < 0:
                self._blame(SIGN, simulation, f"{what}{values.min()}; no standard deviation is below 0")
        mean = answer[0]
        if question not in CELSIUS and mean.min() < 0:
            self._blame(RANGE, simulation, f"answered {question} with a mean of {mean.min()}; expected 0 or more")
        if question in AT_MOST_1 and mean.max() > 1:
            self._blame(RANGE, simulation, f"answered {question} with a mean of {mean.max()}; expected 0 to 1")
        if self.closely and len(self.passes) % 7 == 0:  # now and then, for it takes a call for each
            self._judge_single_calls(simulation, question, answer, about, view)

    def _judge_single_calls(
        self, simulation: Simulation, question: str, answer: Any, about: tuple[Any, ...], view: View
    ) -> None:
        """One call for many is what many calls are, and to be asked again changes nothing."""
        again = self._ask(self.inner, question, about, view)
        if _text(again) != _text(answer):
            what = (
                "answers otherwise when it is asked again at once; most likely to be asked changes it, or it draws lots"
            )
            self._blame(AGAIN, simulation, f"{what}: first {_text(answer)}, then {_text(again)}")
            return
        for number in range(len(about[0])):
            alone = self._ask(self.inner, question, tuple(_only(each, number) for each in about), view)
            for name, one, many in zip(Prediction._fields, alone, answer, strict=True):
                if not np.allclose(one, many[number], rtol=_CLOSE, atol=1e-9):
                    cause = "an answer is about each by itself, whoever else is asked about"
                    self._blame(
                        SINGLY,
                        simulation,
                        f"answered {name} {float(one[0])} when asked about one alone, and {float(many[number])} for it "
                        f"among {len(many)}; {cause}",
                    )
                    return


class _Told:
    """Stands for the twin in the simulation: what it is told goes to all that are asked."""

    def __init__(self, asked: Asked) -> None:
        self.name = asked.inner.name
        self._asked = asked

        if hasattr(asked.inner, "knows"):
            self.knows = self._knows
        if hasattr(asked.inner, "senses_every_s"):
            self.senses_every_s: int = asked.inner.senses_every_s

    def _knows(self, truth: Truth) -> None:
        self._asked.truth = truth
        self._asked.inner.knows(truth)

    def ended(self, end: Ended) -> None:
        self._asked.tell(end)

    def sensed(self, readings: Readings) -> None:
        self._asked.sense(readings)


def _about(question: str, view: View) -> tuple[Any, ...]:
    """The arguments of a question, before the view."""
    jobs = list(view.queue)
    if question in ("performance", "sensitivity", "job_failure"):
        return (jobs,)
    if question == "power":
        return (np.array([60, 900, HORIZON_S]),)
    if question == "energy":
        return jobs, np.resize([1.0, 0.8, 0.6], len(jobs))
    units = np.arange(cast("Any", view._simulation.site).cluster.spec.units)
    if question == "fault":
        return units, HORIZON_S
    watts = np.resize([300.0, 700.0, 1_100.0], units.size)
    if question == "thermal":
        return units, watts, HORIZON_S
    return units, watts, np.resize([50.0, 200.0, np.nan, np.nan], units.size), HORIZON_S


def _only(values: Any, number: int) -> Any:
    return values if isinstance(values, int) else values[number : number + 1]


def _text(answer: Any) -> str:
    """An answer as text: the beginning of each array, and a digest of all bits."""
    if not isinstance(answer, tuple) or not all(isinstance(values, np.ndarray) for values in answer):
        return repr(answer)
    bits = hashlib.sha256(b"".join(values.tobytes() for values in answer)).hexdigest()[:8]
    parts = []
    for name, values in zip(Prediction._fields, answer, strict=False):
        first = ", ".join(f"{value:.6g}" for value in values.ravel()[:3].tolist())
        parts.append(f"{name} [{first}{', ...' if values.size > 3 else ''}]")
    return f"{', '.join(parts)} ({bits})"
