"""What a tournament file may say: which scenarios, schedulers, windows, seeds and loads, and what is compared.

The models check names of keys, types and bounds; what the names mean is decided in ``tournament.plan``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from hpcsim.errors import InputError
from hpcsim.scenario.layers import Layer, did_you_mean, packaged_tournaments, shown
from hpcsim.scenario.load import complaints
from hpcsim.scenario.models import Shake, Window
from hpcsim.scenario.section import Section
from hpcsim.scenario.times import Moment, Seconds
from hpcsim.strict_yaml import Place, Steps, YamlText, read_mapping

AS_IS: Final = "as-is"
SATURATION: Final = "saturation"
SATURATED: Final = 1.2
"""The offered load of ``saturation``: a fifth more comes than the machine can do, so that jobs always wait."""

DEFAULT_METRICS: Final = (
    "mean_bounded_slowdown",
    "p95_bounded_slowdown",
    "mean_wait_s",
    "utilisation",
    "throughput_node_h_per_h",
    "fairness_jain",
    "energy_facility_kwh",
    "energy_kwh_per_work_node_hour",
    "lost_node_hours",
)


M = TypeVar("M", bound=BaseModel)


def _by_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class Entrant(Section):
    """A scheduler that takes part: its name, its options as further keys, and what stands around it."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(min_length=1, description="name of the scheduler, built in or of a plug-in")
    label: str | None = Field(
        default=None,
        pattern=r"^[^\s,\"'][^,\"\n]*$",
        max_length=60,
        description="what tables call it; its name, options and levers when left out",
    )
    levers: Any = Field(
        default=None, description="the levers around it, as in a scenario; the scenario's when left out"
    )
    twins: Any = Field(default=None, description="the twins that it can ask, as in a scenario; likewise")

    @property
    def options(self) -> dict[str, Any]:
        """The keys that are the scheduler's own."""
        return dict(self.model_extra or {})

    @property
    def shown(self) -> str:
        """What tables call it: the label, or else a name such as ``easy(order=sjf)+sleep_idle``."""
        if self.label is not None:
            return self.label
        given = "; ".join(f"{key}={value}" for key, value in self.options.items())
        levers = "".join(f"+{name}" for name in self.levers) if isinstance(self.levers, dict) else ""
        return (f"{self.name}({given})" if given else self.name) + levers


class Windows(Section):
    """Disjoint parts of a trace, one after the other."""

    measured: Seconds = Field(description="length of the part of each that metrics count")
    warm_up: Seconds = Field(default=0, description="seconds before it that no metric counts")
    cool_down: Seconds = Field(
        default=0, description="seconds after it in which jobs still come, that no metric counts"
    )
    count: int | None = Field(
        default=None, ge=1, le=100_000, description="how many, the earliest; as many as fit when left out"
    )
    every: Seconds | None = Field(
        default=None,
        description="from the start of one to the start of the next; their whole length when left out. Less lets a "
        "window warm up while the one before it cools down; measured parts never overlap",
    )
    start: Moment | None = Field(default=None, description="where the first begins; the first submission when left out")
    end: Moment | None = Field(default=None, description="where the last ends at the latest; the end of the trace")
    warm_start: bool = Field(
        default=True,
        description="begin with the jobs that were running or waiting, where the trace records starts; profiles "
        "record none and begin empty",
    )


class Listed(Window):
    """A window of its own."""

    warm_start: bool = Field(default=True, description="as of windows by pattern")


class Protocol(Section):
    """Another way to cut jobs out of a trace."""

    name: Literal["windows", "rlscheduler"] = Field(
        default="windows",
        description="rlscheduler: sequences of jobs from random places, on a machine that begins empty, as in papers "
        "on reinforcement learning; the load that they offer is lower than that of the trace",
    )
    sequences: int = Field(default=10, ge=1, le=10_000, description="of rlscheduler: how many")
    jobs: int = Field(default=1024, ge=2, le=10**7, description="of rlscheduler: jobs of each")
    seed: int = Field(default=1, ge=0, lt=2**63, description="of rlscheduler: what the places are drawn by")


def _load(value: Any) -> Any:
    if isinstance(value, str):
        if value not in (AS_IS, SATURATION):
            guess = did_you_mean(value, (AS_IS, SATURATION))
            raise PydanticCustomError(
                "load", "Input should be a number, '{as_is}' or '{saturation}'.{guess}",
                {"as_is": AS_IS, "saturation": SATURATION, "guess": guess},
            )  # fmt: skip
    elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 10:
        raise PydanticCustomError("load", "Input should be greater than 0 and at most 10, or text")
    return value


