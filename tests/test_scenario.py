"""A scenario means what its file says, and all that is wrong with one is told at once and placed."""

import json
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, field_validator

from hpcsim.errors import InputError
from hpcsim.scenario.layers import Layer, did_you_mean, merged, packaged_scenarios
from hpcsim.scenario.load import load_scenario, scenario_schema
from hpcsim.scenario.models import Scenario
from hpcsim.scenario.times import LONGEST_SPAN_S, Instant, span_s
from hpcsim.strict_yaml import dump_yaml


class Easy:
    class Options(BaseModel):  # ignores unknown keys, as pydantic does unless told otherwise
        order: Literal["fcfs", "sjf"] = "fcfs"
        reserve: int = Field(1, ge=1)

        @field_validator("reserve")
        @classmethod
        def odd(cls, reserve: int) -> int:
            return reserve if reserve != 13 else 1 // 0


class Plain:
    pass


SCHEDULERS: dict[str, type] = {"easy": Easy, "plain": Plain, "other": Easy}


def written(folder: Path, text: str, name: str = "s.yaml") -> Path:
    file = folder / name
    file.write_text(dedent(text), encoding="utf-8")
    return file


def errors(folder: Path, text: str, overrides: Any = (), name: str = "s.yaml") -> list[str]:
    """The lines of the error, without the folder."""
    file = written(folder, text, name)
    with pytest.raises(InputError) as caught:
        load_scenario(file, overrides, schedulers=SCHEDULERS)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (0, 0),
        (90, 90),
        ("90s", 90),
        ("12h30m", 45_000),
        ("1d12h", 129_600),
        ("3d", 259_200),
        ("1d 2h 3m 4s", 93_784),
        ("12:30:00", 45_000),
        ("100:00:01", 360_001),
        ("36500d", LONGEST_SPAN_S),
    ],
)
def test_spans_are_whole_seconds(text: object, seconds: int) -> None:
    assert span_s(text) == seconds


@pytest.mark.parametrize(
    "wrong",
    [
        -1,
        True,
        1.5,
        float("nan"),
        None,
        "",
        "90",
        "-90s",
        "12h30",
        "30m12h",
        "1.5h",
        "24:00",
        "1:60:00",
        "1:00:60",
        "36501d",
        LONGEST_SPAN_S + 1,
        10**400,
        "9" * 30 + "s",
        "٣d",
        [1],
    ],
)
def test_what_is_no_span_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="should be"):
        span_s(wrong)


@settings(deadline=None)
@given(st.integers(0, 9999), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_units_and_clock_agree(days: int, hours: int, minutes: int, seconds: int) -> None:
    clock = f"{days * 24 + hours}:{minutes:02}:{seconds:02}"
    assert span_s(f"{days}d{hours}h{minutes}m{seconds}s") == span_s(clock)


def test_an_instant_is_a_span_or_a_date_in_utc() -> None:
    t0_utc = int(datetime(2023, 9, 14, tzinfo=UTC).timestamp())
    assert Instant.parse("1d").seconds(t0_utc) == 86_400
    assert Instant.parse(7).seconds(t0_utc) == 7
    assert Instant.parse("2023-09-15").seconds(t0_utc) == 86_400
    assert Instant.parse("2023-09-15 12:00").seconds(t0_utc) == 129_600
    assert Instant.parse("2023-09-15T12:00:30Z").seconds(t0_utc) == 129_630
    assert Instant.parse("2023-09-15T12:00+02:00").seconds(t0_utc) == 122_400
    assert Instant.parse("2023-09-13").seconds(t0_utc) == -86_400


@pytest.mark.parametrize("wrong", ["2023-02-30", "2023-9-1", "yesterday", "0001-01-01T00:00+10:00", -1, True, "12:00"])
def test_what_is_no_instant_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="should be"):
        Instant.parse(wrong)


def test_the_packaged_scenarios_are_the_machines_of_the_centre() -> None:
    nodes = {name: load_scenario(name).scenario.machine.nodes for name in packaged_scenarios()}
    assert {key: value for key, value in nodes.items() if key in ("bare", "mira", "theta", "cooley")} == {
        "bare": None,
        "mira": 49_152,
        "theta": 4_392,
        "cooley": 126,
    }
    assert nodes["polaris"] == 560
    assert nodes["aurora"] == 10_624


