"""What there is to choose from is said by commands: schedulers, twins, plugins."""

import json
from textwrap import dedent

import pytest
from click.testing import CliRunner

import hpcsim
from hpcsim.cli import _exit_code, cli
from hpcsim.cli.words import type_in_words
from hpcsim.errors import InputError
from hpcsim.plugin.loader import load_plugins
from hpcsim.scenario.load import load_scenario
from hpcsim.strict_yaml import parse_mapping

FILE = '''
    from typing import Annotated, Literal

    from pydantic import BaseModel, Field

    from hpcsim.plugin import Options, Start, hookimpl

    class Weights(BaseModel):
        wait: float = Field(1.0, gt=0, description="weight of the wait")

    class Mine:
        """Start what ``rank`` says.

        A second paragraph.

        References
        ----------
        Anon (2001), One way of many
        words.
        Bnon and Cnon (2002), Another.
        """

        name = "mine"
        api = 1
        needs = frozenset({"sleep", "preemption"})

        class Options(Options):
            rank: Literal["short", "small"] = Field("short", description="what goes first")
            depth: Annotated[int, Field(ge=1, lt=100)] | None = None
            share: float = Field(description="of the machine", gt=0, le=1)
            queues: list[str] = Field([], max_length=3)
            weights: Weights = Weights()

        def __init__(self, options):
            pass

        def schedule(self, view):
            return [Start(job) for job in view.queue]

    @hookimpl
    def hpcsim_schedulers(register):
        register(Mine)
'''


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(dedent(FILE))
    return path


def said(*words, columns=120):
    result = CliRunner().invoke(cli, list(map(str, words)), env={"COLUMNS": str(columns)}, catch_exceptions=False)
    return result.output


@pytest.mark.parametrize("kind", ["schedulers", "twins"])
def test_the_list_has_every_one_with_what_it_does_and_needs(kind, file):
    output = said(kind, f"--plugin={file}", columns=300)
    rows = {line.split()[0]: line for line in output.splitlines()}
    offered = load_plugins([file]).offers[kind]
    assert set(rows) == {"name", *offered}
    for name, thing in offered.items():
        assert thing.__doc__.splitlines()[0].replace("``", "") in rows[name]
        assert all(need in rows[name] for need in getattr(thing, "needs", ()))
    if kind == "schedulers":
        assert rows["mine"].split()[-3:] == ["sleep,", "preemption", str(file)]


def test_all_about_one_is_its_docstring_needs_options_and_a_mapping(file):
    output = said("schedulers", "mine", f"--plugin={file}")
    assert [line.rstrip() for line in output.splitlines()] == [
        f"mine, from {file}", "",
        "Start what rank says.", "",
        "A second paragraph.", "",
        "References",
        "  Anon (2001), One way of many words.",
        "  Bnon and Cnon (2002), Another.", "",
        "needs",
        "  sleep: for Sleep and Wake; a scenario has it by machine.model and physics",
        "  preemption: for Preempt and Kill; a scenario has it by preemption: true", "",
        "options",
        "  rank     what goes first",
        "           one of short, small; default short",
        "  depth    whole number at least 1, below 100, or null; default null",
        "  share    of the machine",
        "           number above 0, at most 1; required",
        "  queues   list of text, at most 3 of them; default []",
        '  weights  mapping; default {"wait": 1.0}', "",
        "levers",
        "  any scheduler can be given sleep_idle, speed, power_cap, cooling and placement besides, under levers",
        "",
        "in a scenario",
        "  scheduler:",
        "    name: mine",
        "    rank: short",
        "    depth: null",
        "    queues: []",
        "    weights:",
        "      wait: 1.0",
        "    share:  # required: number above 0, at most 1",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["schedulers", "twins"])
def test_the_mapping_can_be_pasted_into_a_scenario(kind):
    plugins = load_plugins()
    for name in plugins.offers[kind]:
        text = said(kind, name).partition("in a scenario\n")[2]
        pasted = parse_mapping(dedent(text), "pasted").data
        loaded = load_scenario({"name": "x", **pasted}, schedulers=plugins.schedulers, twins=plugins.twins)
        plain = {"scheduler": name} if kind == "schedulers" else {"twins": {plugins.twins[name].answers: name}}
        again = load_scenario({"name": "x", **plain}, schedulers=plugins.schedulers, twins=plugins.twins)
        assert loaded.resolved() == again.resolved()


