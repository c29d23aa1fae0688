"""The door for plug-ins: what it has is known by name, typed, and documented."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from pydantic import BaseModel

from hpcsim import plugin
from hpcsim.engine.capabilities import CAPABILITIES
from hpcsim.plugin import hooks
from hpcsim.plugin.kinds import KINDS

ROOT = Path(__file__).parents[1]
DOOR = (ROOT / "docs" / "plugins.md").read_text()

PUBLIC = """
    CAPABILITIES UNIT_STATES Blocked Capability Decision Ended EnergyTwin FaultTwin FinishedRun Hold InputError Job
    JobLog JobRecord Kill MachineSpec Metric Node NodeClass Observer Options Outlook PerformanceTwin Plant Power
    Prediction Preempt Profile Reader Readings Register RegisterFile Releases Room Running Scheduler SetCap SetCooling
    SetSpeed Shadow Signal Sleep Sleeping Start ThermalTwin Truth Twin Twins View Wake backfill hookimpl
    taken_at trace_lines
"""


def test_the_door_has_these_names_and_no_other():
    """Whoever changes this list changes what third parties build on."""
    assert plugin.__all__ == PUBLIC.split()
    assert set(plugin.__all__) == {
        name for name, thing in vars(plugin).items() if not name.startswith("_") and not inspect.ismodule(thing)
    } - {"BaseModel", "ClassVar", "ConfigDict"}


def test_every_name_of_the_door_and_all_that_it_offers_has_a_docstring():
    bare = []
    for name in plugin.__all__:
        thing = getattr(plugin, name)
        if not inspect.isclass(thing):
            continue
        bare += [name] if not (thing.__doc__ or "").strip() else []
        members = {} if issubclass(thing, BaseModel) else vars(thing)
        bare += [
            f"{name}.{member}"
            for member, value in members.items()
            if not member.startswith("_")
            and (inspect.isfunction(value) or isinstance(value, property))
            and not inspect.getdoc(value)
        ]
    assert bare == []


def test_every_kind_has_its_hook_and_every_hook_is_documented_with_its_arguments():
    specs = {name: spec for name, spec in vars(hooks).items() if name.startswith("hpcsim_")}
    assert list(specs) == [kind.hook for kind in KINDS]
    for name, spec in specs.items():
        arguments = ", ".join(inspect.signature(spec).parameters)
        assert f"\n### `{name}({arguments})`\n" in DOOR
    assert re.findall(r"\n### `(hpcsim_\w+)", DOOR) == list(specs)


def test_every_name_of_the_door_is_documented():
    text = "".join(file.read_text() for file in sorted((ROOT / "docs").glob("*.md")))
    documented = set(re.findall(r"`(\w+)", text))
    assert set(plugin.__all__) - documented == set()


def test_every_capability_is_documented_as_it_describes_itself():
    rows = [f"| `{name}` | {gives} | {key} |" for name, (gives, key) in CAPABILITIES.items()]
    assert "\n".join(rows) in DOOR.replace("`|", "|")


RIGHT = '''
    from collections.abc import Iterator, Sequence
    from typing import Literal

    import numpy as np
    from pydantic import Field

    from hpcsim import plugin
    from hpcsim.plugin import Decision, Ended, Job, Prediction, Register, Scheduler, Start, Twin, View, hookimpl


    class Patient:
        """First come, first served, but small jobs go first."""

        name = "patient"
        api = 1
        needs = frozenset({"speed"})

        class Options(plugin.Options):
            small_nodes: int = Field(4, ge=1, description="jobs of at most so many nodes are small")

        def __init__(self, options: Options) -> None:
            self.small_nodes = options.small_nodes

        def schedule(self, view: View) -> Iterator[Decision]:
            room = view.room()
            for job in sorted(view.queue, key=lambda job: (job.nodes > self.small_nodes, job.id)):
                if room.take(job):
                    yield Start(job, "small" if job.nodes <= self.small_nodes else "", speed=0.9)


    class Half:
        """Jobs run half their walltime."""

        name = "half"
        api = 1
        answers: Literal["performance"] = "performance"

        def performance(self, jobs: Sequence[Job], view: View) -> Prediction:
            half_J = 0.5 * np.array([job.walltime for job in jobs], np.float64)
            return Prediction(half_J, half_J, half_J)

        def ended(self, end: Ended) -> None:
            print(end.job.user, end.runtime_s)


    @hookimpl
    def hpcsim_schedulers(register: Register[Scheduler]) -> None:
        register(Patient)


    @hookimpl
    def hpcsim_twins(register: Register[Twin]) -> None:
        register(Half)
'''
WRONG = """
    from collections.abc import Iterator, Sequence
    from typing import Literal

    from hpcsim.plugin import Job, Prediction, Register, Scheduler, Start, Twin, View, hookimpl


    class Reads:
        name = "reads"
        api = 1

        def schedule(self, view: View) -> Iterator[Start]:
            for job in view.queue:
                print(job.runtime)  # WRONG attr-defined
                view.now = 5  # WRONG misc
                yield Start(job.id)  # WRONG arg-type


    class Counts:
        name = "counts"
        api = 1

        def schedule(self, view: View) -> int:
            return len(view.queue)


    class Other:
        name = "other"
        api = 1
        answers: Literal["energy"] = "energy"

        def performance(self, jobs: Sequence[Job], view: View) -> Prediction:
            return [1.0 for job in jobs]  # WRONG return-value


    @hookimpl
    def hpcsim_schedulers(register: Register[Scheduler]) -> None:
        register(Reads)
        register(Counts)  # WRONG arg-type
        register(Counts())  # WRONG arg-type


    @hookimpl
    def hpcsim_twins(register: Register[Twin]) -> None:
        register(Other)  # WRONG arg-type
"""


@pytest.fixture(scope="module")
def complaints(tmp_path_factory) -> set[tuple[str, int, str]]:
    """What ``mypy --strict`` says of the two plug-ins: file, line, kind of error."""
    folder = tmp_path_factory.mktemp("typed")
    for name, text in (("right.py", RIGHT), ("wrong.py", WRONG)):
        (folder / name).write_text(dedent(text))
    mypy = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file="]
    environment = os.environ | {"MYPYPATH": str(ROOT)}
    said = subprocess.run(
        [*mypy, "right.py", "wrong.py"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    ).stdout
    found = re.findall(r"^(\w+\.py):(\d+): error: .*\[([\w-]+)\]$", said, re.MULTILINE)
    return {(file, int(line), kind) for file, line, kind in found} or {(said, 0, "")}


def test_a_plugin_that_is_right_passes_the_strictest_types(complaints):
    assert [each for each in complaints if each[0] != "wrong.py"] == []


def test_a_plugin_that_does_it_wrong_is_refused_where_it_does(complaints):
    lines = dedent(WRONG).splitlines()
    marked = {("wrong.py", i, line.partition("# WRONG ")[2]) for i, line in enumerate(lines, 1) if "# WRONG" in line}
    assert complaints == marked
