"""What the README shows works as it stands there."""

import re

from click.testing import CliRunner
from pages import ROOT, blocks, text_of

from hpcsim.cli import COMMANDS, cli

README = text_of("README.md")
PYTHON = blocks("README.md", "python")


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


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_help_names_every_command():
    assert set(COMMANDS) <= set(CliRunner().invoke(cli, ["--help"]).output.split())
