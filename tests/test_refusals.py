"""What is no machine is refused before it runs: exit code 2, and a line for each thing with its place in the file."""

import re
from pathlib import Path

import pytest

from hpcsim import cli
from hpcsim.engine.simulation import Simulation
from hpcsim.machine import catalogue

CATALOG = Path(catalogue.__file__).parent / "catalog"


@pytest.fixture(autouse=True)
def _nothing_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(self: Simulation, until: int | None = None) -> None:
        raise AssertionError("it was to be refused before the run")

    monkeypatch.setattr(Simulation, "run", run)
    monkeypatch.chdir(tmp_path)


def refused(capfd: pytest.CaptureFixture[str], scenario: str, *settings: str) -> list[str]:
    """The lines that ``hpcsim run`` says about the scenario."""
    words = ["run", scenario, "--jobs", "5"]
    for setting in settings:
        words += ["--set", setting]
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    assert caught.value.code == 2
    return capfd.readouterr().err.splitlines()


def machine(name: str, **values: str) -> tuple[Path, dict[str, int]]:
    """A file ``mine.yaml`` like that of a machine of the catalogue but for some values, and the line of each key."""
    lines = (CATALOG / f"{name}.yaml").read_text("utf-8").splitlines()
    line_of = {}
    for key, value in values.items():
        at = next(i for i, line in enumerate(lines) if re.match(rf" *{key}:", line))
        lines[at] = re.sub(r"value: (\[[^]]*\]|[^,]+)", f"value: {value}", lines[at], count=1)
        if "value:" not in lines[at]:  # written over several lines
            lines[at + 1] = re.sub(r"value: .*", f"value: {value}", lines[at + 1])
        line_of[key] = at + 1
    path = Path("mine.yaml")
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path, line_of


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("node_k_per_w", "-0.35", "3: thermal.node_k_per_w: should be above 0 (got -0.35)"),
        ("cpu_dyn_w", "-4", "3: power.cpu_dyn_w: should be at least 0, or peak power lies below idle (got -4.0)"),
        ("idle_w", ".nan", "3: power.idle_w: should be a finite number (got nan)"),
        ("nodes", "1000", "1: nodes: should be a multiple of unit_nodes, 512 (got 1000)"),
        ("torus", "[2, 3, 4]", "1: torus: should be a list of 4 (got [2, 3, 4])"),
        ("torus", "[2, 3, 4, 5]", "1: torus: 2 x 3 x 4 x 5 = 120 places, but 96 units of 512 nodes; null for no torus"),
        ("block_units", "[1, 2, 5]", "1: block_units: found 5, but no box of a torus (2, 3, 4, 4) has 5 midplanes"),
        ("queues", "mirra", "1: queues: found 'mirra', expected one of aurora, cooley, mira, polaris, theta"),
    ],
)
def test_a_value_that_cannot_be_is_told_with_its_place(
    capfd: pytest.CaptureFixture[str], key: str, value: str, said: str
) -> None:
    path, line_of = machine("mira", **{key: value})
    lines = refused(capfd, "mira", f"machine.model={path}", "physics.heat=true", "machine.nodes=null")
    assert lines == [f"hpcsim: {path.resolve()}:{line_of[key]}:{said}"]


def test_a_throttle_above_the_shutdown_is_told_where_the_file_speaks_of_heat(capfd: pytest.CaptureFixture[str]) -> None:
    """The throttle is a common value and the shutdown the file's own: the place is the section of the file."""
    path, line_of = machine("mira", node_shutdown_c="70")
    (line,) = refused(capfd, "mira", f"machine.model={path}", "physics.heat=true")
    found = re.fullmatch(r".*mine\.yaml:(\d+):1: thermal\.cpu_throttle_c: should be below node_shutdown_c, 70.*", line)
    assert found
    assert 0 < line_of["node_shutdown_c"] - int(found[1]) < 12


@pytest.mark.parametrize(
    ("scenario", "settings", "said"),
    [
        ("mira", ["machine.model=mira", "machine.nodes=1000"], "--set machine.nodes=1000: nodes: should be a multiple"),
        ("mira", ["machine.model=mirra"], "--set machine.model=mirra: machine.model: no machine named 'mirra' and no"),
        ("mira", ["machine.model=no.yaml"], "--set machine.model=no.yaml: machine.model: {here}/no.yaml: there is no"),
        ("cooley", ["machine.model=cooley", "physics.placement=torus"],
         "--set physics.placement=torus: physics.placement: found 'torus', but Cooley has no torus with blocks"),
        ("mira", ["machine.model=mira", "machine.nodes=24576", "physics.placement=torus", "physics.queues=false"],
         "--set physics.placement=torus: physics.placement: found 'torus', but Mira has no torus with blocks with 2"),
        ("mira", ["machine.model=mira", "physics.placement=coolest", "physics.heat=false"],
         "--set physics.placement=coolest: physics.placement: found 'coolest', which needs physics.heat"),
    ],
)  # fmt: skip
def test_a_setting_that_does_not_fit_the_machine_is_told(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, scenario: str, settings: list[str], said: str
) -> None:
    (line,) = refused(capfd, scenario, *settings, "physics.variation=false")
    assert line.startswith(f"hpcsim: {said.format(here=tmp_path)}")


def test_a_queue_that_no_node_can_serve_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    lines = refused(capfd, "polaris", "machine.model=polaris", "machine.nodes=20", "physics.heat=false")
    assert lines[0].startswith("hpcsim: --set machine.nodes=20: the queues of polaris do not fit a machine of 20 nodes")
    assert len(lines) > 1
    for line in lines[1:]:
        assert re.search(r"polaris\.yaml:\d+:\d+: \S+: no node can serve it: its jobs have \d+ nodes at least", line)


def test_a_machine_file_is_found_beside_the_scenario_that_names_it(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, line_of = machine("mira", idle_w="-1")
    (tmp_path / "mine.scenario.yaml").write_text(
        "name: mine\nmachine: {model: mine.yaml}\nprofile: mira\nphysics: {heat: false}\n"
    )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (line,) = refused(capfd, "../mine.scenario.yaml")
    assert line.startswith(f"hpcsim: {tmp_path}/mine.yaml:{line_of['idle_w']}:3: power.idle_w: should be above 0")
