"""Twins are told what sensors read: the same as telemetry, felt by nobody, also in forks and from snapshots."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

import hpcsim
from hpcsim.engine.what_if import what_if
from hpcsim.errors import InputError, TwinError
from hpcsim.plugin import UNIT_STATES
from hpcsim.plugin.loader import load_plugins
from hpcsim.replay import begin, resume
from hpcsim.results.tables import attempts_table

FILE = """
    import numpy as np
    from hpcsim.plugin import Prediction, Start, hookimpl

    class Ears:
        api = 1

        def __init__(self):
            self.log = []

        def sensed(self, readings):
            self.log.append([None if column is None else column.tolist() for column in readings])

        def ended(self, end):
            self.log.append(end.job.name)

    class Fault(Ears):
        name = "fault-ears"
        answers = "fault"
        senses_every_s = 600

        def fault(self, units, horizon_s, view):
            times = [each[0][0] for each in self.log if not isinstance(each, str)]
            assert view.now > max(times, default=-1) and view.now - max(times, default=view.now) <= 600
            hottest = max((max(each[4]) for each in self.log if not isinstance(each, str)), default=0.0)
            return Prediction(np.full(len(units), hottest / 200), np.zeros(len(units)), np.zeros(len(units)))

    class Thermal(Ears):
        name = "thermal-ears"
        answers = "thermal"
        senses_every_s = 1700

        def thermal(self, units, watts, horizon_s, view):
            return Prediction(watts, watts * 0, watts * 0)

    class Asks:
        name = "asks"
        api = 1
        needs = {"fault-twin"}

        def schedule(self, view):
            answer = float(view.twins.fault([3], 3600).mean[0])
            room = view.room()
            yield from (Start(job, f"{answer:.5f}") for job in view.queue if room.take(job))

    @hookimpl
    def hpcsim_twins(register):
        register(Fault)
        register(Thermal)

    @hookimpl
    def hpcsim_schedulers(register):
        register(Asks)
