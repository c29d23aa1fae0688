"""What a check makes its subjects from, as often as it needs one: a class and its options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

__tracebackhide__ = True


class NotReached(AssertionError):
    """The check could not come to its point, because something broke that is the point of another check."""


@dataclass(frozen=True, slots=True)
class Factory:
    """Makes schedulers (or twins) of one class with the same options: ``Factory(EASY, {"order": "sjf"})()``.

    ``options`` are as they would stand in a scenario: plain values by the names of the fields of ``kind.Options``.
    """

    kind: type
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the class is called in reports: its own ``name``, or that of the class where it has none."""
        name = getattr(self.kind, "name", None)
        return name if isinstance(name, str) and name else self.kind.__qualname__

    @property
    def is_twin(self) -> bool:
        """Whether it makes twins: these say which question they answer."""
        return hasattr(self.kind, "answers")

    @property
    def did(self) -> str:
        """What it does, in the past."""
        return "answered" if self.is_twin else "decided"

    def __call__(self) -> Any:
        """A new one. Raises NotReached if the class cannot be made from its options."""
        model = getattr(self.kind, "Options", None)
        try:
            if model is not None:
                return self.kind(model.model_validate(dict(self.options)))
            if self.options:
                raise TypeError(f"{self.kind.__qualname__} has no class Options for {sorted(self.options)}")
            return self.kind()
        except ValidationError as error:
            wrong = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            raise NotReached(
                f"{self.name} cannot be made, because its options are refused: {'; '.join(wrong)}"
            ) from error
        except Exception as error:
            how = "without arguments" if model is None else "from its options"
            raise NotReached(f"{self.name} cannot be made {how}: {type(error).__name__}: {error}") from error


def factory_of(subject: Factory | type) -> Factory:
    """A class alone means its default options."""
    return subject if isinstance(subject, Factory) else Factory(subject)
