"""The catalogue meets the published anchors, says where each number is from, and refuses what is no machine."""

import math
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import MISSING, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from hpcsim import cli
from hpcsim.errors import InputError
from hpcsim.machine.catalogue import (
    MARKS,
    Unphysical,
    build_spec,
    load_machine,
    machine_data,
    machine_facts,
    machine_names,
)
from hpcsim.machine.shape import sections_of
from hpcsim.machine.spec import MachineSpec

FOLDER = Path(str(files("hpcsim.machine"))) / "catalog"
NAMES = ["aurora", "cooley", "mira", "polaris", "theta"]
GONE = object()  # in place of a value: the key is taken out


def it_power_w(spec: MachineSpec, *, busy: int, u: float) -> float:
    """Wall watts without cooling of ``busy`` nodes at utilisation ``u``, the rest idle."""
    power = spec.power
    return spec.nodes * power.idle_w + busy * u * (power.cpu_dyn_w + power.gpu_dyn_w) + power.fixed_w


def changed(name: str, changes: dict[str, Any]) -> dict[str, Any]:
    """The data of a machine with other values at dotted paths."""
    data = machine_data(name)
    for key, value in changes.items():
        *above, last = key.split(".")
        level = data
        for step in above:
            level = level[step]
        if value is GONE:
            del level[last]
        else:
            level[last] = value
    return data


