"""From a tournament file to its cells: what is wrong is told with its place before any cell runs."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from pages import blocks

import hpcsim
from hpcsim.errors import InputError
from hpcsim.plugin.loader import load_plugins
from hpcsim.scenario.layers import packaged_tournaments
from hpcsim.tournament.directories import Directory
from hpcsim.tournament.estimate import Pilot, pilots, reckoned
from hpcsim.tournament.execute import missing
from hpcsim.tournament.grid import Tournament, Windows, read_grid
from hpcsim.tournament.plan import Plan, plan

PLUGINS = load_plugins()
GOOD = """
name: good
scenarios: [{base: polaris, physics: null}]
schedulers: [fcfs, easy]
windows: {measured: 1d, warm_up: 1d, cool_down: 12h, count: 3}
seeds: 2
loads: [as-is, saturation]
"""
SWF = "; UnixStartTime: 1000000\n; MaxNodes: 16\n" + "".join(
    f"{n + 1} {n * 1800} 5 600 {n % 8 + 1} -1 -1 {n % 8 + 1} 900 -1 1 1 1 1 1 -1 -1 -1\n" for n in range(480)
)  # ten days, a job every half hour


def planned(folder: Path, text: str = GOOD, **changes: object) -> Plan:
    """The plan of a file with some lines replaced by others."""
    lines = {line.partition(":")[0]: line for line in text.strip().splitlines()}
    lines |= {key: f"{key}: {value}" for key, value in changes.items()}
    file = folder / "t.yaml"
    file.write_text("\n".join(line for line in lines.values() if not line.endswith(": None")) + "\n")
    return plan(read_grid(file), PLUGINS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schedulers": "[fcfs, eazy]"}, r"t.yaml:3:20: scheduler.name: no scheduler named 'eazy'. Did you mean 'ea"),
        ({"schedulers": "[fcfs, mine]"}, r"scheduler.name: no scheduler named 'mine'.* file: --plugin FILE\.$"),
        ({"schedulers": "[{name: easy, oder: sjf}]"}, r"t.yaml:3:27: scheduler.oder: easy has no such option. Did you"),
        ({"schedulers": "[{name: easy, levers: {slep_idle: 1m}}]"}, r"t.yaml:3:.*levers.slep_idle.*'sleep_idle'"),
        ({"schedulers": "[easy, easy]"}, r"t.yaml:3:20: schedulers: easy a second time; give one of them a label"),
        ({"scenarios": "[polari]"}, r"t.yaml:2:13: scenarios.0: no scenario named 'polari'.* Did you mean 'polaris'"),
        ({"scenarios": "[{base: polaris, days: -1}]"}, r"t.yaml:2:35: days: Input should be greater than 0"),
        ({"scenarios": "[polaris, polaris]"}, r"t.yaml:2:22: scenarios: polaris a second time"),
        ({"scenarios": "[{base: polaris, jobs: 10}]"}, r"t.yaml:2:13: polaris says which jobs are run \(jobs, "),
        ({"scenarios": "[{base: polaris, load: 0.5}]"}, r"t.yaml:2:13: polaris has a load of its own"),
        ({"scenarios": "[{base: bare, trace: no.swf}]"}, r"t.yaml:2:13: .*no.swf: there is no such file; --data DIR"),
        ({"metrics": "[mean_wait]"}, r"t.yaml:\d+:11: metrics: no figure.* 'mean_wait'. Did you mean 'mean_wait_s'"),
        ({"metrics": "[energy_split_kwh]"}, r"metrics: energy_split_kwh is no number; name a part"),
        ({"control": "esy"}, r"t.yaml:\d+:10: control: no scheduler is called 'esy'. Did you mean 'easy'"),
        ({"loads": "[saturated]"}, r"t.yaml:6:9: loads.0: Input should be a number, 'as-is' or 'saturation'. Did"),
        ({"loads": "[-1]"}, r"t.yaml:6:9: loads.0: Input should be greater than 0"),
        ({"seeds": "0"}, r"t.yaml:5:8: seeds: Input should be from 1"),
        ({"seeds": "[1, 1]"}, r"t.yaml:5:12: seeds: 1 a second time"),
        ({"windows": "{measured: 1d}"}, r"t.yaml:4:10: windows.count: the profile polaris has no end"),
        ({"windows": "{measured: 2d, every: 1d, count: 2}"}, r"t.yaml:4:\d+: windows.every: windows that begin every"),
        ({"windows": "{mesured: 1d}"}, r"windows.mesured: no such key. Did you mean 'measured'"),
        ({"windows": "soon"}, r"windows: Input should be a mapping such as"),
        ({"protocol": "rlscheduler"}, r"t.yaml:4:10: windows: the protocol rlscheduler cuts"),
        ({"protocl": "windows"}, r"t.yaml:7:1: protocl: no such key. Did you mean 'protocol'"),
        ({"schedulers": "[recorded]"}, r"polaris under recorded: .*needs clairvoyance, which polaris lacks"),
        ({"schedulers": "[{name: easy, levers: {sleep_idle: auto}}]"}, r"polaris under easy\+sleep_idle: "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place_and_a_guess(tmp_path, changes, said):
    with pytest.raises(InputError, match=said):
        planned(tmp_path, **changes)


@pytest.mark.parametrize(
    ("windows", "said"),
    [
        ("{measured: 4d, count: 3}", r"t.yaml:4:10: windows: 3 of 4 d .* do not fit into a.swf.*: 2 do"),
        ("{measured: 11d}", r"1 of 11 d .* do not fit"),
        ("{measured: 1d, end: 20d}", r"there are not jobs everywhere"),
        ("[{start: 1d, end: 3d}, {start: 2d, end: 4d}]", r"t.yaml:4:33: windows.1: what it measures begins at"),
        ("[{start: 1d, end: 30d}]", r"windows.0: a.swf has jobs only from"),
        ("[{start: 1d, end: 2d, warm_up: 1d}]", r"windows.0: nothing is left to measure"),
    ],
)
def test_windows_that_do_not_fit_the_trace_are_refused(tmp_path, windows, said):
    (tmp_path / "a.swf").write_text(SWF)
    with pytest.raises(InputError, match=said):
        planned(tmp_path, scenarios="[{base: bare, trace: a.swf}]", windows=windows)


def test_that_windows_are_the_same_for_all_scenarios_is_said_where_they_fit_one_and_not_another(tmp_path):
    (tmp_path / "a.swf").write_text(SWF)
    both = {
        "scenarios": "[polaris, {base: bare, trace: a.swf}]",
        "windows": "{measured: 1d, start: 2024-01-05, count: 2}",
    }
    with pytest.raises(InputError, match=r"scenarios of other times go into one of their own$"):
        planned(tmp_path, **both)
    with pytest.raises(InputError, match=r"overlap in what they measure, 172800 s each$"):
        planned(tmp_path, **{**both, "windows": "{measured: 2d, every: 1d, count: 2}"})
    with pytest.raises(
        InputError,
        match=r"t.yaml:4:32: windows.start: 2024-01-05T00:00 UTC is after all jobs of a.swf, .* some from [^;]*$",
    ):
        planned(tmp_path, **{**both, "scenarios": "[{base: bare, trace: a.swf}]"})


def test_windows_are_disjoint_chronological_and_as_many_as_fit(tmp_path):
    (tmp_path / "a.swf").write_text(SWF)
    found = planned(
        tmp_path, scenarios="[{base: bare, trace: a.swf}]", windows="{measured: 1d, warm_up: 12h, cool_down: 12h}"
    ).windows["bare"]
    spans = [(w.section["start"], w.section["end"]) for w in found]
    assert spans == [(n * 172_800, (n + 1) * 172_800) for n in range(4)]
    assert all(w.section["warm_start"] for w in found)
    assert [w.label for w in found] == sorted(w.label for w in found)
    assert [w.jobs for w in found] == [96] * 4


def test_the_key_of_a_cell_hangs_on_what_it_computes_and_on_nothing_else(tmp_path):
    keys = [cell.key for cell in planned(tmp_path).cells]
    assert len(set(keys)) == len(keys) == 24
    again = planned(tmp_path, schedulers="[{name: easy, label: mine}, fcfs]", metrics="[jobs]", control="mine")
    assert {cell.key for cell in again.cells} == set(keys)
    for change in (
        {"keep": "tables"},
        {"shake": "{}"},
        {"scenarios": "[{base: polaris, physics: null, overrun: kill}]"},
    ):
        assert not {cell.key for cell in planned(tmp_path, **change).cells} & set(keys)
    grown = planned(tmp_path, seeds="3")
    assert {cell.key for cell in grown.cells} > set(keys)


def test_the_key_of_a_cell_hangs_on_the_bytes_of_its_trace_and_not_on_where_it_lies(tmp_path):
    keys = {}
    for folder, text in (("here", SWF), ("there", SWF), ("other", SWF.replace(" 600 ", " 601 "))):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.swf").write_text(text)
        changes = {"scenarios": "[{base: bare, trace: a.swf}]"}
        keys[folder] = [cell.key for cell in planned(tmp_path / folder, **changes).cells]
    assert keys["here"] == keys["there"]
    assert not set(keys["here"]) & set(keys["other"])


def test_a_trace_is_found_in_the_folder_of_the_data(tmp_path):
    (tmp_path / "data" / "swf").mkdir(parents=True)
    (tmp_path / "data" / "swf" / "a.swf").write_text(SWF)
    file = tmp_path / "t.yaml"
    file.write_text(GOOD.replace("{base: polaris, physics: null}", "{base: bare, trace: swf/a.swf}"))
    found = plan(read_grid(file), PLUGINS, data=tmp_path / "data")
    assert found.cells[0].content["trace"] == str(tmp_path / "data" / "swf" / "a.swf")


def test_shards_share_the_cells_out_and_each_has_every_scheduler(tmp_path):
    found = planned(tmp_path, seeds="20")
    directory = Directory(tmp_path / "none")
    shards = [missing(found, directory, (number, 3)) for number in (1, 2, 3)]
    keys = [cell.key for shard in shards for cell in shard]
    assert sorted(keys) == sorted(cell.key for cell in found.cells)
    assert all({cell.scheduler for cell in shard} == {"fcfs", "easy"} for shard in shards)


def test_the_protocol_of_rlscheduler_is_ten_sequences_of_1024_jobs_on_an_empty_machine(tmp_path):
    found = planned(tmp_path, windows=None, protocol="rlscheduler", loads="[as-is]")
    assert len(found.windows["polaris"]) == 10
    assert len(found.cells) == 10 * 2 * 2
    windows = [cell.content["window"] for cell in found.cells]
    assert all(w["jobs"] == 1024 and w["end"] is None and not w["warm_start"] for w in windows)


def test_a_plan_of_4800_cells_takes_seconds(tmp_path):
    found = planned(
        tmp_path,
        scenarios="[polaris, mira, cooley, {base: polaris, name: bare, physics: null}]",
        schedulers="[fcfs, easy, {name: easy, order: sjf}, hybrid, conservative, pbs, slurm, cobalt]",
        windows="{measured: 3d, count: 30}", seeds="5", loads="[0.9]",
    )  # fmt: skip
    assert len({cell.key for cell in found.cells}) == 4_800


def test_an_estimate_from_few_pilots_finds_the_factors_of_scenario_scheduler_and_load(tmp_path):
    found = planned(
        tmp_path, seeds="3",
        scenarios="[{base: polaris, physics: null}, {base: polaris, name: b, physics: null}]",
        schedulers="[fcfs, easy, {name: easy, order: sjf}, conservative]",
    )  # fmt: skip
    factor = {"polaris": 1e-3, "b": 5e-3, "fcfs": 1, "easy": 2, "easy(order=sjf)": 3, "conservative": 9}
    factor |= {"as-is": 1, "saturation": 4}

    def seconds(cell):
        return cell.jobs * factor[cell.scenario] * factor[cell.scheduler] * factor[cell.load]

    kinds = pilots(found)
    assert len(kinds) == 16
    assert {cell.scheduler for cell in kinds[:4]} == {cell.scheduler for cell in kinds}
    some = [Pilot(cell, seconds(cell)) for cell in kinds[:10]]
    whole = sum(map(seconds, found.cells))
    assert reckoned(found.cells, some) == pytest.approx(whole, rel=0.5)
    every = [Pilot(cell, seconds(cell)) for cell in kinds]
    assert reckoned(found.cells, every) == pytest.approx(whole)


@pytest.mark.parametrize("name", sorted(packaged_tournaments()))
def test_a_packaged_tournament_can_be_planned(name):
    if name == "aims-question-traces":
        with pytest.raises(InputError, match=r"ANL-ALCF-DJC-POLARIS_20240101_20241031\.csv\.gz"):
            plan(read_grid(name), PLUGINS)
        return
    found = plan(read_grid(name), PLUGINS)
    assert found.cells
    if name == "tournament":
        assert set(found.windows) == {"polaris", "mira", "cooley", "theta"}
        assert found.grid.tournament.loads == [0.7, 0.9, "saturation"]
        ruled = {entrant.name for entrant in found.grid.tournament.schedulers}
        learned = {"aims", "rlschert", "greendrl"}
        assert ruled == set(PLUGINS.schedulers) - learned - {"recorded", "cpop"}  # neither is a baseline of such jobs
    json.dumps(found.cells[0].content)
    assert np.all([cell.jobs > 0 for cell in found.cells])


DOC = (Path(__file__).parents[1] / "docs" / "tournament.md").read_text()


def test_every_key_of_a_tournament_is_documented_and_no_other():
    keys = DOC[DOC.index("## Keys") : DOC.index("## What it leaves")]
    described = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", keys, re.MULTILINE))))
    assert described == (set(Tournament.model_fields) | set(Windows.model_fields)) - {"name", "description"}


def test_the_tournament_of_the_documentation_can_be_planned(data, tmp_path):
    (tmp_path / "mine.yaml").write_text(blocks("docs/tournament.md", "yaml")[0])
    found = plan(read_grid(tmp_path / "mine.yaml"), PLUGINS, data=data / "traces" / "swf")
    assert len(found.cells) == 2 * 3 * 10 * 2 * 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Parsl leaves sockets open
def test_the_configuration_of_parsl_in_the_documentation_is_one():
    pytest.importorskip("parsl", reason="Parsl is not installed: pip install '.[parsl]'")
    names: dict[str, object] = {}
    exec(blocks("docs/tournament.md", "python")[0], names)
    assert type(names["config"]).__name__ == "Config"


def test_failures_differ_between_windows_and_are_the_same_for_all_schedulers_and_loads(tmp_path):
    found = planned(tmp_path, scenarios="[cooley]")
    seeds: dict[tuple[str, int], set[int]] = {}
    for cell in found.cells:
        seeds.setdefault((cell.window, cell.seed), set()).add(cell.content["physics"]["failure_seed"])
    assert all(len(of) == 1 for of in seeds.values())
    assert len(set.union(*seeds.values())) == len(seeds) == 6


def test_another_failure_seed_breaks_other_nodes_at_other_times_on_the_same_machine():
    few = {"days": 14, "physics.maintenance": False}
    one, other = (hpcsim.simulate("cooley", {**few, "physics.failure_seed": seed}) for seed in (None, 7))
    assert list(one.interrupts["time_s"]) != list(other.interrupts["time_s"])
    assert list(one.jobs["submit_s"]) == list(other.jobs["submit_s"])
    same = hpcsim.simulate("cooley", {**few, "physics.failure_seed": 1})  # that of the scenario
    assert list(one.interrupts["time_s"]) == list(same.interrupts["time_s"])
