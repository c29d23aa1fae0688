"""Whatever a page shows to be typed works: blocks of code run, files are read, commands and their options are there."""

import re
import shlex
import tomllib
from contextlib import suppress

import click
import pytest
from click.testing import CliRunner
from pages import PAGES, ROOT, blocks, commands, context_of, quoted_commands, text_of

from hpcsim.cli import cli, main
from hpcsim.plugin import hooks
from hpcsim.plugin.loader import load_plugins
from hpcsim.scenario.layers import packaged_scenarios
from hpcsim.scenario.load import load_scenario

# Blocks that take long, need what they do not make, or are no scenarios: tests that ask more of them run them.
ELSEWHERE = {
    "python": {
        "README.md": "test_readme.py", "docs/environment.md": "test_env.py", "docs/library.md": "test_stepping.py",
        "docs/telemetry.md": "test_telemetry.py", "docs/testing.md": "test_docs.py",
        "docs/tournament.md": "test_tournament_grid.py",
    },
    "yaml": {"docs/queues.md": "test_queue_nodes.py", "docs/tournament.md": "test_tournament_grid.py"},
    "sh": {"docs/tutorial.md": "test_tutorial.py"},
    "toml": {},
}  # fmt: skip
BASE = {"docs/workflows.md": "workflows"}  # what a part of a scenario is a part of; polaris where nothing is said
LISTS = {"schedulers", "machines", "metrics", "cite", "plugins", "schema"}  # these run in no time

COMMANDS = [(page, line) for page in PAGES for line in dict.fromkeys(commands(page))]
QUOTED = [(page, line) for page in PAGES for line in dict.fromkeys(quoted_commands(page))]


def of(language):
    return [page for page in PAGES if blocks(page, language)]


def test_every_block_has_a_language_that_is_tried_or_is_an_output():
    for page in PAGES:
        found = re.findall(r"^```(\S*)$", text_of(page), re.MULTILINE)
        assert len(found) % 2 == 0, page
        assert set(found[::2]) <= {"", *ELSEWHERE, "{toctree}", "{eval-rst}"}, page
        assert set(found[1::2]) <= {""}, page


@pytest.mark.parametrize(("language", "page"), [(kind, page) for kind in ELSEWHERE for page in ELSEWHERE[kind]])
def test_what_is_said_to_be_run_elsewhere_is(language, page):
    assert blocks(page, language)
    source = (ROOT / "tests" / ELSEWHERE[language][page]).read_text()
    assert f'blocks("{page}", "{language}")' in source


@pytest.mark.parametrize("page", [page for page in of("python") if page not in ELSEWHERE["python"]])
def test_python_runs_in_the_order_of_the_page(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for i, block in enumerate(blocks(page, "python")):
        exec(block, names)
        if "@hookimpl" in block:
            (tmp_path / f"block_{i}.py").write_text(block)
            assert load_plugins([tmp_path / f"block_{i}.py"]).found[-1].offers


@pytest.mark.parametrize("page", [page for page in of("yaml") if page not in ELSEWHERE["yaml"]])
def test_yaml_is_a_scenario_or_a_part_of_one(page, tmp_path, capfd):
    for i, block in enumerate(blocks(page, "yaml")):
        whole = "name:" in block.splitlines()[0]
        file = tmp_path / f"{i}.yaml"
        file.write_text(block if whole else f"base: {BASE.get(page, 'polaris')}\nname: part\n{block}")
        with pytest.raises(SystemExit) as ended:
            main(["validate", str(file)])
        assert ended.value.code == 0, capfd.readouterr().err


@pytest.mark.parametrize("page", of("toml"))
def test_toml_is_the_entry_point_that_is_looked_for(page):
    for block in blocks(page, "toml"):
        assert set(tomllib.loads(block)["project"]["entry-points"]) == {hooks.PROJECT}


def test_shell_blocks_are_run():
    assert of("sh") == [*ELSEWHERE["sh"]]


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_every_command_is_understood(page, line, tmp_path, monkeypatch):
    words = [word for word in shlex.split(line) if not re.fullmatch(r"HPCSIM_[A-Z_]+=\S+", word)]
    if words[0] != "hpcsim":
        understood(words)
        return
    context = context_of(line)
    if page in ELSEWHERE["sh"]:
        return
    scenario, settings = context.params.get("scenario"), context.params.get("settings", ())
    if scenario in packaged_scenarios() and not context.params.get("plugins"):
        found = load_plugins()
        chosen = context.params.get("scheduler")
        given = [*settings, *([("scheduler", chosen)] if chosen else [])]
        load_scenario(scenario, given, schedulers=found.schedulers, twins=found.twins, parts=found.offers)
    lists = words[1] in LISTS or (words[1] == "twins" and words[2] not in ("train", "evaluate"))
    if lists and not context.params.get("plugins") and not re.search(r"\b[A-Z]{3,}\b|\bruns/", line):
        monkeypatch.chdir(tmp_path)
        ran = CliRunner().invoke(cli, words[1:])
        assert ran.exit_code == 0, ran.output


@pytest.mark.parametrize(("page", "line"), QUOTED)
def test_every_command_within_a_sentence_is_understood(page, line):
    words = shlex.split(line)
    if words[0] != "hpcsim":
        understood(words)
        return
    with suppress(click.MissingParameter):  # of a command that is only named
        context_of(line)


def understood(words):
    """A command that is not ``hpcsim``: what it names is in the repository, and its options are."""
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", text_of("Makefile"), re.MULTILINE), words
    elif words[0] == "pip":
        extras = re.findall(r"^(?:hpcsim|\.)\[(.*)\]", words[-1])
        known = tomllib.loads(text_of("pyproject.toml"))["project"]["optional-dependencies"]
        assert words[1] == "install"
        assert all(extra in known for each in extras for extra in each.split(","))
    elif words[0] == "pytest":
        conftest = text_of("tests/conftest.py")
        own = [word for word in words if word.startswith("--") and word != "--hypothesis-profile"]  # hypothesis' own
        assert all(f'"{word}"' in conftest for word in own), words
        if "--hypothesis-profile" in words:
            assert f'register_profile("{words[words.index("--hypothesis-profile") + 1]}"' in conftest
    elif words[1:2] == ["-m"] and not words[2].startswith("benchmarks."):
        assert words[2] in ("pydoc", "build")
    else:
        file = f"{words[2].replace('.', '/')}.py" if words[1] == "-m" else words[1]
        source = text_of(file)
        assert all(f'"{word}"' in source for word in words if re.match(r"--?\w", word) and word != "-m"), words