def numbers(raw: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every number in what a YAML file says, with the keys that lead to it."""
    if isinstance(raw, dict):
        for key, part in raw.items():
            yield from numbers(part, (*path, key))
    elif isinstance(raw, list):
        for part in raw:
            yield from numbers(part, path)
    elif isinstance(raw, int | float):
        yield path, raw


def refused(data: dict[str, Any]) -> dict[str, str]:
    """What is wrong with the data: message by dotted path."""
    with pytest.raises(Unphysical) as caught:
        build_spec(data)
    return {".".join(map(str, path)): message for path, message in caught.value.wrong}


# -- the five machines ---------------------------------------------------------------------------


def test_mira_draws_its_top500_power_in_hpl() -> None:
    mira = load_machine("mira")
    assert it_power_w(mira, busy=mira.nodes, u=1.0) == pytest.approx(3_945e3, rel=0.01)


def test_theta_of_3240_nodes_draws_its_top500_power_in_hpl() -> None:
    theta = build_spec(changed("theta", {"nodes": 3240}))
    assert it_power_w(theta, busy=3240, u=1.0) == pytest.approx(1_087e3, rel=0.01)


def test_aurora_draws_its_top500_power_with_9234_nodes_in_hpl() -> None:
    assert it_power_w(load_machine("aurora"), busy=9234, u=0.76) == pytest.approx(38.7e6, rel=0.01)


def test_aurora_is_its_components_through_the_conversion_chain() -> None:
    power = load_machine("aurora").power
    parts_idle_w = 2 * 90 + 6 * 88 + 74.26 + 4 * 20 + 30
    parts_cpu_w, parts_gpu_w = 2 * (350 - 90), 6 * (600 - 88)

    def wall_w(out_w: float) -> float:
        behind = power.nodes_per_rectifier * (out_w + power.node_loss_w) / power.node_efficiency
        return (behind + power.rectifier_loss_w) / power.rectifier_efficiency / power.nodes_per_rectifier

    assert power.idle_w == pytest.approx(wall_w(parts_idle_w), rel=1e-3)
    assert power.cpu_dyn_w == pytest.approx(wall_w(parts_idle_w + parts_cpu_w) - wall_w(parts_idle_w), rel=1e-3)
    assert power.gpu_dyn_w == pytest.approx(wall_w(parts_idle_w + parts_gpu_w) - wall_w(parts_idle_w), rel=1e-3)
    assert power.fixed_w == pytest.approx(166 * 32 * 250 + 42 * 8473, rel=1e-3)


def test_sizes_are_the_published_ones() -> None:
    found = {name: load_machine(name) for name in machine_names()}
    assert {name: (spec.nodes, spec.units, spec.racks) for name, spec in found.items()} == {
        "aurora": (10_624, 10_624, 166),
        "cooley": (126, 126, 6),
        "mira": (49_152, 96, 48),
        "polaris": (560, 560, 40),
        "theta": (4_392, 4_392, 24),
    }
    mira = found["mira"]
    assert mira.torus is not None
    assert mira.block_units is not None
    assert math.prod(mira.torus) == mira.units
    sizes = [512, 1024, 2048, 4096, 8192, 12_288, 16_384, 24_576, 32_768, 49_152]
    assert [units * mira.unit_nodes for units in mira.block_units] == sizes
    assert found["polaris"].racks_per_group == 4


def test_theta_down_time_is_what_its_log_adds_up_to() -> None:
    failures = load_machine("theta").failures
    assert failures.outage_mean_gap_d == pytest.approx(365 / 7, rel=0.01)
    assert failures.maintenance_every_d is not None
    mean_h = failures.maintenance_median_h * math.exp(failures.maintenance_sigma**2 / 2)
    assert mean_h / (24 * failures.maintenance_every_d) == pytest.approx(0.0386, rel=0.05)


def test_polaris_is_warm_enough_that_heat_matters_and_cool_enough_to_run() -> None:
    spec = load_machine("polaris")
    power, heat = spec.power, spec.thermal
    peak_w = power.idle_w + power.cpu_dyn_w + power.gpu_dyn_w
    gpu_w = power.gpu_idle_w + power.gpu_dyn_w / spec.gpus_per_node
    sigma = math.hypot(heat.node_spread, heat.rack_spread)
    for watts, k_per_w, throttle_c in (
        (peak_w, heat.node_k_per_w, heat.cpu_throttle_c),
        (gpu_w, heat.gpu_k_per_w or 0.0, heat.gpu_throttle_c),
    ):
        median_c = heat.supply_c + k_per_w * watts
        hot_c = heat.supply_c + heat.supply_season_k + k_per_w * watts * math.exp(2 * sigma)
        assert median_c < throttle_c - heat.margin_k < hot_c


# -- the files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_number_has_unit_mark_and_source(path: Path) -> None:
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    facts = {steps[:-1] for steps, _ in numbers(raw) if steps[-1] == "value"}
    assert facts
    assert [steps for steps, _ in numbers(raw) if steps[-1] != "value"] == []
    for steps in facts:
        fact = raw
        for step in steps:
            fact = fact[step]
        assert list(fact) == ["value", "unit", "mark", "source"], steps
        assert fact["mark"] in MARKS
        assert all(isinstance(fact[key], str) and fact[key].strip() for key in ("unit", "source")), steps


def test_common_facts_are_the_defaults_of_the_classes() -> None:
    raw = yaml.safe_load((FOLDER / "common.yaml").read_text(encoding="utf-8"))
    for name, section in {"": MachineSpec, **sections_of(MachineSpec)}.items():
        said = raw[name] if name else raw
        for field in fields(section):
            default = field.default
            if default is MISSING or default is None:
                continue
            assert field.name in said, f"{name}.{field.name} has a default that no file gives a source for"
            value = said[field.name]["value"]
            assert (tuple(map(tuple, value)) if isinstance(value, list) else value) == default, field.name


@pytest.mark.parametrize("width", ["80", "160"])
@pytest.mark.parametrize("name", NAMES)
def test_the_table_of_facts_shows_every_number(
    name: str, width: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    with pytest.raises(SystemExit) as done:
        cli.main(["machines", name])
    assert done.value.code == 0
    lines = capsys.readouterr().out.replace("\N{NO-BREAK SPACE}", " ").splitlines()
    assert max(map(len, lines)) <= int(width)
    texts: dict[str, str] = {}  # what is said of each key of each section
    section, key = "", ""
    for line in lines[1:]:
        first, *rest = line[:25].split() or [""]
        if line.rstrip() in sections_of(MachineSpec):
            section = line.rstrip()
        elif not line.startswith(" ") and first:
            key = f"{section}.{first}".removeprefix(".")
            texts[key] = " ".join([*rest, *line[25:].split()])
        elif key:
            texts[key] += " " + " ".join(line.split())
    raw = yaml.safe_load((FOLDER / "common.yaml").read_text(encoding="utf-8"))
    own = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    for part, value in own.items():
        raw[part] = {**raw[part], **value} if part in sections_of(MachineSpec) else value
    checked = 0
    for steps, number in numbers(raw):
        told = texts[".".join(steps[:-1])]
        assert re.search(rf"(?<![\d.,-]){re.escape(f'{number:,}')}(?![\d]|[.,]\d)", told), (steps, number, told)
        checked += 1
    assert checked > 60
    for fact in machine_facts(name):
        told = texts[fact.key]
        assert fact.mark in told
        assert set(fact.source.split()) <= set(told.split()), fact
        assert fact.value is None or fact.unit in ("1", "name") or fact.unit in told, fact


def test_machines_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["machines"])
    listed = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:6]}
    assert list(listed) == machine_names() == NAMES
    assert "49,152" in listed["mira"]
    assert listed["mira"].endswith("3.95 MW")
    assert listed["aurora"].endswith("52.52 MW")


def test_data_belong_to_the_caller() -> None:
    data = machine_data("mira")
    data["power"]["idle_w"] = 1.0
    data["torus"].append(7)
    assert machine_data("mira")["power"]["idle_w"] == 36
    assert build_spec(machine_data("mira")) == load_machine("mira")


def test_a_file_is_read_like_a_name(tmp_path: Path) -> None:
    copy = tmp_path / "copy.yaml"
    copy.write_bytes((FOLDER / "polaris.yaml").read_bytes())
    assert load_machine(copy) == load_machine(str(copy)) == load_machine("polaris")
    assert load_machine("mine", {"mine": copy}) == load_machine("polaris")
    assert machine_names({"mine": copy}) == [*NAMES[:2], "mine", *NAMES[2:]]


def test_an_unknown_machine_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no machine named 'polari' and no such file\. Did you mean 'polaris'\?"):
        load_machine("polari")
    with pytest.raises(InputError, match=r"no machine named 'common'.* Known: aurora, cooley"):
        load_machine("common")
    with pytest.raises(InputError, match="there is no such file"):
        load_machine(tmp_path / "polaris.yaml")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("idle_w: {value: 490", "idle_w: {value: -490", "power.idle_w: should be above 0 (got -490.0)"),
        ("idle_w: {", "idle_watts: {", "power.idle_watts: no such key. Did you mean 'idle_w'?"),
        ("unit: W, mark: assumed", "mark: assumed", "power.idle_w: unit is missing; a fact is"),
        ("unit: W", "unit: 1", "power.idle_w: unit should be text; quote it where it is a number (got 1)"),
        ("mark: assumed", "mark: guessed", "power.idle_w: mark should be one of published, derived, assumed"),
        ('"four idle', 'x, sauce: "four idle', "power.idle_w: sauce: no such key. Did you mean 'source'?"),
        ("power:\n", "pover:\n", "pover: no such key. Did you mean 'power'?"),
        ("name: Polaris", "name: 7", "name: should be the machine's name (got 7)"),
        ("nodes: {value: 560", "nodes: 560 #", "nodes: a fact is {value, unit, mark, source} (got 560)"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = (FOLDER / "polaris.yaml").read_text(encoding="utf-8")
    at = text.index(old, text.index("power:") if "power.idle_w" in said else 0)
    file = tmp_path / "mine.yaml"
    file.write_text(text[:at] + new + text[at + len(old) :], encoding="utf-8")
    line = text[:at].count("\n") + 1
    with pytest.raises(InputError) as caught:
        load_machine(file)
    assert [told for told in str(caught.value).splitlines() if told.startswith(f"{file}:{line}:") and said in told]


def test_a_file_without_a_name_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("nodes: {value: 3, unit: nodes, mark: assumed, source: ours}\n", encoding="utf-8")
    with pytest.raises(InputError, match=rf"{file}: name: should be the machine's name"):
        load_machine(file)


# -- what is no machine --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "changes", "path", "said"),
    [
        ("polaris", {"thermal.node_k_per_w": -0.1}, "thermal.node_k_per_w", "should be above 0 (got -0.1)"),
        ("polaris", {"thermal.gpu_k_per_w": 0}, "thermal.gpu_k_per_w", "should be above 0"),
        ("polaris", {"thermal.node_j_per_k": 0}, "thermal.node_j_per_k", "should be above 0 (got 0.0)"),
        ("polaris", {"thermal.gpu_tau_s": -1}, "thermal.gpu_tau_s", "should be above 0"),
        ("polaris", {"thermal.gpu_tau_s": None}, "thermal.gpu_tau_s", "together with gpu_k_per_w"),
        ("polaris", {"power.cpu_dyn_w": -1}, "power.cpu_dyn_w", "peak power lies below idle (got -1.0)"),
        ("polaris", {"power.gpu_dyn_w": -1}, "power.gpu_dyn_w", "peak power lies below idle"),
        ("polaris", {"power.idle_w": 0}, "power.idle_w", "should be above 0"),
        ("polaris", {"power.sleep_w": 500}, "power.sleep_w", "should be at most idle_w, 490 (got 500)"),
        ("polaris", {"power.gpu_idle_w": 200}, "power.gpu_idle_w", "800 W, more than the whole idle node (490 W)"),
        ("polaris", {"power.node_loss_w": 500}, "power.node_loss_w", "an idle node 490 W"),
        ("theta", {"power.gpu_dyn_w": 5}, "power.gpu_dyn_w", "a node has no GPUs (got 5.0)"),
        ("polaris", {"gpus_per_node": 0}, "thermal.gpu_k_per_w", "a node has no GPUs (got 0.11)"),
        ("polaris", {"power.node_efficiency": 1.01}, "power.node_efficiency", "above 0 and at most 1 (got 1.01)"),
        ("polaris", {"power.rectifier_efficiency": 0}, "power.rectifier_efficiency", "above 0 and at most 1"),
        ("polaris", {"power.least_speed": 0}, "power.least_speed", "above 0 and at most 1"),
        ("polaris", {"power.least_speed": 1.5}, "power.least_speed", "above 0 and at most 1"),
        ("polaris", {"thermal.cpu_throttle_c": 96}, "thermal.cpu_throttle_c", "below node_shutdown_c, 95 (got 96)"),
        ("polaris", {"thermal.gpu_throttle_c": 92}, "thermal.gpu_throttle_c", "below gpu_shutdown_c, 92 (got 92)"),
        ("polaris", {"thermal.supply_c": 75}, "thermal.supply_c", "82 °C, but throttling begins at 77 °C"),
        ("polaris", {"thermal.node_k_per_w": 0.2}, "thermal.node_k_per_w", "an idle node would be at 129 °C"),
        ("polaris", {"thermal.gpu_k_per_w": 2.0}, "thermal.gpu_k_per_w", "an idle GPU would be at 141 °C"),
        ("polaris", {"thermal.recirculation": 1.0}, "thermal.recirculation", "at least 0 and below 1"),
        ("mira", {"nodes": 49_000}, "nodes", "should be a multiple of unit_nodes, 512 (got 49000)"),
        ("mira", {"torus": [2, 3, 4, 3]}, "torus", "2 x 3 x 4 x 3 = 72 places, but 96 units of 512 nodes"),
        ("mira", {"torus": [2, 3, 16]}, "torus", "should be a list of 4 (got [2, 3, 16])"),
        ("mira", {"torus": [2, 3, 4, 0]}, "torus.3", "should be 1 to 100,000,000 (got 0)"),
        ("mira", {"torus": None}, "block_units", "together with torus"),
        ("mira", {"block_units": [1, 2, 128]}, "block_units", "a block of 128 units on a machine of 96"),
        ("mira", {"block_units": [2, 1]}, "block_units", "ascending order"),
        ("mira", {"failures.blast": [[1, 0.7], [2, 0.2]]}, "failures.blast", "add up to 1 (got 0.9)"),
        ("mira", {"failures.blast": [[1, 1.2], [2, -0.2]]}, "failures.blast", "between 0 and 1 (got [1.2, -0.2])"),
        ("mira", {"failures.blast": [[2, 0.5], [1, 0.5]]}, "failures.blast", "ascending order"),
        ("mira", {"failures.blast": [[0.5, 1.0]]}, "failures.blast.0.0", "should be a whole number (got 0.5)"),
        ("mira", {"failures.blast": []}, "failures.blast", "should be a list that is not empty (got [])"),
        ("mira", {"failures.recurrence": 1.0}, "failures.recurrence", "at least 0 and below 1"),
        ("mira", {"failures.mean_gap_h": 0}, "failures.mean_gap_h", "above 0"),
        ("mira", {"failures.maintenance_weekday": 7}, "failures.maintenance_weekday", "0 (Monday) to 6 (Sunday)"),
        ("mira", {"failures.maintenance_median_h": 400}, "failures.maintenance_median_h", "less than the 336 h"),
        ("mira", {"cooling.kind": "water"}, "cooling.kind", "one of air, dlc (got 'water')"),
        ("mira", {"cooling.modes": [["a", 1], ["a", 2]]}, "cooling.modes", "its own name (got ['a', 'a'])"),
        ("mira", {"nodes": GONE}, "nodes", "missing, and it has no default"),
        ("mira", {"power": GONE}, "power", "missing, and it has no default"),
        ("mira", {"power": 3}, "power", "should be a mapping of keys and values (got 3)"),
        ("mira", {"racks": 48}, "racks", "follows from nodes, unit_nodes and units_per_rack; leave it out"),
        ("mira", {"thermal.suply_c": 3}, "thermal.suply_c", "no such key. Did you mean 'supply_c'?"),
        ("mira", {"nodes": 49_152.0}, "nodes", "should be a whole number (got 49152.0)"),
        ("mira", {"nodes": True}, "nodes", "should be a whole number (got True)"),
        ("mira", {"power.idle_w": "36"}, "power.idle_w", "should be a number (got '36')"),
        ("mira", {"power.idle_w": False}, "power.idle_w", "should be a number (got False)"),
        ("mira", {"power.idle_w": math.nan}, "power.idle_w", "should be a finite number (got nan)"),
        ("mira", {"power.idle_w": 10**400}, "power.idle_w", "should be a finite number"),
        ("mira", {"name": " "}, "name", "should be text (got ' ')"),
    ],
)
def test_what_is_no_machine_is_refused_with_its_path(name: str, changes: dict[str, Any], path: str, said: str) -> None:
    wrong = refused(changed(name, changes))
    assert path in wrong
    assert said in wrong[path]


def test_one_fault_is_told_once() -> None:
    """What follows from a fault is not told again, except by a law of its own."""
    for changes in ({"power.idle_w": -1}, {"thermal.margin_k": "3"}, {"nodes": 0}, {"torus": [0, 3, 4, 4]}):
        assert len(refused(changed("mira", changes))) == 1


def test_all_faults_are_told_at_once() -> None:
    changes = {"power.idle_w": -1, "thermal.supply_c": math.inf, "nodes": 5, "cooling.kid": "air", "racks": 1}
    assert set(refused(changed("mira", changes))) == set(changes)


def test_minus_300_is_refused_for_every_number() -> None:
    """No number is without a bound: no count, span, share, watt or temperature is that low."""
    for key in [".".join(steps) for steps, _ in numbers(machine_data("polaris"))]:
        if key not in ("cooling.modes", "failures.blast"):
            assert list(refused(changed("polaris", {key: -300}))) == [key]


def test_nonsense_is_refused_and_never_breaks() -> None:
    odd = [None, True, "x", "", -1, 10**30, 1e300, math.nan, -math.inf, [], [[]], {}, {"a": 1}, object()]
    for name in ("mira", "polaris"):
        data = machine_data(name)
        keys = [*data, *(f"{section}.{key}" for section in sections_of(MachineSpec) for key in data[section])]
        for key in keys:
            for value in odd:
                with suppress(Unphysical):  # and nothing else
                    assert isinstance(build_spec(changed(name, {key: value})), MachineSpec)


def test_a_smaller_machine_has_fewer_racks_and_no_larger_failures() -> None:
    spec = build_spec(changed("polaris", {"nodes": 496}))
    assert (spec.units, spec.racks) == (496, 36)  # the last of them short
    tiny = build_spec(changed("polaris", {"nodes": 2}))
    assert tiny.racks == 1
    assert [size for size, _ in tiny.failures.blast] == [1, 2]
    assert [share for _, share in tiny.failures.blast] == pytest.approx([0.93, 0.07])


def test_a_machine_may_leave_out_what_has_a_default() -> None:
    data = machine_data("theta")
    raw = yaml.safe_load((FOLDER / "common.yaml").read_text(encoding="utf-8"))
    for section in sections_of(MachineSpec):
        own = yaml.safe_load((FOLDER / "theta.yaml").read_text(encoding="utf-8"))[section]
        has_default = {
            field.name for field in fields(sections_of(MachineSpec)[section]) if field.default is not MISSING
        }
        for key in (raw[section].keys() & has_default) - own.keys():
            del data[section][key]
    assert build_spec(data) == load_machine("theta")
