"""A snapshot goes on in another process to the same bytes, and holds nothing that could make one run."""

import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hpcsim
from hpcsim.engine import plain
from hpcsim.engine.simulation import Simulation
from hpcsim.engine.snapshot import VERSION
from hpcsim.errors import InputError, SchedulerError
from hpcsim.plugin.loader import load_plugins
from hpcsim.schedulers.backfilling import EASY

from .test_fork import CASES, Restless, counted, left_behind, simulation

REUSED = [HealthCheck.function_scoped_fixture]


@settings(deadline=None, max_examples=40, suppress_health_check=REUSED)
@given(st.sampled_from(sorted(CASES)), st.integers(1, 10**6), st.floats(0, 1), st.booleans())
def test_a_restored_simulation_leaves_behind_the_bytes_of_the_uninterrupted_run(tmp_path, case, seed, part, restless):
    name, overrides = CASES[case]

    def make():
        levers = overrides.get("physics", True) is not None
        return simulation(name, overrides | {"seed": seed}, Restless(levers) if restless else None)

    whole = make()
    whole.run()
    saved = make()
    saved.run(saved.start + round(part * (whole.now - saved.start)))
    saved.save(tmp_path / "snapshot")
    restored = make()
    restored.run(restored.start + 10_000)  # whatever it has done is forgotten
    restored.restore(tmp_path / "snapshot")
    assert left_behind(restored.fork()) == left_behind(saved.fork())
    again = restored.fork()
    restored.run()
    saved.run()
    again.run()
    assert left_behind(restored) == left_behind(again) == left_behind(saved) == left_behind(whole)


SCRIPT = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
from tests.test_fork import simulation, left_behind
from hpcsim.results.tables import attempts_table
import hashlib
sim = simulation("polaris", {{"jobs": 400}})
if {restores}:
    sim.restore("snapshot")
elif {saves}:
    sim.run(sim.start + 60_000)
    sim.save("snapshot")