@pytest.mark.parametrize("name", sorted(packaged_scenarios()))
def test_a_packaged_scenario_is_short_and_points_editors_to_the_schema(name: str) -> None:
    lines = packaged_scenarios()[name].read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# yaml-language-server: $schema=scenario.schema.json"
    assert len(lines) <= 30
    assert load_scenario(name).scenario.name == name


def test_the_committed_schema_is_that_of_the_models() -> None:
    file = packaged_scenarios()["bare"].with_name("scenario.schema.json")
    assert json.loads(file.read_text(encoding="utf-8")) == scenario_schema(), (
        "hpcsim schema -o scenarios/scenario.schema.json"
    )


def test_every_key_of_the_schema_is_described() -> None:
    schema = scenario_schema()
    sections = [schema, *schema["$defs"].values()]
    missing = [
        key for section in sections for key, field in section["properties"].items() if "description" not in field
    ]
    assert missing == []
    assert set(schema["properties"]) == {"base", *Scenario.model_fields}


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("name: x\nseeed: 4\n", ["s.yaml:2:1: seeed: no such key. Did you mean 'seed'? (got 4)"]),
        ("name: x\nseed: yes\n", ["s.yaml:2:7: seed: Input should be a valid integer (got 'yes')"]),
        ("name: x\nseed: true\n", ["s.yaml:2:7: seed: Input should be a valid integer (got true)"]),
        (
            "name: x\nmachine:\n  nodes: -4\n  noodes: 3\noverrun: kil\n",
            [
                "s.yaml:3:10: machine.nodes: Input should be greater than or equal to 1 (got -4)",
                "s.yaml:4:3: machine.noodes: no such key. Did you mean 'nodes'? (got 3)",
                "s.yaml:5:10: overrun: Input should be 'trace' or 'kill'. Did you mean 'kill'? (got 'kil')",
            ],
        ),
        ("seed: 1\n", ["s.yaml:1:1: name: missing, and it has no default"]),
        (
            "name: x\nmachine: 560\n",
            ["s.yaml:2:10: machine: Input should be a mapping of keys and values (got 560)"],
        ),
        (
            "name: x\nscheduler: [easy]\n",
            ['s.yaml:2:12: scheduler: Input should be a mapping of keys and values (got ["easy"])'],
        ),
        (
            "name: x\nscheduler: esay\n",
            ["s.yaml:2:12: scheduler.name: no scheduler named 'esay'. Did you mean 'easy'? Known: easy, other, plain."],
        ),
        (
            "name: x\nseed: -1\nscheduler:\n  name: easy\n  oder: sjf\n  reserve: 0\n",
            [
                "s.yaml:2:7: seed: Input should be greater than or equal to 0 (got -1)",
                "s.yaml:5:3: scheduler.oder: easy has no such option. Did you mean 'order'? (got 'sjf')",
                "s.yaml:6:12: scheduler.reserve: Input should be greater than or equal to 1 (got 0)",
            ],
        ),
        (
            "name: x\nscheduler: {order: sfj}\n",
            ["s.yaml:2:20: scheduler.order: Input should be 'fcfs' or 'sjf'. Did you mean 'sjf'? (got 'sfj')"],
        ),
        (
            "name: x\nscheduler: {name: plain, order: sjf}\n",
            ["s.yaml:2:26: scheduler.order: plain has no such option. Known: none. (got 'sjf')"],
        ),
        (
            "name: x\nscheduler: {reserve: 13}\n",
            [
                "s.yaml:2:12: scheduler: the options of easy broke while being checked: ZeroDivisionError: "
                "integer division or modulo by zero"
            ],
        ),
        (
            "name: x\nwindow: {start: 2d, end: 1d}\n",
            ["s.yaml:2:26: window.end: Input should be after window.start (got '1d')"],
        ),
        ("name: x\n7: 1\n", ["s.yaml:2:1: 7: a key should be text (got 7)"]),
        ("name: x\nname: y\n", ["s.yaml:2:1: found the key 'name' a second time; the first is in line 1"]),
        ("name: x\nbase: polarsi\n", None),
        ("name: x\nbase: 4\n", ["s.yaml:2:7: base: should be a file or a packaged scenario (got 4)"]),
        (
            "name: x\nbase: s.yaml\n",
            ["s.yaml:2:7: base: a scenario cannot start from itself (s.yaml -> s.yaml)"],
        ),
        ("name: x\nbase: none/t.yaml\n", ["s.yaml:2:7: base: none/t.yaml: there is no such file"]),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, lines: list[str] | None) -> None:
    found = errors(tmp_path, text)
    if lines is None:
        assert len(found) == 1
        assert "s.yaml:2:7: base: no scenario named 'polarsi'" in found[0]
        assert "Did you mean 'polaris'?" in found[0]
    else:
        assert found == lines


