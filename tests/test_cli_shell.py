"""The command line answers at once, and an error is a line and an exit code, never a traceback."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest

from hpcsim import __version__, cli
from hpcsim.errors import InputError, RunError, SchedulerError
from hpcsim.scenario.load import scenario_schema

HEAVY = [
    "torch",
    "sklearn",
    "scipy",
    "pandas",
    "pyarrow",
    "matplotlib",
    "numpy",
    "pydantic",
    "rich",
    "yaml",
    "simpy",
]

PLUGIN = """
from hpcsim.plugin.hooks import hookimpl

class Mine:
    name, api = "mine", 1
    def schedule(self, view):
        return []

@hookimpl
def hpcsim_schedulers(register):
    register(Mine)
"""


def exit_code(*args: str) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main(list(args))
    assert isinstance(caught.value.code, int)
    return caught.value.code


def a_command(monkeypatch: pytest.MonkeyPatch, raised: BaseException) -> None:
    """Makes ``hpcsim run`` raise."""

    @click.command()
    def run() -> None:
        raise raised

    monkeypatch.setattr(cli, "import_module", lambda module: type("module", (), {"run": run}))


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys, time\n"
        "from hpcsim.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print([name for name in sys.modules])\n"
        "print(time.process_time())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    modules, seconds = told[-2], float(told[-1])
    assert [name for name in HEAVY if f"'{name}'" in modules] == []
    assert seconds < 0.3
    assert [name for name in cli.COMMANDS if not any(line.startswith(f"  {name} ") for line in told)] == []


def test_python_m_hpcsim_is_the_command() -> None:
    found = subprocess.run([sys.executable, "-m", "hpcsim", "--version"], capture_output=True, text=True, check=True)
    assert found.stdout == f"hpcsim {__version__}\n"


@pytest.mark.parametrize(("given", "threads"), [({}, 1), ({"OPENBLAS_NUM_THREADS": "2"}, 2)])
def test_small_products_take_one_thread_unless_the_user_says_otherwise(given: dict[str, str], threads: int) -> None:
    code = """
from contextlib import suppress
from threadpoolctl import threadpool_info
from hpcsim.cli import main
with suppress(SystemExit):
    main(["--version"])