def _seeds(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= 100_000:
            raise PydanticCustomError("seeds", "Input should be from 1 to 100,000, or a list of seeds")
        return list(range(1, value + 1))
    return value


class Tournament(Section):
    """A grid of cells, scenario x window x load x seed x scheduler, and what is compared."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100, description="name of the tournament")
    description: str = Field(default="", description="what it is for, in a sentence")
    scenarios: list[Any] = Field(
        min_length=1, description="each a file, a packaged name, or a scenario that begins with base"
    )
    schedulers: list[Annotated[Entrant, BeforeValidator(_by_name)]] = Field(
        min_length=1, description="each a name, or a mapping of name, options, levers, twins and label"
    )
    windows: Any = Field(default=None, description="a pattern, or a list of windows; all jobs when left out")
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]], BeforeValidator(_seeds)] = Field(
        default=[1], min_length=1, description="a list, or a number: so many from 1"
    )
    loads: list[Annotated[Any, BeforeValidator(_load)]] = Field(
        default=[AS_IS], min_length=1, description="offered loads, 'saturation' (1.2), or 'as-is'"
    )
    metrics: list[str] = Field(
        default=list(DEFAULT_METRICS), min_length=1, description="figures of the summary, or metrics of plug-ins"
    )
    control: str | None = Field(
        default=None, description="label of the scheduler that the others are compared with; the first when left out"
    )
    protocol: Annotated[Protocol, BeforeValidator(_by_name)] = Field(
        default=Protocol(), description="windows, or rlscheduler"
    )
    shake: Shake | None = Field(
        default=None, description="every job a little off by the seed, as in a scenario; none when left out"
    )
    cell_limit: Seconds | None = Field(
        default=None, description="seconds by the clock after which a cell is given up as failed; none when left out"
    )
    keep: Literal["summary", "tables"] = Field(
        default="summary", description="what is kept of each cell besides its summary: nothing, or all tables of a run"
    )


@dataclass(frozen=True, slots=True)
class Grid:
    """A tournament that holds by itself, and where its values were written.

    ``windows`` is its pattern or list, checked. ``folder`` is what its files are relative to.
    """

    tournament: Tournament
    windows: Windows | list[Listed] | None
    text: YamlText
    folder: Path

    def place(self, *path: str | int) -> Place:
        """Where the value at ``path`` stands, or the nearest thing around it."""
        return self._layer.place(path)

    @property
    def _layer(self) -> Layer:
        return Layer(self.text.data, self.text.key_places, self.text.value_places)

    @property
    def control(self) -> str:
        """The label of the control."""
        return self.tournament.control or self.tournament.schedulers[0].shown


def read_grid(source: str | Path) -> Grid:
    """The tournament of a file or of a packaged name.

    Raises ``InputError`` with a line for each thing that is wrong, ordered by place.
    """
    path = _found(source)
    text = read_mapping(path)
    layer = Layer(text.data, text.key_places, text.value_places)
    wrong: list[tuple[Place, str]] = []
    tournament: Tournament | None = None
    try:
        tournament = Tournament.model_validate(text.data)
    except ValidationError as error:
        wrong += complaints(error, layer, Tournament, ())
    windows, told = _windows(text.data.get("windows"), layer)
    wrong += told
    if tournament is not None:
        wrong += _contradictions(tournament, layer)
    if tournament is None or wrong:
        raise InputError("\n".join(dict.fromkeys(f"{place}: {said}" for place, said in sorted(wrong))))
    return Grid(tournament, windows, text, path.parent)


def _found(source: str | Path) -> Path:
    """The file that is meant; its name is relative to the working directory where it lies below that."""
    path = Path(source).expanduser()
    packaged = packaged_tournaments()
    if path.is_file() or isinstance(source, Path) or source.endswith((".yaml", ".yml")) or "/" in source:
        return path
    if source in packaged:
        found = packaged[source]
        return found.relative_to(Path.cwd()) if found.is_relative_to(Path.cwd()) else found
    guess = did_you_mean(source, packaged)
    raise InputError(f"no tournament named {source!r} and no such file.{guess} Known: {', '.join(packaged)}.")


def _windows(given: Any, layer: Layer) -> tuple[Windows | list[Listed] | None, list[tuple[Place, str]]]:
    if given is None:
        return None, []
    if isinstance(given, dict):
        window, wrong = _checked(Windows, given, layer, ("windows",))
        return window, wrong
    if not isinstance(given, list) or not given:
        text = (
            "windows: Input should be a mapping such as {measured: 7d, count: 10}, or a list of windows "
            f"(got {shown(given)})"
        )
        return None, [(layer.place(("windows",)), text)]
    windows: list[Listed] = []
    wrong = []
    for number, each in enumerate(given):
        listed, told = _checked(Listed, each, layer, ("windows", number))
        wrong += told
        if listed is not None:
            windows.append(listed)
    return windows, wrong


def _checked(model: type[M], data: Any, layer: Layer, path: Steps) -> tuple[M | None, list[tuple[Place, str]]]:
    try:
        return model.model_validate(data), []
    except ValidationError as error:
        return None, complaints(error, layer, model, path)


def _contradictions(tournament: Tournament, layer: Layer) -> list[tuple[Place, str]]:
    """What is wrong with a tournament whose values are right one by one."""
    wrong = []
    labels = [entrant.shown for entrant in tournament.schedulers]
    lists: dict[str, Sequence[Any]] = {
        "schedulers": labels, "seeds": tournament.seeds, "loads": tournament.loads, "metrics": tournament.metrics
    }  # fmt: skip
    for key, values in lists.items():
        for number, value in enumerate(values):
            if value in values[:number]:
                advice = "; give one of them a label of its own" if key == "schedulers" else ""
                wrong.append((layer.place((key, number)), f"{key}: {value} a second time{advice}"))
    if tournament.control is not None and tournament.control not in labels:
        guess = did_you_mean(tournament.control, labels) or f" Known: {', '.join(labels)}."
        wrong.append((layer.place(("control",)), f"control: no scheduler is called {tournament.control!r}.{guess}"))
    if tournament.protocol.name != "windows" and tournament.windows is not None:
        text = "windows: the protocol rlscheduler cuts sequences out of the jobs by itself; leave windows out"
        wrong.append((layer.place(("windows",)), text))
    return wrong