@pytest.mark.parametrize(
    "line",
    [
        *(
            "pass_interval: .nan",
            "pass_interval: -1",
            "pass_interval: 1.5",
            "pass_interval: true",
            "until: 200y",
        ),
        *(
            "days: .nan",
            "days: .inf",
            "days: 0",
            "jobs: 0",
            "jobs: 1e3",
            f"jobs: {'9' * 30}",
            f"seed: {'9' * 30}",
        ),
        *(
            "name: a/b",
            "name: ''",
            "name: '..'",
            "trace: ''",
            "strict: 'true'",
            "description: null",
            "seed: 1.0",
        ),
    ],
)
def test_an_impossible_value_is_refused_at_its_column(tmp_path: Path, line: str) -> None:
    key, _, value = line.partition(": ")
    name = "" if key == "name" else "name: x\n"
    found = errors(tmp_path, f"{line}\n{name}")
    assert len(found) == 1
    assert found[0].startswith(f"s.yaml:1:{len(key) + 3}: {key}: ")
    assert value.strip("'")[:9] in found[0] or "got NaN" in found[0] or "got Infinity" in found[0] or "1e3" in value


@pytest.mark.parametrize(
    ("overrides", "lines"),
    [
        (
            ["machine.nodes=x", "seed=-1"],
            [
                "--set machine.nodes=x: machine.nodes: Input should be a valid integer (got 'x')",
                "--set seed=-1: seed: Input should be greater than or equal to 0 (got -1)",
            ],
        ),
        (["seed"], ["--set seed: expected key=value, such as machine.nodes=560"]),
        (
            ["=3", "a..b=4"],
            [
                "--set =3: '' is no key; expected one such as machine.nodes",
                "--set a..b=4: 'a..b' is no key; expected one such as machine.nodes",
            ],
        ),
        (["base=mira"], ["--set base=mira: base may stand in a file only"]),
        (
            ["machine.noodes=3"],
            ["--set machine.noodes=3: machine.noodes: no such key. Did you mean 'nodes'? (got 3)"],
        ),
        ([("seed", "1")], ["override seed: seed: Input should be a valid integer (got '1')"]),
        (
            {"machine": {"nodes": 0}},
            ["override machine: machine.nodes: Input should be greater than or equal to 1 (got 0)"],
        ),
        (
            ["seed=!!int 3"],
            ["--set seed=!!int 3: found the tag 'tag:yaml.org,2002:int'; only plain values may stand here"],
        ),
    ],
)
def test_a_wrong_override_is_named(tmp_path: Path, overrides: Any, lines: list[str]) -> None:
    assert errors(tmp_path, "name: x\n", overrides) == lines


def test_an_override_stands_above_the_file_and_the_last_one_wins() -> None:
    loaded = load_scenario("polaris", ["seed=7", "machine.nodes=10", "seed=8", "window={start: 1d}"])
    assert (loaded.scenario.seed, loaded.scenario.machine.nodes) == (8, 10)
    assert loaded.scenario.machine.name == "Polaris"
    assert loaded.scenario.window is not None
    assert loaded.place("seed") == "--set seed=8"
    assert loaded.place("window", "start") == "--set window={start: 1d}"
    assert loaded.place("machine", "name").endswith("polaris.yaml:9:9")
    assert loaded.place("until") == "default"


