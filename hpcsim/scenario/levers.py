"""Levers that a scenario puts around its scheduler: sleeping nodes, clocks, caps, cooling, and places by rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from hpcsim.scenario.section import Section
from hpcsim.scenario.times import SPAN_SCHEMA, Seconds, span_s


def _or(*short: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Let the JSON schema of a field that may be null take one of ``short`` as well."""

    def extend(schema: dict[str, Any]) -> None:
        schema["anyOf"] = [*short, *schema["anyOf"]]

    return extend


Quantile = Annotated[float, Field(ge=0, lt=1)]


class When(Section):
    """While any of these holds."""

    hours_utc: list[Annotated[float, Field(ge=0, le=24)]] | None = Field(
        default=None, min_length=2, max_length=2, description="from one hour of the day to another, such as [22, 6]"
    )
    price_above: Quantile | None = Field(
        default=None, description="while the price is above this quantile of the 24 h ahead: 0.75 is about 6 h a day"
    )
    carbon_above: Quantile | None = Field(
        default=None, description="while the carbon intensity is above this quantile of the 24 h ahead"
    )

    @model_validator(mode="after")
    def _says_something(self) -> When:
        if self.hours_utc is None and self.price_above is None and self.carbon_above is None:
            raise PydanticCustomError("when", "Input should have one of hours_utc, price_above, carbon_above")
        if self.hours_utc is not None and self.hours_utc[0] == self.hours_utc[1]:
            raise PydanticCustomError("when", "hours_utc should be two different hours")
        return self


def _seconds(value: Any) -> int | str:
    if value == "auto":
        return "auto"
    try:
        return span_s(value)
    except ValueError as error:
        raise PydanticCustomError("seconds", "Input {reason}, or 'auto'", {"reason": str(error)}) from None


def _factor(value: Any) -> float | str:
    if value == "auto":
        return "auto"
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise PydanticCustomError("factor", "Input should be above 0 and at most 1, or 'auto'")
    return float(value)


_AUTO: dict[str, Any] = {"const": "auto"}
_FACTOR: dict[str, Any] = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}

SecondsOrAuto = Annotated[
    int | Literal["auto"], PlainValidator(_seconds), WithJsonSchema({"anyOf": [_AUTO, *SPAN_SCHEMA["anyOf"]]})
]
FactorOrAuto = Annotated[float | Literal["auto"], PlainValidator(_factor), WithJsonSchema({"anyOf": [_AUTO, _FACTOR]})]


class SleepIdle(Section):
    """Idle nodes go to sleep, and wake when a job needs them."""

    after: SecondsOrAuto = Field(
        default="auto",
        description="seconds that a node is idle before it goes to sleep; auto: from when on sleeping saves energy",
    )
    reserve: int = Field(default=0, ge=0, description="so many idle nodes stay awake")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        return {"after": data} if isinstance(data, str | int) and not isinstance(data, bool) else data


class Speed(Section):
    """Jobs start at another clock."""

    factor: FactorOrAuto = Field(
        default="auto", description="clock relative to nominal; auto: the one of least energy for jobs of such beta"
    )
    beta: float = Field(
        default=0.3, ge=0, le=1, description="for auto: how far runtimes are believed to follow the clock, from 0 to 1"
    )
    jobs: Literal["all", "memory-bound"] = Field(
        default="all",
        description="which jobs are slowed; memory-bound: those that the energy twin says to take less energy so",
    )
    when: When | None = Field(default=None, description="when; always when left out")
    running: bool = Field(
        default=False, description="whether running jobs are slowed too, as long as it holds; else those that start"
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        return {"factor": data} if isinstance(data, str | int | float) and not isinstance(data, bool) else data


class PowerCap(Section):
    """The facility draws no more than so much."""

    kw: float | None = Field(
        default=None, gt=0, description="kilowatts that the facility may draw, the machine with its cooling"
    )
    share: float | None = Field(
        default=None, gt=0, le=1, description="of what the machine draws with all nodes at full load, in place of kw"
    )
    when: When | None = Field(default=None, description="when; always when left out")

    @model_validator(mode="after")
    def _is_one(self) -> PowerCap:
        if (self.kw is None) == (self.share is None):
            raise PydanticCustomError("power_cap", "Input should have either kw or share")
        return self


Mode = Annotated[str, Field(min_length=1, max_length=60)]
"""A mode of the cooling plant, or auto."""

Policy = Literal["packed", "spread", "contiguous", "coolest", "most-reliable"]
POLICIES: tuple[str, ...] = get_args(Policy)


class Placement(Section):
    """Jobs of some kind are placed by some policy."""

    policy: Policy = Field(description="which free nodes they get")
    least_nodes: int = Field(default=1, ge=1, description="jobs of at least so many nodes")
    most_nodes: int | None = Field(default=None, ge=1, description="and at most so many")
    least_walltime: Seconds = Field(default=0, description="jobs that ask for at least so long")


def _one_or_several(schema: dict[str, Any]) -> None:
    """Let the JSON schema of a list of rules take one of them, or a policy alone."""
    rules = schema["anyOf"][0]
    schema["anyOf"] = [{"enum": [*POLICIES]}, dict(rules["items"]), *schema["anyOf"]]


def _rules(data: Any) -> Any:
    if isinstance(data, str):
        return [{"policy": data}]
    return [data] if isinstance(data, dict) else data


class Levers(Section):
    """What any scheduler is given besides: it decides as it does, and these add to it."""

    sleep_idle: SleepIdle | None = Field(
        default=None,
        description="idle nodes sleep: a time, auto, or a mapping",
        json_schema_extra=_or(_AUTO, *SPAN_SCHEMA["anyOf"]),
    )
    speed: Speed | None = Field(
        default=None,
        description="jobs run at another clock: a factor, auto, or a mapping",
        json_schema_extra=_or(_AUTO, _FACTOR),
    )
    power_cap: PowerCap | None = Field(default=None, description="a cap on what the facility draws")
    cooling: Mode | None = Field(
        default=None,
        description="the mode of the cooling plant, such as warm; auto: the warmest in which hardly a node is slowed",
    )
    placement: list[Placement] | None = Field(
        default=None,
        min_length=1,
        description="places by rule, of which the first that holds for a job counts: a policy, a mapping, or a list",
        json_schema_extra=_one_or_several,
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        if isinstance(data, dict) and "placement" in data:
            return {**data, "placement": _rules(data["placement"])}
        return data

    @property
    def names(self) -> list[str]:
        """Those that are set, in the order in which they act."""
        order = ("power_cap", "cooling", "sleep_idle", "speed", "placement")
        return [name for name in order if getattr(self, name) is not None]
