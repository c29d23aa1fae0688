"""What the README shows works as it stands there."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from hpcsim.cli import COMMANDS, cli

README = (Path(__file__).parents[1] / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHELL = [line.split("#")[0].strip() for line in README.splitlines() if line.startswith("    hpcsim ")]


def test_it_is_short():
    assert len(README.splitlines()) < 150


def test_the_scheduler_in_it_runs(tmp_path):
    import hpcsim

    file = tmp_path / "shortest_first.py"
    file.write_text(PYTHON[0])
    run = hpcsim.simulate("polaris", {"jobs": 300, "scheduler": "shortest-first"}, plugins=[file], check=True)
    assert run.manifest["scheduler"] == "shortest-first"


def test_the_python_in_it_runs(capsys):
    exec(PYTHON[1].replace("5000", "300"), {})
    assert "small" in capsys.readouterr().out


@pytest.mark.parametrize("line", SHELL)
def test_every_command_in_it_is_understood(line):
    words = shlex.split(line)[1:]
    command = words[0]
    assert command in COMMANDS
    # an option or argument that does not exist is an error of usage, raised before anything is read
    found = cli.get_command(None, command)
    group = getattr(found, "commands", None)
    if group is not None and words[1] in group:
        found, words = group[words[1]], words[1:]
    found.make_context(command, words[1:])  # ``hpcsim twins`` takes the name of a twin where a command may stand


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (Path(__file__).parents[1] / target).exists(), target


def test_help_names_every_command():
    assert set(COMMANDS) <= set(CliRunner().invoke(cli, ["--help"]).output.split())
