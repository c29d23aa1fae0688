"""The checks of a digital twin: what its answers must be, and that it knows only what has happened."""

from __future__ import annotations

from hpcsim.testing import classes, schedules, secrets
from hpcsim.testing.asked import AGAIN, FINITE, RANGE, SHAPE, SIGN, SINGLY
from hpcsim.testing.budget import crowd_answered
from hpcsim.testing.check import Check
from hpcsim.testing.runs import without
from hpcsim.testing.schedules import all_cases
from hpcsim.testing.watched import CHANGES, RAISES

__tracebackhide__ = True


def twin_checks() -> list[Check]:
    """Every check of a twin, each to be called with a class or a ``Factory``; ``docs/testing.md`` lists them."""
    return list(_CHECKS)


def _oracles(kind: type) -> str | None:
    return "it is an oracle: it has a method knows" if hasattr(kind, "knows") else None


_CHECKS = (
    Check(
        "keeps_to_the_api",
        "it has a name, api = 1, the question that it answers and the method of that name",
        classes.twin_keeps_to_the_api,
    ),
    Check(
        "options_have_defaults_and_a_schema",
        "it can be made from its default options; they have a JSON schema and survive being written down",
        classes.options_have_defaults_and_a_schema,
    ),
    Check(
        "raises_nothing",
        "it raises no error on any machine, neither asked nor told",
        without(RAISES, all_cases, ". Whatever a twin raises voids the run"),
    ),
    Check(
        "answers_for_each",
        "an answer is Prediction(mean, aleatoric, epistemic) of arrays with a float64 for each that is asked about",
        without(SHAPE, all_cases),
    ),
    Check("answers_are_finite", "no value is infinite or not a number", without(FINITE, all_cases)),
    Check("deviations_are_not_negative", "no standard deviation is below 0", without(SIGN, all_cases)),
    Check(
        "means_are_possible",
        "no seconds or joules are below 0, no probability is outside of 0 to 1",
        without(RANGE, all_cases),
    ),
    Check("one_call_is_many", "one call for many answers as a call for each", without(SINGLY, all_cases)),
    Check("to_be_asked_changes_nothing", "asked again at once it answers the same", without(AGAIN, all_cases)),
    Check("changes_nothing_itself", "it only answers", without(CHANGES, all_cases)),
    Check("same_seed_same_answers", "in two runs it answers the same", schedules.same_seed_same_schedule),
    Check(
        "same_answers_in_a_new_process",
        "new processes with other PYTHONHASHSEEDs answer the same",
        schedules.same_schedule_in_a_new_process,
    ),
    Check(
        "simulations_do_not_disturb_each_other",
        "in two simulations, an instant of each in turn, it answers as in each alone",
        schedules.simulations_do_not_disturb_each_other,
    ),
    Check(
        "goes_on_alike_when_copied",
        "a deep copy goes on as the original does, and leaves it alone",
        schedules.goes_on_alike_when_copied,
    ),
    Check("goes_on_alike_when_pickled", "so does one that was pickled", schedules.goes_on_alike_when_pickled),
    Check(
        "knows_no_future",
        "no answer hangs on what has not happened yet",
        secrets.knows_no_future,
        exempts=_oracles,
    ),
    Check(
        "reads_nothing_hidden",
        "it reads nothing but what its view shows",
        secrets.reads_nothing_hidden,
        exempts=_oracles,
    ),
    Check(
        "ten_thousand_jobs_in_time",
        "an answer about 10,000 waiting jobs, or all units, takes at most some seconds",
        crowd_answered,
    ),
)
