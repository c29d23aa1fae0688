"""The contract as classes to inherit in pytest: one test for each check, so that a report names what is broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from hpcsim.testing.check import Check, NotReached, refuse_unknown
from hpcsim.testing.factory import Factory
from hpcsim.testing.schedulers import scheduler_checks
from hpcsim.testing.twins import twin_checks

__tracebackhide__ = True


class Contract:
    """What the contracts have in common: how their tests treat a check that is expected to fail.

    ``options`` are of the subject, as a scenario would write them. ``expected_failures`` maps names of checks to
    the reasons why they fail. Such a test is reported as expected to fail, with its reason, and fails if the check
    passes: then the entry has to go.
    """

    options: ClassVar[Mapping[str, Any]] = {}
    expected_failures: ClassVar[Mapping[str, str]] = {}
    _checks: ClassVar[tuple[Check, ...]] = ()
    _subject: ClassVar[str] = ""

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        refuse_unknown(cls.expected_failures, cls._checks, cls.__qualname__)

    def _keep(self, check: Check) -> None:
        __tracebackhide__ = True
        kind = getattr(type(self), self._subject, None)
        if not isinstance(kind, type):
            raise AssertionError(
                f"{type(self).__qualname__}.{self._subject} should be the class to check, found {kind!r}"
            )
        exempt, reason = check.exempts(kind), self.expected_failures.get(check.name)
        if exempt is not None:
            import pytest

            pytest.skip(exempt)
        try:
            check(Factory(kind, dict(self.options)))
        except NotReached:
            raise
        except AssertionError as error:
            if reason is None:
                raise
            import pytest

            pytest.xfail(f"{reason} ({error})")
        if reason is not None:
            raise AssertionError(
                f"{check.name} was expected to fail ({reason}), but it passes: take it out of expected_failures"
            )


def _test_of(check: Check) -> Callable[[Contract], None]:
    def test(self: Contract) -> None:
        __tracebackhide__ = True
        self._keep(check)

    test.__name__ = f"test_{check.name}"
    test.__doc__ = check.about
    return test


class SchedulerContract(Contract):
    """Inherit it, name your class, and pytest runs every check of ``scheduler_checks()``:

    class TestShortestFirst(SchedulerContract):
        scheduler = ShortestFirst
        expected_failures = {"no_job_starves": "short jobs go first, by design"}
    """

    scheduler: ClassVar[type]
    _checks = tuple(scheduler_checks())
    _subject = "scheduler"


class TwinContract(Contract):
    """The same for a digital twin, by every check of ``twin_checks()``:

    class TestLastTwo(TwinContract):
        twin = LastTwo
    """

    twin: ClassVar[type]
    _checks = tuple(twin_checks())
    _subject = "twin"


for _contract in (SchedulerContract, TwinContract):
    for _check in _contract._checks:
        setattr(_contract, f"test_{_check.name}", _test_of(_check))
