"""Whoever builds on hpcsim sees the type of all that it gives away: pyright's completeness, and mypy on a plug-in."""

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import hpcsim
from hpcsim import plugin

ROOT = Path(__file__).parents[1]
PUBLIC = ("hpcsim.plugin", "hpcsim.testing", "hpcsim.env", "hpcsim.replay")


def typed(module: str, root: Path = ROOT) -> dict[str, bool]:
    """Of each name of a module, and of all that these lead to, whether pyright knows its type without a guess."""
    ahead = {"PYTHONPATH": str(root), "PATH": str(Path(sys.executable).parent)}  # pyright asks the first python there
    environment = os.environ | {name: f"{first}:{os.environ.get(name, '')}" for name, first in ahead.items()}
    pyright = [sys.executable, "-m", "basedpyright", "--outputjson", "--ignoreexternal", "--verifytypes", module]
    said = subprocess.run(pyright, cwd=root, env=environment, capture_output=True, text=True, check=False).stdout
    found = json.loads(said)["typeCompleteness"]
    assert len(found["symbols"]) > 2, said
    return {each["name"]: each["isTypeKnown"] and not each["isTypeAmbiguous"] for each in found["symbols"]}


@pytest.mark.parametrize("module", PUBLIC)
def test_all_that_is_public_has_a_type(module):
    found = typed(module)
    assert [name for name, known in found.items() if not known] == []
    if module == "hpcsim.replay":  # what hpcsim itself gives away is here, or is reached from here
        homes = {home for home in hpcsim._HOME.values() if any(name.startswith(f"{home}.") for name in found)}
        assert homes == set(hpcsim._HOME.values())


def test_what_has_no_type_is_found(tmp_path):
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "py.typed").touch()
    (tmp_path / "bare" / "__init__.py").write_text("class Has:\n    size = len('x')\n\ndef asks(what, n: int): ...\n")
    lacking = [name for name, known in typed("bare", tmp_path).items() if not known]
    assert lacking == ["bare.Has", "bare.Has.size", "bare.asks"]


WHOLE = '''
    """All of the door, in one plug-in."""

    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any, Literal, assert_type

    import numpy as np

    from hpcsim import begin, load_scenario, plugin, resume, simulate
    from hpcsim.plugin import (
        CAPABILITIES, UNIT_STATES, Blocked, Capability, Decision, Ended, EnergyTwin, FaultTwin, FinishedRun, Hold,
        InputError, Job, JobLog, JobRecord, Kill, MachineSpec, Metric, Node, NodeClass, Observer, Outlook,
        PerformanceTwin, Plant, Power, Prediction, Preempt, Profile, Reader, Readings, Register, RegisterFile, Releases,
        Room, Running, Scheduler, SetCap, SetCooling, SetSpeed, Shadow, Signal, Sleep, Sleeping, Start, ThermalTwin,
        Truth, Twin, Twins, View, Wake, backfill, hookimpl, taken_at, trace_lines,
    )


    class Careful:
        """EASY that hears of power and twins."""

        name = "careful"
        api = 1
        needs = frozenset({"speed", "preemption"})

        class Options(plugin.Options):
            share: float = 0.5

        def __init__(self, options: Options) -> None:
            self.share = options.share

        def schedule(self, view: View) -> Iterator[Decision]:
            room: Room = view.room()
            waiting: Iterable[Job] = view.queue
            for job in waiting:
                if not room.take(job):
                    yield Hold(view.now + 60, "full")
                    break
                yield Start(job, "fits", speed=self.share)
            for of in view.running.values():
                assert_type(of, Running)
                yield SetSpeed(of.job, 1.0)
                yield Preempt(of.job)
                yield Kill(of.job)
            yield from (Sleep(1), Wake(1), SetCap(None), SetCooling("free"))
            twins: Twins = view.twins
            print(twins.performance([*view.queue]).mean.sum() + 1.0, view.machine)


    class Fixed:
        """An hour for all."""

        name = "fixed"
        api = 1
        answers: Literal["performance"] = "performance"

        def performance(self, jobs: Sequence[Job], view: View) -> Prediction:
            hour_J = np.full(len(jobs), 3600.0)
            return Prediction(hour_J, hour_J * 0.1, hour_J * 0.1)

        def ended(self, end: Ended) -> None:
            print(end.runtime_s)


    class Lines:
        """A job a line."""

        name = "lines"
        api = 1

        def matches(self, path: Path, head: bytes) -> bool:
            return path.suffix == ".lines"

        def read(self, path: Path) -> JobLog:
            if not path.exists():
                raise InputError(f"{path}: not there")
            return JobLog(JobRecord(text, number, 1, 60.0) for number, text in trace_lines(path))


    class Longest:
        """The longest wait."""

        name = "longest"
        api = 1
        unit = "s"

        def compute(self, run: FinishedRun) -> float | None:
            return float(run.nodes)


    class Counts(Observer):
        """How many jobs have started."""

        name = "counts"
        api = 1

        def __init__(self) -> None:
            self.count = 0

        def started(self, job: Job, now: int, units: tuple[int, ...] | None, why: str) -> None:
            self.count += job.nodes

        def finished(self, view: View) -> Mapping[str, Any] | None:
            return {"count": self.count}


    @hookimpl
    def hpcsim_schedulers(register: Register[Scheduler]) -> None:
        register(Careful)


    @hookimpl
    def hpcsim_twins(register: Register[Twin]) -> None:
        register(Fixed)


    @hookimpl
    def hpcsim_workloads(register: Register[Reader]) -> None:
        register(Lines)


    @hookimpl
    def hpcsim_metrics(register: Register[Metric]) -> None:
        register(Longest)


    @hookimpl
    def hpcsim_observers(register: Register[Observer]) -> None:
        register(Counts)


    @hookimpl
    def hpcsim_machines(register: RegisterFile) -> None:
        register(Path(__file__).with_name("mine.yaml"))


    def of_types(
        blocked: Blocked, capability: Capability, energy: EnergyTwin, fault: FaultTwin, spec: MachineSpec, node: Node,
        kind: NodeClass, outlook: Outlook, performance: PerformanceTwin, plant: Plant, power: Power, profile: Profile,
        readings: Readings, releases: Releases, shadow: Shadow, signal: Signal, sleeping: Sleeping,
        thermal: ThermalTwin, truth: Truth,
    ) -> tuple[int, str, tuple[str, ...]]:
        assert_type(CAPABILITIES["speed"], Capability)
        print(capability.gives, backfill, taken_at)
        return spec.nodes, kind.name, tuple(UNIT_STATES)


    def in_a_program() -> float:
        run = simulate("polaris", {"jobs": 10})
        simulation = begin("polaris", {"jobs": 10})
        for view in simulation.instants():
            print(view.now + 1, len(view.queue))
        simulation.save("at.hpcsim")
        resume("at.hpcsim").run()
        print(load_scenario("polaris").scenario.seed + 1)
        wait: float = run.summary["mean_wait_s"]
        return wait
'''


def test_a_plug_in_that_uses_all_of_the_door_passes_the_strictest_types(tmp_path):
    text = dedent(WHOLE)
    assert [name for name in plugin.__all__ if name not in text] == []
    (tmp_path / "whole.py").write_text(text)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--warn-unreachable", "--follow-imports=silent", "--config-file="]
    said = subprocess.run(
        [*mypy, "whole.py"], cwd=tmp_path, env=os.environ | {"MYPYPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert said.stdout == "Success: no issues found in 1 source file\n"