def test_a_base_is_merged_key_by_key_and_keeps_its_places(tmp_path: Path) -> None:
    written(tmp_path, "base: cooley\nseed: 5\ntrace: deep.swf\n", "deep.yaml")
    (tmp_path / "in").mkdir()
    top = written(tmp_path / "in", "base: ../deep.yaml\nname: top\nmachine: {nodes: 9}\n")
    loaded = load_scenario(top)
    assert (loaded.scenario.name, loaded.scenario.seed) == ("top", 5)
    machine = {"name": "Cooley", "nodes": 9, "model": "cooley"}
    assert loaded.scenario.machine.model_dump(exclude_none=True) == machine
    assert loaded.scenario.trace == str(tmp_path / "deep.swf")
    assert loaded.place("machine", "nodes") == f"{top}:3:18"
    assert loaded.place("seed").endswith("deep.yaml:2:7")
    assert loaded.place("machine", "name").endswith("cooley.yaml:9:9")
    assert "base" not in loaded.resolved()


def test_a_ring_of_bases_is_refused(tmp_path: Path) -> None:
    written(tmp_path, "base: b.yaml\nname: a\n", "a.yaml")
    written(tmp_path, "base: ./c.yaml\n", "b.yaml")
    found = errors(tmp_path, "base: a.yaml\n", name="c.yaml")
    assert found == ["b.yaml:1:7: base: a scenario cannot start from itself (c.yaml -> a.yaml -> b.yaml -> c.yaml)"]


@pytest.mark.parametrize(
    ("upper", "scheduler"),
    [
        ("scheduler: plain\n", {"name": "plain"}),
        ("scheduler: {name: plain}\n", {"name": "plain"}),
        ("scheduler: easy\n", {"name": "easy", "order": "sjf", "reserve": 2}),
        ("scheduler: {order: fcfs}\n", {"name": "easy", "order": "fcfs", "reserve": 2}),
        ("seed: 3\n", {"name": "easy", "order": "sjf", "reserve": 2}),
    ],
)
def test_another_scheduler_does_not_inherit_options(tmp_path: Path, upper: str, scheduler: dict[str, object]) -> None:
    written(tmp_path, "name: x\nscheduler: {name: easy, order: sjf, reserve: 2}\n", "low.yaml")
    file = written(tmp_path, "base: low.yaml\n" + upper)
    assert load_scenario(file, schedulers=SCHEDULERS).resolved()["scheduler"] == scheduler


def test_overrides_of_a_scheduler_and_its_options_are_one_layer(tmp_path: Path) -> None:
    file = written(tmp_path, "name: x\nscheduler: plain\n")
    for overrides in (
        ["scheduler=other", "scheduler.order=sjf"],
        ["scheduler.order=sjf", "scheduler.name=other"],
    ):
        options = load_scenario(file, overrides, schedulers=SCHEDULERS).options
        assert isinstance(options, Easy.Options)
        assert (options.order, options.reserve) == ("sjf", 1)


def test_an_override_takes_the_place_of_what_it_makes_and_not_of_what_stands_around_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("base: polaris\nname: mine\nlevers:\n  power_cap: {when: {hours_utc: [20, 4]}}\n")
    with pytest.raises(
        InputError, match=r"^\S*mine\.yaml:4:14: levers\.power_cap: Input should have either kw or share"
    ):
        load_scenario(file, ["levers.power_cap.when.price_above=0.5"])
    with pytest.raises(InputError, match=r"^--set levers\.power_cap\.when\.price_above=0\.5: levers\.power_cap: Input"):
        load_scenario("polaris", ["levers.power_cap.when.price_above=0.5"])
    with pytest.raises(InputError, match=r"^--set a\.b\.c=1: a: no such key"):
        load_scenario("polaris", ["a.b.c=1"])


def test_what_is_replaced_leaves_no_place_and_no_trace_below() -> None:
    section = {"name": "x", "window": {"start": "1d"}, "machine": {"nodes": 4}}
    loaded = load_scenario(section, ["window=null", "machine.nodes=5"])
    assert loaded.scenario.window is None
    assert loaded.place("window", "start") == "default"
    lower, upper = Layer({"machine": {"nodes": 4}}), Layer({"machine": {"nodes": 5}})
    assert merged(lower, upper).data == {"machine": {"nodes": 5}}
    assert lower.data == {"machine": {"nodes": 4}}


