"""Who watches a simulation is told all that happens and changes nothing, whatever it does."""

import copy
import pickle
from collections import Counter

import numpy as np
import pytest

import hpcsim
from hpcsim.engine.observers import HOOKS, Observer
from hpcsim.engine.simulation import Simulation
from hpcsim.errors import InputError
from hpcsim.plugin import Start, View
from hpcsim.plugin.loader import load_plugins
from hpcsim.workload.job import Workload, workload_from_columns


def jobs(count: int = 200, nodes: int = 16) -> Workload:
    random = np.random.default_rng(5)
    runtime = random.integers(1, 300, count)
    return workload_from_columns(
        t0_utc=1_700_000_000, source="small", name=[str(i + 1) for i in range(count)],
        submit_s=np.sort(random.integers(0, 3000, count)), nodes=random.integers(1, nodes + 2, count),
        walltime_s=runtime + random.integers(0, 300, count), runtime_s=runtime,
    )  # fmt: skip


class FirstFits:
    """Starts whatever fits."""

    name = "first-fits"
    api = 1

    def schedule(self, view: View):
        room = view.room()
        for job in view.queue:
            if room.take(job):
                yield Start(job, why="fits")


class Diary:
    """Writes down all that it is told."""

    def __init__(self) -> None:
        self.told = []
        self.view = None

    def began(self, view):
        self.view = view
        self.told.append(("began", view.now))

    def submitted(self, job, now):
        self.told.append(("submitted", job.id, now))

    def rejected(self, job, now, rule):
        self.told.append(("rejected", job.id, now, rule))

    def started(self, job, now, units, why):
        self.told.append(("started", job.id, now, units, why))

    def ended(self, job, now, state):
        self.told.append(("ended", job.id, now, state))

    def passed(self, view, decisions):
        self.told.append(("passed", view.now, decisions))

    def failed(self, units, now, cause):
        self.told.append(("failed", units, now, cause))

    def repaired(self, units, now):
        self.told.append(("repaired", units, now))

    def finished(self, view):
        self.told.append(("finished", view.now))
        return {"events": len(self.told)}


def watched(*observers: object) -> Simulation:
    simulation = Simulation(jobs(), FirstFits(), nodes=16)
    simulation.watch({f"o{number}": observer for number, observer in enumerate(observers)})
    simulation.run()
    return simulation


def columns(simulation: Simulation):
    attempts = simulation.attempts
    return [*attempts.job], [*attempts.start], [*attempts.end], [*attempts.state], attempts.why, simulation.rejected


def test_every_start_and_end_is_told_in_its_second_and_in_order():
    diary = Diary()
    simulation = watched(diary)
    simulation.observers.finish()
    job, start, end, _, why, rejected = columns(simulation)
    started = [(fact[1], fact[2], fact[4]) for fact in diary.told if fact[0] == "started"]
    assert started == list(zip(job, start, why, strict=True))
    ended = {fact[1]: (fact[2], fact[3]) for fact in diary.told if fact[0] == "ended"}
    assert ended == {j: (e, "completed") for j, e in zip(job, end, strict=True)}
    assert {fact[1]: fact[3] for fact in diary.told if fact[0] == "rejected"} == rejected
    assert Counter(fact[0] for fact in diary.told)["submitted"] == len(simulation.workload)
    assert diary.told[0] == ("began", simulation.start)
    assert diary.told[-1] == ("finished", simulation.now)
    decided = [decision for fact in diary.told if fact[0] == "passed" for decision in fact[2]]
    assert [decision.job.id for decision in decided] == job
    seconds = [fact[2] for fact in diary.told if fact[0] in ("submitted", "started", "ended")]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("hook", HOOKS)
def test_one_that_raises_is_told_no_more_and_the_run_and_the_others_go_on(hook):
    class Broken(Diary):
        pass

    def breaks(self, *facts):
        raise SystemExit("gone") if hook == "passed" else ValueError("gone")

    setattr(Broken, hook, breaks)
    broken, whole, alone = Broken(), Diary(), Diary()
    simulation, quiet = watched(broken, whole), watched(alone)
    reports = simulation.observers.finish()
    quiet.observers.finish()
    assert columns(simulation) == columns(quiet) == columns(watched())
    assert whole.told == alone.told
    if hook in ("failed", "repaired"):  # which never happens where nodes are only counted
        assert simulation.observers.errors == {}
        return
    kind = "SystemExit" if hook == "passed" else "ValueError"
    assert list(simulation.observers.errors) == ["o0"]
    said = simulation.observers.errors["o0"]
    assert f": {hook} raised {kind}: gone ({__file__}:" in said
    assert said.startswith("t=")
    assert reports == {"o0": None, "o1": {"events": len(whole.told)}}
    assert not any(fact[0] == "finished" for fact in broken.told)