sim.run()
print(hashlib.sha256(repr(left_behind(sim)[3:] + [t.to_pylist() for t in left_behind(sim)[:3]]).encode()).hexdigest())
"""


def test_another_process_with_other_hashes_goes_on_to_the_same_bytes(tmp_path):
    root = str(Path(__file__).parents[1])
    printed = []
    for hash_seed, saves, restores in (("1", True, False), ("2", False, True), ("3", False, False)):
        script = SCRIPT.format(root=root, tests=root + "/tests", saves=saves, restores=restores)
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    assert printed[0] == printed[1] == printed[2]


def test_a_snapshot_holds_no_pickle_and_no_name_of_a_class_but_those_of_a_state(tmp_path):
    sim = simulation("polaris", {"jobs": 150})
    sim.run(sim.start + 40_000)
    sim.save(tmp_path / "snapshot")
    with zipfile.ZipFile(tmp_path / "snapshot") as file:
        texts = [json.loads(file.read(name)) for name in file.namelist() if name.endswith(".json")]
        for name in file.namelist():
            with pytest.raises(pickle.UnpicklingError):
                pickle.loads(file.read(name))
            if name.endswith(".npy"):
                assert np.load(file.open(name), allow_pickle=False).dtype.kind in "biuf"

    def named(data):
        if isinstance(data, dict):
            yield from (data[key] for key in ("object", "named") if key in data)
            data = list(data.values())
        for each in data if isinstance(data, list) else ():
            yield from named(each)

    assert {name for text in texts for name in named(text)} <= plain.CLASSES.keys()


ALL_LEVERS = {
    "sleep_idle": "auto", "cooling": "auto", "speed": {"factor": "auto"}, "power_cap": {"kw": 1500},
    "placement": {"policy": "coolest"},
}  # fmt: skip
SHIPPED = sorted(load_plugins([]).offers["schedulers"].keys() - {"recorded"})  # for traces that tell starts


@pytest.mark.parametrize(("scheduler", "levers"), [*((name, None) for name in SHIPPED), ("easy", ALL_LEVERS)])
def test_every_scheduler_that_comes_with_hpcsim_can_be_saved_with_levers_and_all_learned_twins(
    tmp_path, scheduler, levers
):
    """Twins have learned in six hours; Theta because idle nodes sleep there, and jobs run at lower clocks."""
    learned = {"performance": "runtime-ensemble", "energy": "energy-cnn-lstm", "fault": "fault-lstm",
               "thermal": "thermal-rc"}  # fmt: skip
    day = {"days": 0.5, "seed": 3, "load": 0.9, "scheduler": {"name": scheduler}, "twins": learned}
    day |= {} if levers is None else {"levers": levers}
    whole, restored = hpcsim.begin("theta", day), hpcsim.begin("theta", day)
    whole.run(6 * 3600)
    whole.save(tmp_path / "snapshot")
    restored.restore(tmp_path / "snapshot")
    whole.run()
    restored.run()
    assert left_behind(restored) == left_behind(whole)


def test_what_cannot_be_read_is_refused_with_a_sentence(tmp_path):
    def make(seed=1, nodes=560, scheduler="easy"):
        return simulation("polaris", {"jobs": 60, "seed": seed, "scheduler": scheduler, "machine.nodes": nodes})

    sim = make()
    sim.run(sim.start + 9_000)
    good = tmp_path / "good"
    sim.save(good)
    content = good.read_bytes()

    def altered(name, change):
        path = tmp_path / name
        with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w") as new:
            for member in old.namelist():
                text = old.read(member)
                new.writestr(member, change(member, text))
        return path

    def header(**values):
        return lambda member, text: json.dumps(json.loads(text) | values) if member == "snapshot.json" else text

    (tmp_path / "cut").write_bytes(content[: len(content) // 2])
    (tmp_path / "text").write_text("hello")
    named = bytearray(content)
    named[27] ^= 0x40  # the first member's name is 16 kB longer, which the library repeats
    (tmp_path / "named").write_bytes(named)
    cases = [
        (tmp_path / "none", make(), "cannot be read: No such file"),
        (tmp_path, make(), "cannot be read: Is a directory"),
        (tmp_path / "cut", make(), "not a whole snapshot of hpcsim"),
        (tmp_path / "text", make(), "not a whole snapshot of hpcsim"),
        (tmp_path / "named", make(), "not a whole snapshot of hpcsim"),
        (altered("v1", header(version=1)), make(), f"found version 1 of snapshots, expected {VERSION}"),
        (altered("other", header(format="png")), make(), "not a whole snapshot of hpcsim"),
        (altered("prints", header(prints=[])), make(), "not a whole snapshot of hpcsim"),
        (altered("arrived", header(arrived=float("inf"))), make(), "not a snapshot that this hpcsim can read"),
        (altered("deep", lambda member, text: "[" * 10**5 if member == "state.json" else text), make(), "not a whole"),
        (good, make(seed=2), "a snapshot of another simulation; made otherwise: the workload"),
        (good, make(nodes=500), "made otherwise: "),
        (good, make(scheduler="fcfs"), "a snapshot with the scheduler 'easy'; this simulation has 'fcfs'"),
        (good, counted([(0, 5, 8)]), "a snapshot with the twins {'performance': 'walltime'}; this simulation has {}"),
    ]
    for path, into, said in cases:
        with pytest.raises(InputError) as error:
            into.restore(path)
        assert said in str(error.value)
        assert str(path) in str(error.value)
        assert len(str(error.value)) < 1000
    plain_file, other = tmp_path / "plain", counted([(0, 6, 8)])
    counted([(0, 5, 8)]).save(plain_file)
    with pytest.raises(InputError, match=r"made otherwise: the workload, the simulation's runtime$"):
        other.restore(plain_file)
    for name, damage in (
        ("site", {"object": "os.system"}), ("site", {"object": "Site", "#": 9}), ("site", {"nothing": 1}), ("site", 7),
        ("running", 5), ("free_nodes", "many"), ("scheduler_rng", {"rng": {"bit_generator": "PCG64", "state": 2**70}}),
    ):  # fmt: skip
        path = altered("damaged", lambda member, text, name=name, damage=damage: json.dumps(
            {"simulation": {name: damage}, "plugins": {}}) if member == "state.json" else text)  # fmt: skip
        with pytest.raises(InputError, match="not a snapshot that this hpcsim can read"):
            make().restore(path)


def test_what_a_snapshot_says_of_a_plug_in_runs_none_of_its_properties(tmp_path):
    """A file that names a property of a scheduler among its state is refused without asking for it."""
    asked = []

    class Curious(EASY):
        name = "curious"

        def __init__(self):
            super().__init__(EASY.Options())

        @property
        def secret(self):
            asked.append(1)
            return 0

    jobs = [(0, 5, 8)]
    sim = counted(jobs, Curious)
    sim.save(tmp_path / "good")
    with zipfile.ZipFile(tmp_path / "good") as old, zipfile.ZipFile(tmp_path / "bad", "w") as new:
        for member in old.namelist():
            text = old.read(member)
            if member == "state.json":
                state = json.loads(text)
                state["plugins"]["scheduler"]["secret"] = 1
                text = json.dumps(state)
            new.writestr(member, text)
    with pytest.raises(InputError, match="not a snapshot that this hpcsim can read"):
        counted(jobs, Curious).restore(tmp_path / "bad")
    assert not asked


def test_a_file_that_cannot_be_written_is_refused_and_leaves_nothing(tmp_path):
    sim = counted([(0, 5, 8)])
    with pytest.raises(InputError, match="cannot be written: No such file"):
        sim.save(tmp_path / "nowhere" / "snapshot")
    (tmp_path / "taken").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        sim.save(tmp_path / "taken")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


class Ended(NamedTuple):
    job: str
    ran_s: int


class Remembers(EASY):
    """Remembers jobs, arrays, random numbers and tuples of its own."""

    name = "remembers"

    def __init__(self):
        super().__init__(EASY.Options())
        self.options = EASY.Options()
        self.key = len
        self.seen = {}
        self.weights = np.zeros(3)
        self.rng = np.random.default_rng(5)
        self.last = None

    def schedule(self, view):
        self.weights[int(self.rng.integers(3))] += 1
        for job in view.queue:
            self.seen[job.id] = (job, Ended(job.name, view.now))
        self.last = np.float64(view.now)
        return super().schedule(view)


class Holds(EASY):
    """Keeps what no file can hold, unless it says what is worth keeping."""

    name = "holds"

    def __init__(self):
        super().__init__(EASY.Options())
        self.lock = object()
        self.passes = 0

    def schedule(self, view):
        self.passes += 1
        return super().schedule(view)


class Says(Holds):
    def __getstate__(self):
        return {"passes": self.passes}

    def __setstate__(self, state):
        self.passes = state["passes"] + 1000


ROWS = [(0, 5, 8), (1, 5, 8), (2, 9, 3), (9, 5, 8)]


def test_a_scheduler_remembers_what_it_knew(tmp_path):
    sim = counted(ROWS, Remembers)
    sim.run(7)
    sim.save(tmp_path / "snapshot")
    other = counted(ROWS, Remembers)
    other.restore(tmp_path / "snapshot")
    one, two = sim.scheduler, other.scheduler
    assert (one.seen, one.last, one.weights.tolist()) == (two.seen, two.last, two.weights.tolist())
    assert isinstance(two.seen[1][1], Ended)
    assert one.rng.random() == two.rng.random()


def test_a_scheduler_that_keeps_what_no_file_can_hold_is_told_how_to_say_what_is_worth_keeping(tmp_path):
    with pytest.raises(
        SchedulerError, match=r"holds keeps a builtins.object in lock, which no .* give Holds a __getst"
    ):
        counted(ROWS, Holds).save(tmp_path / "snapshot")
    sim = counted(ROWS, Says)
    sim.run(7)
    sim.save(tmp_path / "snapshot")
    other = counted(ROWS, Says)
    other.restore(tmp_path / "snapshot")
    assert other.scheduler.passes == sim.scheduler.passes + 1000


class Share:
    __slots__ = ("rule", "used")

    def __init__(self, rule):
        self.used = {}
        self.rule = rule


class Divides(EASY):
    """Keeps objects of its own package: one that it is made with, which has a function, and others that come."""

    name = "divides"

    def __init__(self):
        super().__init__(EASY.Options())
        self.share = Share(max)
        self.past = []

    def schedule(self, view):
        for job in view.queue:
            self.share.used[job.user] = self.share.rule(view.now, job.nodes)
        self.past = [*self.past, replaced(Share(None), view.now)]
        return super().schedule(view)


def replaced(share, now):
    share.used = {"now": now}
    return share


def test_objects_of_a_plug_ins_own_package_come_back_and_of_no_other(tmp_path):
    sim, path = counted(ROWS, Divides), tmp_path / "snapshot"
    sim.run(7)
    sim.save(path)
    other = counted(ROWS, Divides)
    other.restore(path)
    one, two = sim.scheduler, other.scheduler
    assert (two.share.used, two.share.rule) == (one.share.used, max)
    assert [each.used for each in two.past] == [each.used for each in one.past] != []
    with zipfile.ZipFile(path) as old:
        state = json.loads(old.read("state.json"))
        rest = {name: old.read(name) for name in old.namelist() if name != "state.json"}
    for name in (["subprocess", "Popen"], ["os", "_Environ"], [__name__, "counted"], [__name__, "nothing"]):
        state["plugins"]["scheduler"]["past"] = {"own": name, "#": 999, "state": {}}
        with zipfile.ZipFile(path, "w") as new:
            for member, content in [*rest.items(), ("state.json", json.dumps(state))]:
                new.writestr(member, content)
        with pytest.raises(InputError, match="not a snapshot that this hpcsim can read"):
            counted(ROWS, Divides).restore(path)
    sim.scheduler.past = [Share(max)]
    with pytest.raises(SchedulerError, match=r"divides keeps a .*Share, with options or functions, in past"):
        sim.save(path)


def test_a_simulation_of_a_scenario_is_resumed_from_its_file_alone(tmp_path):
    (tmp_path / "mine.py").write_text(PLUGIN)
    sim = hpcsim.begin("polaris", {"jobs": 90, "scheduler": "mine"}, plugins=tmp_path / "mine.py")
    sim.run(sim.start + 20_000)
    sim.save(tmp_path / "snapshot")
    again = hpcsim.resume(tmp_path / "snapshot", plugins=tmp_path / "mine.py")
    for each in (sim, again):
        each.run()
    assert left_behind(sim) == left_behind(again)
    with pytest.raises(InputError, match="no scheduler named 'mine'"):
        hpcsim.resume(tmp_path / "snapshot")
    counted(ROWS).save(tmp_path / "made")
    with pytest.raises(InputError, match="holds no scenario; make its simulation as it was made"):
        hpcsim.resume(tmp_path / "made")


PLUGIN = """
from hpcsim.plugin import Start, hookimpl

class Mine:
    name = "mine"
    api = 1
    def __init__(self):
        self.passes = 0
    def schedule(self, view):
        self.passes += 1
        room = view.room()
        yield from (Start(job, f"pass {self.passes}") for job in view.queue if room.take(job))

@hookimpl
def hpcsim_schedulers(register):
    register(Mine)
"""


def test_a_simulation_of_a_long_past_is_saved_whole(tmp_path):
    rows = [(second, 1, 1) for second in range(10_000)] + [(10_000, 50, 8), (10_001, 5, 8)]
    sim, other = counted(rows), counted(rows)
    sim.run(10_010)
    sim.save(tmp_path / "snapshot")
    other.restore(tmp_path / "snapshot")
    for each in (sim, other):
        each.run()
    assert left_behind(sim) == left_behind(other)
    assert (tmp_path / "snapshot").stat().st_size < 500_000
    assert isinstance(other, Simulation)