@pytest.mark.parametrize("columns", [80, 160])
def test_no_line_is_wider_than_the_terminal(columns):
    for words in (["schedulers"], ["schedulers", "easy"], ["twins"], ["twins", "last-two"], ["plugins"]):
        assert max(map(len, said(*words, columns=columns).splitlines())) <= columns


@pytest.mark.parametrize(
    ("words", "right"),
    [
        (["schedulers", "eesy"], "no scheduler named 'eesy'. Did you mean 'easy'? Known: aims, cobalt, "),
        (
            ["twins", "lasttwo"],
            "Did you mean 'last-two'? Known: ",
        ),
        (["run", "bare", "--scheduler", "eesy"], "no scheduler named 'eesy'. Did you mean 'easy'?"),
        (["validate", "bare", "--set", "scheduler=eesy"], "no scheduler named 'eesy'. Did you mean 'easy'?"),
    ],
)
def test_a_misspelt_name_is_guessed(words, right, capsys):
    assert _exit_code(words) == 2
    assert right in capsys.readouterr().err


def test_the_plugins_are_listed_as_the_manifest_has_them(file, monkeypatch):
    assert json.loads(said("plugins", "--json", f"--plugin={file}")) == [
        plugin.as_data() for plugin in load_plugins([file]).found
    ]
    output = said("plugins", f"--plugin={file}", columns=200)
    (row,) = (line for line in output.splitlines() if line.startswith("mine "))
    assert row.split() == ["mine", str(file), "schedulers:", "mine"]


def test_a_broken_plugin_is_listed_with_its_error_and_runs_of_others_go_on(tmp_path, monkeypatch, capsys):
    (tmp_path / "aaa-1.2.dist-info").mkdir()
    (tmp_path / "aaa-1.2.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: aaa\nVersion: 1.2\n")
    (tmp_path / "aaa-1.2.dist-info" / "entry_points.txt").write_text("[hpcsim]\nbroken = plugged_broken\n")
    (tmp_path / "plugged_broken.py").write_text("import hpcsim\nx = = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    broken = json.loads(said("plugins", "--json"))[-1]
    error = "SyntaxError: invalid syntax (plugged_broken.py:2)"
    assert broken == {
        "name": "broken", "version": "1.2", "distribution": "aaa", "value": "plugged_broken", "offers": {},
        "error": error,
    }  # fmt: skip
    row = " ".join(said("plugins", columns=200).splitlines()[-1].split())
    assert row == f"broken 1.2 aaa (plugged_broken) not loaded: {error}"
    words = [
        "--set=profile=cooley",
        "--set=jobs=20",
        "--set=machine.nodes=126",
        f"--out={tmp_path / 'run'}",
        "--no-plots",
    ]
    assert _exit_code(["run", "bare", *words]) == 0
    assert capsys.readouterr().err == f"hpcsim: plug-in aaa 1.2 (plugged_broken) is not loaded: {error}\n"
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["plugins"][-1] == broken
    monkeypatch.setenv("HPCSIM_STRICT_PLUGINS", "1")
    assert _exit_code(["schedulers"]) == 2
    assert capsys.readouterr().err == f"hpcsim: plug-in aaa 1.2 (plugged_broken): {error}\n"


def test_who_looks_for_what_a_broken_plugin_should_offer_is_told_of_it(tmp_path, monkeypatch):
    (tmp_path / "bbb-1.0.dist-info").mkdir()
    (tmp_path / "bbb-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: bbb\nVersion: 1.0\n")
    (tmp_path / "bbb-1.0.dist-info" / "entry_points.txt").write_text("[hpcsim]\nmine = plugged_bbb\n")
    (tmp_path / "plugged_bbb.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"no scheduler named 'mine'\..*\nplug-in bbb 1.0 \(plugged_bbb\) is n"):
        hpcsim.simulate("bare", {"scheduler": "mine"})


def test_bounds_of_lists_are_told_and_an_exact_length_once():
    assert type_in_words({"type": "array", "minItems": 3, "maxItems": 3}, {}) == "list 3 of them"
    assert (
        type_in_words({"type": "array", "minItems": 1, "maxItems": 3}, {})
        == "list at least 1 of them, at most 3 of them"
    )