def test_methods_that_are_not_overridden_are_not_called():
    class Ends(Observer):
        def __init__(self):
            self.count = 0

        def ended(self, job, now, state):
            self.count += 1

    observer = Ends()
    simulation = watched(observer)
    assert observer.count == len(simulation.attempts)
    assert {hook: len(told) for hook, told in simulation.observers._told.items() if told} == {"ended": 1}


def test_a_report_that_json_cannot_hold_is_an_error():
    for report, said in (({1j: 2}, "TypeError"), ({"x": float("nan")}, "ValueError"), ([1], "TypeError: returned [1]")):

        class Reports:
            def finished(self, view, report=report):
                return report

        simulation = watched(Reports())
        assert simulation.observers.finish() == {"o0": None}
        assert f"finished raised {said}" in simulation.observers.errors["o0"]


def test_a_view_of_an_observer_gives_no_random_numbers_and_no_hindsight():
    diary = Diary()
    simulation = watched(diary)
    with pytest.raises(PermissionError, match="random numbers of a view are the scheduler's"):
        _ = diary.view.rng
    with pytest.raises(PermissionError, match="twins of a view are the scheduler's"):
        _ = diary.view.twins
    simulation.recorded_start_s = [0] * len(simulation.workload)
    with pytest.raises(PermissionError, match="cannot see what the trace recorded"):
        diary.view.recorded_start(next(simulation.workload.jobs(0, 1)))


def test_nobody_watches_a_fork():
    diary = Diary()
    simulation = Simulation(jobs(), FirstFits(), nodes=16)
    observers = simulation.watch({"diary": diary})
    simulation.run(1000)
    told = len(diary.told)
    fork = simulation.fork()
    fork.run()
    assert fork.observers is None
    assert copy.deepcopy(observers) is pickle.loads(pickle.dumps(observers)) is None
    assert len(diary.told) == told
    simulation.run()
    assert columns(simulation) == columns(fork)


NOSY = """
from hpcsim.plugin import Observer, hookimpl

SHOWN = ("now", "nodes", "free_nodes", "queue", "urgent", "running", "launch_latency", "power", "asleep_nodes",
         "down_nodes", "node_c", "carbon", "price", "solar")


def look(view):
    for name in SHOWN:
        try:
            getattr(view, name)
        except Exception:  # what this scenario does not model
            pass
    for job in list(view.queue)[:5]:
        room = view.room()
        room.take(job)
        view.profile(room)
        view.shadow(job, view.room())
        view.preemptable(job)


class Nosy(Observer):
    name = "nosy"
    api = 1

    def began(self, view):
        self.view = view
        self.calls = 0

    def started(self, job, now, units, why):
        self.calls += 1
        look(self.view)
        if self.calls == BREAKS_AT:
            raise RuntimeError("enough")

    submitted = ended = failed = repaired = lambda self, *facts: self.started(None, 0, None, "")

    def passed(self, view, decisions):
        look(view)


@hookimpl
def hpcsim_observers(register):
    register(Nosy)
"""

SCENARIOS = {
    "only nodes": {"machine.nodes": 100, "physics": None, "jobs": 300},
    "everything": {"jobs": 300, "physics.cap_kw": 500, "physics.solar_kw": 300, "physics.telemetry": {}},
    "shared nodes": {"jobs": 300, "physics.processors": "cores"},
}


def read(directory):
    return {str(file.relative_to(directory)): file.read_bytes() for file in sorted(directory.rglob("*.*"))}


