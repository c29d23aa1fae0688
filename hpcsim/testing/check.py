"""A check: a law that a plug-in must keep, under a name, and how it says that the law was broken."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from hpcsim.testing.factory import Factory, NotReached, factory_of

__all__ = ["Check", "NotReached", "refuse_unknown"]

__tracebackhide__ = True


def _nobody(kind: type) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Check:
    """One law. Called with a class, or a ``Factory``, it returns if the law holds and raises AssertionError if not.

    ``about`` says in a sentence what must hold. ``exempts`` gives the reason why the law is none for a class; None
    where it is one.
    """

    name: str
    about: str
    law: Callable[[Factory], None]
    exempts: Callable[[type], str | None] = _nobody

    def __call__(self, subject: Factory | type) -> None:
        __tracebackhide__ = True
        factory = factory_of(subject)
        if self.exempts(factory.kind) is None:
            self.law(factory)


def refuse_unknown(given: object, checks: Iterable[Check], where: str) -> None:
    """Raise ValueError unless ``given`` is a mapping of names of ``checks`` to reasons."""
    if not isinstance(given, dict):
        raise ValueError(f"{where}: expected_failures should be a dict of check names and reasons, found {given!r}")
    known = [check.name for check in checks]
    for name, reason in given.items():
        if name not in known:
            close = get_close_matches(str(name), known, n=1, cutoff=0.4)
            guess = f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(known)}."
            raise ValueError(f"{where}: expected_failures names no check: {name!r}.{guess}")
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError(
                f"{where}: expected_failures[{name!r}] needs a reason, a sentence for those who read the report "
                f"(found {reason!r})"
            )
