"""Times as a scenario writes them: spans in whole seconds, and instants of the simulated clock.

Simulated time is whole seconds. ``12:30:00`` stays text in the strict loader, so it means here what it says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

LONGEST_SPAN_S = 100 * 365 * 86_400

_UNIT_S = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_WITH_UNITS = re.compile(r"(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,10})m)?(?:([0-9]{1,12})s)?")
_CLOCK = re.compile(r"([0-9]{1,7}):([0-5][0-9]):([0-5][0-9])")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:?[0-9]{2})?)?")


def span_s(value: object) -> int:
    """Seconds from a whole number or text such as ``12h30m``, ``3d`` or ``12:30:00``; else ``ValueError``."""
    seconds: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        seconds = value
    elif isinstance(value, str):
        text = value.replace(" ", "")
        if text and (match := _WITH_UNITS.fullmatch(text)):
            counts = zip(match.groups(), _UNIT_S.values(), strict=True)
            seconds = sum(int(count) * unit for count, unit in counts if count)
        elif match := _CLOCK.fullmatch(text):
            hours, minutes, rest = map(int, match.groups())
            seconds = hours * 3_600 + minutes * 60 + rest
    if seconds is None or seconds < 0:
        raise ValueError("should be whole seconds from 0, or text such as '90s', '12h30m' or '12:30:00'")
    if seconds > LONGEST_SPAN_S:
        raise ValueError("should be at most 100 years")
    return seconds


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment of the run: seconds after the trace's zero, or a moment in UTC."""

    value: int | datetime

    @classmethod
    def parse(cls, value: object) -> Instant:
        """From seconds, a span or a UTC date such as ``2023-09-15 12:00``; ``ValueError`` otherwise."""
        if isinstance(value, Instant):
            return value
        if isinstance(value, str) and _DATE.fullmatch(value):
            try:
                moment = datetime.fromisoformat(value)
                moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
            except (ValueError, OverflowError) as error:
                raise ValueError(f"should be a date of the calendar: {error}") from None
            return cls(moment)
        try:
            return cls(span_s(value))
        except ValueError as error:
            raise ValueError(f"{error}, or a UTC date such as '2023-09-15' or '2023-09-15 12:00'") from None

    def seconds(self, t0_utc: int) -> int:
        """Simulated seconds, where second 0 is the Unix time ``t0_utc``; negative for a moment before it."""
        return self.value if isinstance(self.value, int) else int(self.value.timestamp()) - t0_utc

    def plain(self) -> int | str:
        """What a scenario file would say."""
        if isinstance(self.value, int):
            return self.value
        return self.value.replace(tzinfo=None).isoformat(" ", "seconds")  # %Y gives the year 1 one digit


def _pydantic_span(value: Any) -> int:
    try:
        return span_s(value)
    except ValueError as error:
        raise PydanticCustomError("seconds", "Input {reason}", {"reason": str(error)}) from None


def _pydantic_instant(value: Any) -> Instant:
    try:
        return Instant.parse(value)
    except ValueError as error:
        raise PydanticCustomError("instant", "Input {reason}", {"reason": str(error)}) from None


_CLOCK_OR_UNITS = r"^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$|^[0-9]+:[0-5][0-9]:[0-5][0-9]$"
_SECONDS_SCHEMA: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": LONGEST_SPAN_S}
SPAN_SCHEMA: dict[str, Any] = {"anyOf": [_SECONDS_SCHEMA, {"type": "string", "pattern": _CLOCK_OR_UNITS}]}
_INSTANT_SCHEMA: dict[str, Any] = {"anyOf": [_SECONDS_SCHEMA, {"type": "string"}]}

# For fields of pydantic models, also of plug-in options.
Seconds = Annotated[int, PlainValidator(_pydantic_span), WithJsonSchema(SPAN_SCHEMA)]
Moment = Annotated[
    Instant,
    PlainValidator(_pydantic_instant),
    PlainSerializer(Instant.plain),
    WithJsonSchema(_INSTANT_SCHEMA),
]