"""
POLARIS = {"machine.model": "polaris", "physics.heat": True, "jobs": 100}
BOTH = POLARIS | {"scheduler": "asks", "twins.fault": "fault-ears", "twins.thermal": "thermal-ears"}


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("ears") / "ears.py"
    path.write_text(dedent(FILE))
    return path


def finished(simulation):
    simulation.run()
    return simulation


def heard(simulation):
    return {question: twin.log for question, twin in simulation.twins.items() if hasattr(twin, "log")}


@pytest.fixture(scope="module")
def whole(file):
    return finished(begin("polaris", BOTH, plugins=file))


def test_a_twin_hears_what_telemetry_of_its_interval_reads_but_for_the_noise(whole, file):
    told = {"physics.telemetry.interval": 600, "physics.telemetry.noise": False}
    recorded = hpcsim.simulate("polaris", BOTH | told, plugins=file).telemetry
    log = [each for each in whole.twins["fault"].log if not isinstance(each, str)]
    columns = [np.concatenate(each) for each in zip(*log, strict=True)]
    names = whole.workload.table.column("name").to_pylist()
    assert columns[0].tolist() == recorded["time_s"].tolist()
    assert columns[1].tolist() == recorded["unit"].tolist()
    assert np.array(UNIT_STATES)[columns[2]].tolist() == recorded["state"].tolist()
    assert [names[job] if job >= 0 else None for job in columns[3].tolist()] == [
        job if isinstance(job, str) else None for job in recorded["job_id"]
    ]
    for column, name, sigma in ((4, "node_c", 0.51), (5, "gpu_c", 0.51)):
        error = columns[column] - recorded[name].to_numpy()
        assert abs(error.mean()) < 0.01
        assert error.std() == pytest.approx(sigma, abs=0.02)
    assert columns[9].mean() == pytest.approx(recorded["corrected_errors"].mean(), rel=0.15)


def test_who_hears_changes_nothing_and_hears_the_same_whoever_else_does(tmp_path, whole, file):
    runs = {
        "plain": POLARIS,
        "heard": POLARIS | {"twins.fault": "fault-ears"},
        "both": POLARIS | {"twins.fault": "fault-ears", "physics.telemetry.interval": 450},
        "recorded": POLARIS | {"physics.telemetry.interval": 450},
    }
    for name, settings in runs.items():
        hpcsim.simulate("polaris", settings, plugins=file, check=True).write(tmp_path / name, plots=False)

    def content(run, table):
        return (tmp_path / run / f"{table}.parquet").read_bytes()

    for table in ("jobs", "attempts", "timeline", "interrupts", "power", "temperature"):
        assert content("plain", table) == content("heard", table) == content("both", table)
    assert content("recorded", "telemetry") == content("both", "telemetry")
    without = {key: value for key, value in BOTH.items() if key != "twins.thermal"}
    alone = finished(begin("polaris", without, plugins=file))
    assert heard(alone) == {"fault": whole.twins["fault"].log}


def test_each_twin_is_told_in_its_own_interval(whole):
    for question, twin in whole.twins.items():
        if hasattr(twin, "log"):
            times = [each[0][0] for each in twin.log if not isinstance(each, str)]
            assert times == list(range(whole.start, whole.now, twin.senses_every_s)), question


def test_a_fork_and_a_restored_simulation_go_on_hearing(tmp_path, whole, file):
    parent = begin("polaris", BOTH, plugins=file)
    parent.run(parent.start + 20_000)
    so_far = {question: log.copy() for question, log in heard(parent).items()}
    parent.save(tmp_path / "snapshot")
    fork = parent.fork()
    second = finished(fork.fork())
    assert heard(fork) == heard(parent) == so_far
    for each in (finished(fork), second, finished(parent), finished(resume(tmp_path / "snapshot", plugins=file))):
        assert heard(each) == heard(whole)
        assert attempts_table(each) == attempts_table(whole)  # the answers stand there as reasons


def test_twins_that_hear_in_the_same_seconds_hear_what_each_would_hear_alone(tmp_path, file, whole):
    quick = tmp_path / "quick.py"
    quick.write_text(file.read_text().replace("senses_every_s = 1700", "senses_every_s = 600"))
    alone = {key: value for key, value in BOTH.items() if key not in ("twins.fault", "scheduler")}
    wanted = heard(whole) | heard(finished(begin("polaris", alone, plugins=quick)))
    parent = begin("polaris", BOTH, plugins=quick)
    parent.run(parent.start + 20_000)
    parent.save(tmp_path / "snapshot")
    fork = parent.fork()
    assert len(fork.site.cluster.heat.sensed) == len(parent.site.cluster.heat.sensed) == 1
    for each in (fork.fork(), fork, parent, resume(tmp_path / "snapshot", plugins=quick)):
        assert heard(finished(each)) == wanted


def test_nobody_is_told_what_only_might_happen(file):
    simulation = begin("polaris", BOTH, plugins=file)
    simulation.run(simulation.start + 20_000)
    before = {question: len(log) for question, log in heard(simulation).items()}
    what_if(simulation, [], 86_400)
    assert {question: len(log) for question, log in heard(simulation).items()} == before


def test_a_machine_that_only_counts_nodes_has_no_sensors_and_that_is_told_at_load(file):
    settings = {"physics": None, "jobs": 10, "twins.thermal": "thermal-ears"}
    with pytest.raises(
        InputError, match=r"thermal: thermal-ears is told what sensors read, which polaris lacks; set ma"
    ):
        hpcsim.simulate("polaris", settings, plugins=file)


def test_a_twin_that_cannot_hear_voids_the_run(file, tmp_path):
    deaf = tmp_path / "deaf.py"
    told = file.read_text().replace("self.log.append([", "self.log.append(1 / 0 or [")
    deaf.write_text(told.replace("-ears", "-deaf").replace('"asks"', '"asks-too"'))
    with pytest.raises(TwinError, match=r"t=\d+: twin fault-deaf raised ZeroDivisionError: division by zero \(.*deaf"):
        hpcsim.simulate("polaris", POLARIS | {"twins.fault": "fault-deaf"}, plugins=deaf)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("senses_every_s = 600", "", "Fault should have both senses_every_s (seconds) and sensed(self, readings), or"),
        ("def sensed", "def sense", "Fault should have both"),
        ("senses_every_s = 600", "senses_every_s = 0", "Fault.senses_every_s should be 1 to 86400 seconds, found 0"),
        ("senses_every_s = 600", "senses_every_s = 60.0", "found 60.0"),
    ],
)
def test_a_class_that_says_half_of_it_is_refused(file, tmp_path, old, new, said):
    wrong = tmp_path / "wrong.py"
    wrong.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        load_plugins([wrong])
    assert said in str(caught.value)
