"""What hpcsim runs on: a part of its tests under each supported Python, and with the oldest packages that it allows.

    python tests/supported.py versions     # make versions
    python tests/supported.py lowest       # make lowest

Each Python gets an environment of its own in a temporary folder, with the packages of constraints.txt, or with the
lowest versions of pyproject.toml. That takes minutes and a package index, so it is no part of the tests. One line for
each Python; the exit code is 1 where a test failed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from shutil import which

ROOT = Path(__file__).parents[1]
MINORS = (11, 12, 13)
OLDEST = MINORS[0]
_PARTS = (
    "engine", "known_schedules", "scenario", "strict_yaml", "swf", "alcf", "power", "run", "cli_shell",
    "plugin_loader", "plots", "top",
)  # fmt: skip
BASE = [f"tests/test_{name}.py" for name in _PARTS]
OF_EXTRAS = [
    "tests/test_performance_twin.py",
    "tests/test_env.py",
    "tests/test_tuning.py",
    "tests/test_tournament_run.py::test_workers_that_parsl_starts_leave_the_same_bytes",
]
TESTERS = ["pytest", "hypothesis", "setuptools"]
TORCH = "torch"  # stays at its version of constraints.txt: older ones for Linux bring several GB of CUDA


def lowest_versions(pyproject: str) -> dict[str, str]:
    """The lowest version of each dependency that has a bound, of hpcsim itself and of its extras, without ``dev``."""
    project = tomllib.loads(pyproject)["project"]
    extras = [each for name, those in project["optional-dependencies"].items() if name != "dev" for each in those]
    found = {}
    for requirement in [*project["dependencies"], *extras]:
        named = re.fullmatch(r"([A-Za-z0-9_.-]+)>=([0-9.]+)", requirement)
        if named is not None:
            found[named[1]] = named[2]
    return found


def python_of(minor: int) -> Path | None:
    """A Python 3.``minor`` of this machine, on the path or of pyenv; None where there is none that runs."""
    name = f"python3.{minor}"
    folders = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    there = sorted(folders.glob(f"3.{minor}.*/bin/{name}"), reverse=True)
    if (on_path := which(name)) is not None:
        there.insert(0, Path(on_path))
    for python in there:
        said = subprocess.run([python, "--version"], capture_output=True, text=True, check=False)
        if said.stdout.startswith(f"Python 3.{minor}."):  # what lies on the path of pyenv may only say what to install
            return python
    return None


def tried(python: Path, constraints: str, extras: str, tests: list[str], *options: str) -> tuple[bool, str]:
    """Whether the tests pass under ``python`` with packages of these constraints, and what was said last."""
    with tempfile.TemporaryDirectory(prefix="hpcsim-supported-") as folder:
        inside = Path(folder)
        (inside / "constraints.txt").write_text(constraints)
        own = inside / "venv" / "bin" / "python"
        install = [own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        install += ["--constraint", inside / "constraints.txt", "--editable", f"{ROOT}{extras}", *TESTERS]
        pytest = [own, "-m", "pytest", "-p", "no:cacheprovider", *options, *tests]
        for command in ([python, "-m", "venv", inside / "venv"], install, pytest):
            environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
            ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
            if ran.returncode != 0:
                print("\n".join((ran.stdout + ran.stderr).splitlines()[-60:]), file=sys.stderr)
                break
    said = [line for line in (ran.stdout + ran.stderr).splitlines() if line.strip()]
    return ran.returncode == 0, said[-1] if said else ""


def report(minor: int, constraints: str, extras: str, tests: list[str], *options: str) -> bool:
    """Print the line of one Python; False where its tests failed."""
    python = python_of(minor)
    if python is None:
        print(f"Python 3.{minor}: not on this machine", flush=True)
        return True
    version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    right, said = tried(python, constraints, extras, tests, *options)
    print(f"{version}: {'passed' if right else 'FAILED'}: {said}", flush=True)
    return right


def versions() -> bool:
    """The tests of hpcsim itself under each Python, with the packages of constraints.txt."""
    constraints = (ROOT / "constraints.txt").read_text()
    passed = [report(minor, constraints, "", BASE) for minor in MINORS]
    return all(passed)


def lowest() -> bool:
    """The same under the oldest Python, with the lowest version of every package of hpcsim and its extras but torch.

    Warnings are none of ours there: old packages warn of each other. The committed JSON schema is as the pydantic of
    constraints.txt writes it; older ones write 1.0 for 1.
    """
    options = ["-W", "default", "--deselect", "tests/test_scenario.py::test_the_committed_schema_is_that_of_the_models"]
    low = lowest_versions((ROOT / "pyproject.toml").read_text())
    torch = re.search(r"^torch==.+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    lines = [f"{name}=={version}" for name, version in low.items() if name != TORCH] + ([torch[0]] if torch else [])
    print("with", ", ".join(lines), flush=True)  # those that nothing asks for (of train) stay away
    return report(OLDEST, "\n".join(lines) + "\n", "[twins,rl,parsl,tune]", BASE + OF_EXTRAS, *options)


if __name__ == "__main__":
    asked = {"versions": versions, "lowest": lowest}
    if len(sys.argv) != 2 or sys.argv[1] not in asked:
        raise SystemExit(f"usage: python tests/supported.py {'|'.join(asked)}")
    raise SystemExit(0 if asked[sys.argv[1]]() else 1)
