"""``hpcsim new``: what it writes can be installed, keeps the contract and runs."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from click.testing import CliRunner

from hpcsim.cli.new import KINDS, new, rendered
from hpcsim.errors import InputError

FILES = {"pyproject.toml", "README.md", ".github/workflows/test.yml", ".gitignore"}


@pytest.mark.parametrize("kind", KINDS)
def test_it_writes_these_files_and_no_placeholder_is_left(kind: str, tmp_path: Path) -> None:
    CliRunner().invoke(new, [kind, "my-own", str(tmp_path / "there")])
    files = {path.relative_to(tmp_path / "there").as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == FILES | {"hpcsim_my_own.py", "tests/test_my_own.py"}
    for content in rendered(kind, "my-own").values():
        assert "$" not in content.replace("${{ matrix.python }}", "").replace("${{ vars.HPCSIM }}", "")


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("easy", "a scheduler named 'easy' is there already"),
        ("../up", "cannot be the name of a scheduler"),
        ("Mine", "cannot be the name of a scheduler"),
    ],
)
def test_a_name_that_is_taken_or_none_is_refused_and_nothing_is_written(
    name: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(new, ["scheduler", name])
    assert isinstance(result.exception, InputError)
    assert complaint in str(result.exception)
    assert not [*tmp_path.iterdir()]


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    result = CliRunner().invoke(new, ["twin", "my-own", str(tmp_path)])
    assert isinstance(result.exception, InputError)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_class_is_not_called_what_its_module_imports() -> None:
    assert "class ViewScheduler:" in rendered("scheduler", "view")["hpcsim_view.py"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_package_is_installed_in_a_new_environment_and_passes_its_own_tests_there(
    kind: str, tmp_path: Path
) -> None:
    name, package = f"brand-new-{kind}", tmp_path / "package"
    CliRunner().invoke(new, [kind, name, str(package)])
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    # hpcsim and what it needs are seen from there as if they were installed: nothing is fetched from anywhere.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = environment / "lib" / version / "site-packages"
    project = Path(__file__).resolve().parents[1]
    (site / "seen.pth").write_text(f"{project}\n{sysconfig.get_paths()['purelib']}\n")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", package], check=True)

    def run(*command: str) -> str:
        clean = {**os.environ, "PYTHONPATH": ""}
        done = subprocess.run([python, "-m", *command], cwd=package, env=clean, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "passed" in run("pytest", "-p", "no:cacheprovider", "-v")
    assert name in run("hpcsim", "plugins")
    first = {
        "scheduler": ("--scheduler", name),
        "twin": ("--set", f"twins.performance={name}"),
        "metric": (),
    }[kind]
    shown = run("hpcsim", "run", "polaris", "--jobs", "60", "--set", "physics=null", "--no-plots", *first)
    assert kind != "metric" or name in shown
    if kind != "metric":
        run("hpcsim", "check", name)