import numpy
print([each["num_threads"] for each in threadpool_info() if each["internal_api"] == "openblas"])
"""
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    told = subprocess.run([sys.executable, "-c", code], env=kept | given, capture_output=True, text=True, check=True)
    found = told.stdout.splitlines()[-1]
    if found == "[]":
        pytest.skip("numpy goes by another library than OpenBLAS here")
    if threads > (os.cpu_count() or 1):
        pytest.skip("there are fewer cores")
    assert found == f"[{threads}]"


def test_every_command_is_there_and_says_what_help_says() -> None:
    context = click.Context(cli.cli)
    for name in ("validate", "schema"):
        command = cli.cli.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert command.help


def test_an_unknown_command_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("validat") == 2
    assert "no such command: 'validat'. Did you mean 'validate'?" in capsys.readouterr().err
    assert exit_code("frobnicate") == 2
    assert "Known: run, top, explain, " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            InputError("s.yaml:1:2: seed: wrong\ns.yaml:2:1: more"),
            2,
            "hpcsim: s.yaml:1:2: seed: wrong\nhpcsim: s.yaml:2:1: more\n",
        ),
        (RunError("t=0: void"), 1, "hpcsim: t=0: void\n"),
        (SchedulerError("t=0: stuck"), 1, "hpcsim: t=0: stuck\n"),
        (KeyboardInterrupt(), 130, "hpcsim: interrupted; nothing was written\n"),
    ],
)
def test_an_error_is_a_line_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    said: str,
) -> None:
    a_command(monkeypatch, error)
    assert exit_code("run") == code
    told = capsys.readouterr()
    assert told.err.lstrip("\n") == said
    assert told.out == ""


def test_debugging_shows_the_traceback_and_a_bug_always_does(monkeypatch: pytest.MonkeyPatch) -> None:
    a_command(monkeypatch, InputError("wrong"))
    monkeypatch.setenv("HPCSIM_DEBUG", "1")
    with pytest.raises(InputError, match="wrong"):
        cli.main(["run"])
    monkeypatch.delenv("HPCSIM_DEBUG")
    a_command(monkeypatch, ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        cli.main(["run"])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    "error", [AttributeError("partially initialized module"), InputError("Optuna is not installed"), OSError("lib")]
)
def test_an_interrupt_that_an_import_took_for_an_error_of_its_own_is_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: signal.Signals, code: int,
    error: Exception,
) -> None:  # fmt: skip
    @click.command()
    def run() -> None:
        with suppress(KeyboardInterrupt):  # compiled code may lose it
            os.kill(os.getpid(), number)
        raise error

    monkeypatch.setattr(cli, "import_module", lambda module: type("module", (), {"run": run}))
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert exit_code("run") == code
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert capsys.readouterr().err == "hpcsim: interrupted; nothing was written\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    found = subprocess.run(
        [sys.executable, "-m", "hpcsim", "schema"], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert found.stderr == b""


def test_commands_of_other_distributions_load_only_when_called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "guest_command.py").write_text(
        "import click\n@click.command()\ndef hello():\n    click.echo('hello')\nnothing = 3\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    entries = [
        EntryPoint("hello", "guest_command:hello", cli.GUEST_COMMANDS),
        EntryPoint("broken", "a_module_that_is_not_there", cli.GUEST_COMMANDS),
        EntryPoint("number", "guest_command:nothing", cli.GUEST_COMMANDS),
        EntryPoint("run", "guest_command:hello", cli.GUEST_COMMANDS),
    ]
    monkeypatch.setattr(
        cli,
        "entry_points",
        lambda group, name=None: [entry for entry in entries if name in (None, entry.name)],
    )
    assert exit_code("--help") == 0
    assert "guest_command" not in sys.modules
    listed = capsys.readouterr().out
    assert "hello" in listed
    assert listed.count("  run ") == 1
    assert exit_code("hello") == 0
    assert capsys.readouterr().out == "hello\n"
    assert exit_code("broken") == 2
    assert "the command 'broken' of a_module_that_is_not_there cannot be loaded" in capsys.readouterr().err
    assert exit_code("number") == 2
    assert "is no click command but 3" in capsys.readouterr().err
    del sys.modules["guest_command"]


def test_validate_says_ok_for_each_right_scenario_and_all_that_is_wrong_with_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("name: x\nseeed: 1\ndays: -1\n", encoding="utf-8")
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN, encoding="utf-8")
    options = ["--plugin", str(plugin), "--set", "scheduler=mine"]
    assert exit_code("validate", "bare", str(wrong), *options) == 2
    told = capsys.readouterr()
    assert told.out == "OK bare: mine on as many nodes as the trace says, no jobs yet: a run needs --trace FILE\n"
    assert told.err == (
        f"hpcsim: {wrong}:2:1: seeed: no such key. Did you mean 'seed'? (got 1)\n"
        f"hpcsim: {wrong}:3:7: days: Input should be greater than 0 (got -1)\n"
    )
    trace = tmp_path / "t.swf"
    assert exit_code("validate", "bare", "--trace", str(trace), *options) == 2
    assert capsys.readouterr().err == f"hpcsim: --trace {trace}: trace: there is no such file (got '{trace}')\n"
    trace.touch()
    assert exit_code("validate", "bare", "--trace", str(trace), *options) == 0
    assert exit_code("validate", "bare", "--set", "profile=mirra", *options) == 2
    assert "no profile named 'mirra'. Did you mean 'mira'?" in capsys.readouterr().err


def test_the_packaged_scenarios_are_valid(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["aurora", "bare", "cooley", "mira", "polaris", "theta"]
    assert exit_code("validate", *names) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [f"OK {name}" for name in names]


def test_schema_is_printed_or_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("schema") == 0
    printed = capsys.readouterr().out
    assert json.loads(printed) == scenario_schema()
    file = tmp_path / "s.json"
    assert exit_code("schema", "-o", str(file)) == 0
    assert file.read_text(encoding="utf-8") == printed
    assert exit_code("schema", "-o", str(tmp_path / "none" / "s.json")) == 2
    assert "cannot be written" in capsys.readouterr().err