@pytest.mark.parametrize("which", SCENARIOS)
def test_a_run_leaves_the_same_bytes_whoever_watches_and_whether_or_not_he_breaks(which, tmp_path):
    left = {}
    for name, breaks_at in (("nobody", 0), ("nosy", -1), ("broken", 50)):
        file = tmp_path / f"{name}.py"
        file.write_text(NOSY.replace("BREAKS_AT", str(breaks_at)))
        overrides = SCENARIOS[which] | ({} if name == "nobody" else {"observers": "nosy"})
        run = hpcsim.simulate("polaris", overrides, plugins=file)
        assert run.summary.get("observers", {"nosy": None}) == {"nosy": None}
        errors = run.summary.get("observer_errors", {})
        assert list(errors) == (["nosy"] if name == "broken" else []), errors
        own = {key: value for key, value in run.summary.items() if not key.startswith("observer")}
        left[name] = own, read(run.write(tmp_path / name, plots=False))
    for name in ("nosy", "broken"):
        assert left[name][0] == left["nobody"][0]
        tables = [file for file in left["nobody"][1] if file.endswith(".parquet")]
        assert len(tables) >= 3
        for table in tables:
            assert left[name][1][table] == left["nobody"][1][table], table


def test_the_torus_is_given_away_alike_whoever_watches(tmp_path):
    file = tmp_path / "nosy.py"
    file.write_text(NOSY.replace("BREAKS_AT", "-1"))
    mira = {"jobs": 150, "physics.placement": "torus"}
    watched_run = hpcsim.simulate("mira", mira | {"observers": "nosy"}, plugins=file)
    alone = hpcsim.simulate("mira", mira)
    assert watched_run.tables["attempts"].equals(alone.tables["attempts"])
    assert watched_run.summary.get("observer_errors") is None


def test_units_that_fail_and_come_back_are_told_as_the_run_books_them(tmp_path):
    file = tmp_path / "diary.py"
    file.write_text(
        "from hpcsim.plugin import hookimpl\n\n\nclass Diary:\n    name, api = 'diary', 1\n\n"
        "    def __init__(self):\n        self.failed_, self.repaired_, self.lost = [], [], 0\n\n"
        "    def failed(self, units, now, cause):\n        self.failed_.append([now, cause, list(units)])\n\n"
        "    def repaired(self, units, now):\n        self.repaired_.append([now, list(units)])\n\n"
        "    def ended(self, job, now, state):\n        self.lost += state == 'node_failed'\n\n"
        "    def finished(self, view):\n"
        "        return {'failed': self.failed_, 'repaired': self.repaired_, 'lost': self.lost}\n\n\n"
        "@hookimpl\ndef hpcsim_observers(register):\n    register(Diary)\n"
    )
    run = hpcsim.simulate("polaris", {"jobs": 3000, "observers": "diary"}, plugins=file)
    told, booked = run.summary["observers"]["diary"], run.interrupts
    assert len(booked) > 3
    assert [fact[:2] for fact in told["failed"]] == booked[["time_s", "cause"]].to_numpy().tolist()
    assert [len(fact[2]) for fact in told["failed"]] == booked["nodes"].tolist()
    assert told["lost"] == booked["jobs"].sum()
    by_units = {(now, *units) for now, units in told["repaired"]}
    ended = booked["until_s"].tolist()
    assert by_units <= {(until, *fact[2]) for until, fact in zip(ended, told["failed"], strict=True)}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("api = 1", "api = 2", "Nosy.api is 2"),
        ('name = "nosy"', 'name = "no.sy"', "the observer 'no.sy': a name without '.'"),
        ("class Nosy(Observer):", "class Other(Observer):\n    name, api = 'x', 1\n\nclass Nosy(Observer):", None),
        ("register(Nosy)", "register(Observer)", "Observer has none of the methods of an observer: began, submitted"),
    ],
)
def test_an_observer_that_breaks_the_contract_is_refused(old, new, said, tmp_path):
    assert old in NOSY
    file = tmp_path / "nosy.py"
    file.write_text(NOSY.replace(old, new).replace("BREAKS_AT", "-1"))
    if said is None:
        assert list(load_plugins([file]).offers["observers"]) == ["nosy"]
        return
    with pytest.raises(InputError) as caught:
        load_plugins([file])
    assert said in str(caught.value)


def test_an_observer_that_cannot_be_made_is_refused_before_the_run(tmp_path):
    file = tmp_path / "nosy.py"
    file.write_text(NOSY.replace("api = 1", "api = 1\n\n    def __init__(self):\n        1 / 0"))
    with pytest.raises(InputError, match="observer nosy could not be made: ZeroDivisionError"):
        hpcsim.simulate("polaris", {"jobs": 5, "physics": None, "observers": ["nosy"]}, plugins=file)