def test_the_wrong_value_may_stand_in_the_base(tmp_path: Path) -> None:
    written(tmp_path, "name: x\nmachine:\n  nodes: none\n", "low.yaml")
    found = errors(tmp_path, "base: low.yaml\nseed: -1\n")
    assert [line.split(": ")[0] for line in found] == ["low.yaml:3:10", "s.yaml:2:7"]


def test_a_trace_is_relative_to_where_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    file = written(tmp_path / "in", "name: x\ntrace: jobs/t.swf\n")
    monkeypatch.chdir(tmp_path)
    assert load_scenario(file).scenario.trace == str(tmp_path / "in/jobs/t.swf")
    assert load_scenario(file, ["trace=t.swf"]).scenario.trace == str(tmp_path / "t.swf")
    assert load_scenario(file, {"trace": Path("t.swf")}).scenario.trace == str(tmp_path / "t.swf")
    assert load_scenario(file, ["trace=/a/t.swf"]).scenario.trace == "/a/t.swf"
    assert load_scenario({"name": "x", "trace": "t.swf"}).scenario.trace == str(tmp_path / "t.swf")
    assert load_scenario(file, ["trace="]).scenario.trace is None


def test_a_packaged_name_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "name: mine\n", "polaris")
    assert load_scenario("polaris").scenario.machine.nodes == 560
    assert load_scenario("./polaris").scenario.name == "mine"
    assert load_scenario(Path("polaris")).scenario.name == "mine"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("polarsi", "no scenario named 'polarsi' and no such file. Did you mean 'polaris'? Known: "),
        ("polaris.yaml", "polaris.yaml: there is no such file. The packaged scenario is called 'polaris'"),
        ("none/x.yaml", "none/x.yaml: there is no such file"),
        ("~no_such_user/x.yaml", "there is no such file"),
        (".", "a directory, expected a scenario file"),
        ("", "a directory, expected a scenario file"),
        ("nul\0", "no scenario named"),
        ({"name": "x", "base": "polarsi"}, "mapping: base: no scenario named 'polarsi'"),
        ({"name": "x", "seed": 10**5000}, "mapping: seed: Input should be less than"),
    ],
)
def test_a_source_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Any, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        load_scenario(source)
    assert said in str(caught.value)


spans = st.integers(0, LONGEST_SPAN_S)
instants = spans | st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)).map(lambda date: f"{date:%Y-%m-%d %H:%M}")
sections = st.fixed_dictionaries(
    {"name": st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,9}\Z")},
    optional={
        "description": st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=10),
        "seed": st.integers(0, 2**63 - 1),
        "machine": st.fixed_dictionaries({}, optional={"nodes": st.none() | st.integers(1, 10**6)}),
        "trace": st.sampled_from([None, "a.swf", "no", "12:30"]),
        "profile": st.sampled_from([None, "mira", "1e3"]),
        "jobs": st.none() | st.integers(1, 10**9),
        "days": st.none() | st.floats(0.001, 36_500),
        "strict": st.booleans(),
        "scheduler": st.just("plain")
        | st.fixed_dictionaries({}, optional={"order": st.sampled_from(["fcfs", "sjf"]), "reserve": st.integers(1, 9)}),
        "window": st.none() | st.fixed_dictionaries({}, optional={"start": instants, "warm_up": spans}),
        "until": st.none() | instants,
        "pass_interval": spans,
    },
)


@settings(deadline=None, max_examples=100)
@given(sections)
def test_a_resolved_scenario_written_and_read_again_is_equal(tmp_path_factory: Any, section: dict[str, object]) -> None:
    first = load_scenario(section, schedulers=SCHEDULERS)
    file = tmp_path_factory.mktemp("resolved") / "scenario.yaml"
    file.write_text(dump_yaml(first.resolved()), encoding="utf-8")
    again = load_scenario(file, schedulers=SCHEDULERS)
    assert again.scenario == first.scenario
    assert again.options == first.options
    assert again.resolved() == first.resolved()


def test_letters_that_changed_places_are_guessed_first():
    assert did_you_mean("sfj", ["sqf", "sjf", "saf"]) == " Did you mean 'sjf'?"
