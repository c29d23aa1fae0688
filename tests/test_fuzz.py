"""Every reader of files, given damaged ones: it answers a value that holds, or an ``InputError`` that names the file.

In CI each test tries a few dozen files; ``pytest tests/test_fuzz.py --hypothesis-profile check`` tries thousands.
"""

import gzip
import hashlib
import json
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hpcsim.engine.simulation import Simulation
from hpcsim.errors import InputError
from hpcsim.machine.catalogue import Unphysical, build_spec, load_machine, read_machine
from hpcsim.machine.queue_file import QueueRules
from hpcsim.machine.series import read_carbon, read_price
from hpcsim.plugin import weights
from hpcsim.replay import begin
from hpcsim.scenario.load import load_scenario
from hpcsim.tournament.grid import read_grid
from hpcsim.workload.alcf import read_machine_status
from hpcsim.workload.cleaning import CENTURY_S, LATEST_S
from hpcsim.workload.trace import read_trace

ODD = (
    "", "-1", "0", "nan", "-inf", "1e400", "1e18", "9" * 40, "0x1f", "1_0", "٣", "1969-12-31 23:59:59",
    "0001-01-01 00:00:00", "9999-12-31 23:59:59", "2024-02-30 00:00:00", "null", "true", "~", "{}", "[]", '"', "'",
    "../../../../etc/passwd", "/dev/zero", "!!python/object:os.system", "*a", "&a", "\0", "\ud7ff", "\r", "\t", ",",
    ";", "#", " ", "x" * 3000,
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """The bytes after up to four accidents: a word replaced, a part cut out, doubled or moved, bits turned."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, max(0, len(content) - 1)))
        end = min(len(content), begin + draw(st.sampled_from((1, 2, 5, 20, 200))))
        kind = draw(st.sampled_from(("word", "value", "cut", "double", "bit", "short", "bytes")))
        if kind in ("word", "value"):
            spaces = b" \n" if kind == "word" else b',:\n "[]{}'
            while begin > 0 and content[begin - 1] not in spaces:
                begin -= 1
            end = begin
            while end < len(content) and content[end] not in spaces:
                end += 1
            content[begin:end] = draw(st.sampled_from(ODD)).encode()
        elif kind == "cut":
            del content[begin:end]
        elif kind == "double":
            content[begin:begin] = content[begin:end]
        elif kind == "bit" and content:
            content[begin] ^= 1 << draw(st.integers(0, 7))
        elif kind == "short":
            del content[begin:]
        else:
            content[begin:end] = draw(st.binary(max_size=8))
    return bytes(content)


def packaged(name: str) -> bytes:
    return (files("hpcsim") / name).read_bytes()


def file_of(folder: pytest.TempPathFactory, name: str, content: bytes) -> Path:
    path = folder.getbasetemp() / name
    path.write_bytes(content)
    return path


def outcome(read: Callable[[Path], Any], path: Path) -> Any:
    """What a reader makes of a file, or None if it refuses it as it should: named, and in lines that can be read."""
    try:
        return read(path)
    except InputError as error:
        said = str(error)
        assert path.name in said
        assert max(map(len, said.splitlines())) < 1200
        return None


fuzz = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

SWF = "; UnixStartTime: 1600000000\n; MaxProcs: 8\n; Queue: 1 batch\n" + "".join(
    f"{i} {i * 60} {i} {50 + i} {1 + i % 4} -1 -1 {1 + i % 4} 3600 -1 {i % 2} {i % 3} 1 -1 1 -1 "
    f"{i - 1 if i % 5 == 0 else -1} -1\n"
    for i in range(1, 13)
)
RECORDS = (
    "JOB_NAME,COBALT_JOBID,MACHINE_NAME,QUEUED_TIMESTAMP,START_TIMESTAMP,END_TIMESTAMP,USERNAME_GENID,PROJECT_NAME_GENID,"
    "QUEUE_NAME,WALLTIME_SECONDS,RUNTIME_SECONDS,NODES_USED,EXIT_STATUS,EXIT_CODE,LOCATION\n"
    + "".join(
        f"{i}.mira,{i},mira,2020-01-01 00:{i:02}:00,2020-01-01 00:{i + 5:02}:00,2020-01-01 01:{i + 5:02}:00.5,"
        f'1{i % 3}.0,77,"prod,x",'
        f"7200,3600.0,512.0,{i % 2},,MIR-00000-33331-512\n"
        for i in range(12)
    )
)
WORKFLOW = json.dumps({
    "name": "w", "schemaVersion": "1.5", "workflow": {
        "specification": {
            "tasks": [
                {"name": "t", "id": f"t{i}", "parents": [f"t{i - 1}"] if i else [], "children": [],
                 "inputFiles": ["f"] if i else [], "outputFiles": [] if i else ["f"]} for i in range(4)
            ],
            "files": [{"id": "f", "sizeInBytes": 1000}],
        },
        "execution": {"executedAt": "2023-01-01T00:00:00Z", "tasks": [
            {"id": f"t{i}", "runtimeInSeconds": 12.5, "coreCount": 2} for i in range(4)]},
    },
})  # fmt: skip
TRACES = {"swf": SWF.encode(), "csv": RECORDS.encode(), "json": WORKFLOW.encode()}


@pytest.fixture(scope="module", autouse=True)
def _no_kept_copies() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HPCSIM_CACHE", "/proc/nowhere")
        yield


def check_trace(read: Callable[[Path], Any], path: Path) -> None:
    workload = outcome(read, path)
    if workload is None:
        return
    assert len(workload)
    submit_s, runtime_s, walltime_s = (workload.column(name) for name in ("submit_s", "runtime_s", "walltime_s"))
    assert np.all(workload.column("nodes") >= 1)
    assert np.all((runtime_s >= 1) & (runtime_s <= CENTURY_S))
    assert np.all((walltime_s >= 1) & (walltime_s <= CENTURY_S))
    assert np.all((submit_s >= 0) & (submit_s - submit_s[0] <= CENTURY_S))
    assert 0 <= workload.t0_utc <= LATEST_S
    assert workload.recorded_places <= len(workload)
    assert len(list(workload.jobs())) == len(workload)


@pytest.mark.parametrize("form", TRACES)
@fuzz
@given(data=st.data())
def test_a_damaged_trace_is_read_or_refused(form: str, data: st.DataObject, tmp_path_factory: Any) -> None:
    content = data.draw(damaged(TRACES[form]))
    check_trace(read_trace, file_of(tmp_path_factory, f"made.{form}", content))


@fuzz
@given(data=st.data())
def test_a_damaged_packed_trace_is_read_or_refused(data: st.DataObject, tmp_path_factory: Any) -> None:
    packed = data.draw(damaged(gzip.compress(SWF.encode(), mtime=0)))
    check_trace(read_trace, file_of(tmp_path_factory, "made.swf.gz", packed))


CARBON = "Datetime (UTC),Carbon intensity gCO₂eq/kWh (direct)\n" + "".join(
    f"2023-01-01 {h:02}:00:00,{300 + h}.5\n" for h in range(24)
)
PRICE = "Datetime (UTC),Price (USD/MWh)\n" + "".join(f"2023-01-01 {h:02}:00:00,{30 - h}\n" for h in range(24))
OUTAGES = "START_TIMESTAMP,END_TIMESTAMP,IS_ALL_MACHINE_DOWN,NUMBER_NODES_DOWN\n" + "".join(
    f"2023-0{m}-01 00:00:00,2023-0{m}-02 00:00:00,{m % 2},{m}\n" for m in range(1, 9)
)
TABLES: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "carbon": (CARBON, lambda path: read_carbon(path, 1_672_531_200)),
    "price": (PRICE, lambda path: read_price(path, 1_672_531_200)),
    "outages": (OUTAGES, read_machine_status),
}


@pytest.mark.parametrize("table", TABLES)
@fuzz
@given(data=st.data())
def test_a_damaged_table_is_read_or_refused(table: str, data: st.DataObject, tmp_path_factory: Any) -> None:
    content, read = TABLES[table]
    found = outcome(read, file_of(tmp_path_factory, "made.csv", data.draw(damaged(content.encode()))))
    if table != "outages" and found is not None:
        assert np.isfinite([found.at(t) for t in (-(10**9), 0, 3600, 10**9)]).all()


def whole_machine(path: Path) -> object:
    read = read_machine(path)
    try:
        return build_spec(read.data)
    except Unphysical as error:
        raise Unphysical(error.wrong, read.places) from None


def scenario_of(path: Path) -> object:
    loaded = load_scenario(path)
    again = load_scenario(loaded.resolved())
    assert again.scenario == loaded.scenario
    return loaded


YAMLS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "scenario": ("scenarios/polaris.yaml", scenario_of),
    "workflows": ("scenarios/workflows.yaml", scenario_of),
    "tournament": ("scenarios/tournament-small.yaml", read_grid),
    "machine": ("machine/catalog/polaris.yaml", whole_machine),
    "torus": ("machine/catalog/mira.yaml", whole_machine),
    "queues": ("machine/rules/polaris.yaml", QueueRules.read),
}


@pytest.mark.parametrize("kind", YAMLS)
@fuzz
@given(data=st.data())
def test_a_damaged_yaml_file_is_read_or_refused(kind: str, data: st.DataObject, tmp_path_factory: Any) -> None:
    name, read = YAMLS[kind]
    outcome(read, file_of(tmp_path_factory, "made.yaml", data.draw(damaged(packaged(name)))))


KEYS = (
    "seed", "days", "jobs", "load", "trace", "profile", "machine", "machine.nodes", "machine.model", "physics",
    "physics.cap_kw", "physics.queues", "physics.telemetry.interval", "physics.checkpoint.cost",
    "physics.failure_rate", "scheduler", "scheduler.order", "twins", "twins.energy", "window.start", "window.end",
    "window.warm_up", "until", "pass_interval", "observers", "metrics", "levers", "levers.sleep_idle",
    "shake.runtime", "closed_loop.think", "name", "base", "trace_format", "reservations", "a.b.c", ".",
    "machine.classes",
)  # fmt: skip


@fuzz
@example([("a.b.c", "")])
@example([("window.start", "0001-01-01 00:00:00")])
@given(st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(ODD) | st.text(max_size=12)), min_size=1, max_size=3))
def test_an_odd_override_is_taken_or_refused_by_name(given_keys: list[tuple[str, str]]) -> None:
    overrides = [f"{key}={value}" for key, value in given_keys]
    said = "--set"
    try:
        loaded = load_scenario("polaris", overrides)
        assert load_scenario(loaded.resolved()).scenario == loaded.scenario
    except InputError as error:
        said = str(error)
    assert "--set" in said


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    return weights.save_network(folder, "w", "kind", ("a", "b"), {"t": np.ones((3, 2), np.float32)}, {"about": "x"})


@fuzz
@given(data=st.data(), of_json=st.booleans())
def test_damaged_weights_are_refused(trained: Path, data: st.DataObject, of_json: bool, tmp_path_factory: Any) -> None:
    whole = {suffix: trained.with_suffix(suffix).read_bytes() for suffix in (".json", ".safetensors")}
    suffix = ".json" if of_json else ".safetensors"
    broken = whole | {suffix: data.draw(damaged(whole[suffix]))}
    if not of_json:  # as by someone who meant it: the sum is right
        told = json.loads(whole[".json"]) | {"sha256": hashlib.sha256(broken[".safetensors"]).hexdigest()}
        broken[".json"] = json.dumps(told).encode()
    for each, content in broken.items():
        file_of(tmp_path_factory, f"w{each}", content)
    path = tmp_path_factory.getbasetemp() / "w.json"
    found = outcome(
        lambda path: weights.load(path.with_suffix(".json"), "kind", {"t": (3, 2)}, ("a", "b")), path.with_suffix("")
    )
    assert found is None or np.isfinite(found.tensors["t"]).all()


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> tuple[Callable[[], Simulation], bytes]:
    def make() -> Simulation:
        return begin("polaris", {"jobs": 10, "physics": None, "machine.nodes": 560})

    simulation, path = make(), tmp_path_factory.mktemp("snapshot") / "s"
    simulation.run(simulation.start + 9_000)
    simulation.save(path)
    return make, path.read_bytes()


@fuzz
@given(data=st.data())
def test_a_damaged_snapshot_is_refused(snapshot: Any, data: st.DataObject, tmp_path_factory: Any) -> None:
    make, content = snapshot
    path = file_of(tmp_path_factory, "snapshot", data.draw(damaged(content)))
    outcome(lambda path: make().restore(path), path)


@pytest.mark.parametrize(
    "text", ["name: X\nnodes: {value: 5, KEY: 3}\n", "name: X\nKEY: {value: 5}\n", "name: X\nKEY: 3\n"]
)
def test_a_long_key_of_a_machine_is_cut_in_what_is_said_of_it(tmp_path, text):
    """Found by the test of damaged files: a key of 3,000 characters was told of whole."""
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("KEY", "k" * 3000))
    assert outcome(load_machine, path) is None
