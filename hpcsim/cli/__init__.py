"""The command line: finds the sub-command, runs it, and turns errors into one line and an exit code.

0 done; 1 a run that had begun is void; 2 the input is wrong; 130 interrupted. Only bugs show a traceback
(``HPCSIM_DEBUG=1`` shows it for every error). Sub-commands are imported when they are called, so that
``hpcsim --help`` answers at once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from typing import NoReturn

import click

from hpcsim import __version__
from hpcsim.errors import HpcsimError, InputError

_INTERRUPTED = "interrupted; nothing was written"

# name: (where the command is, what --help says of it)
COMMANDS = {
    "run": ("hpcsim.cli.run:run", "Simulate a scenario and write a run directory."),
    "top": ("hpcsim.cli.top:top", "Watch a scenario run, or a finished run again, in the terminal."),
    "explain": ("hpcsim.cli.explain:explain", "Say why a job of a run waited and started when it did."),
    "plot": ("hpcsim.cli.plot:plot", "Draw figures of a run, or of several beside one another."),
    "report": ("hpcsim.cli.report:report", "Write the page of a run, or of several side by side."),
    "perfetto": ("hpcsim.cli.perfetto:perfetto", "Write the trace of a run that Perfetto opens."),
    "tournament": ("hpcsim.cli.tournament:tournament", "Run many schedulers on the same windows, and compare them."),
    "validate": ("hpcsim.cli.scenario:validate", "Check scenarios and say what is wrong with them."),
    "schema": ("hpcsim.cli.scenario:schema", "Print the JSON schema of scenario files."),
    "schedulers": ("hpcsim.cli.offered:schedulers", "List the schedulers, or say all about one."),
    "twins": ("hpcsim.cli.twins:twins", "List the digital twins, say all about one, train or evaluate one."),
    "train": ("hpcsim.cli.train:train", "Train a scheduler that learns."),
    "plugins": ("hpcsim.cli.plugins:plugins", "List the plug-ins that were found, what they offer and their errors."),
    "new": ("hpcsim.cli.new:new", "Begin a plug-in of your own: a package with an example and its tests."),
    "machines": ("hpcsim.cli.machines:machines", "List the machines of the catalogue, or the facts of one."),
    "metrics": ("hpcsim.cli.metrics:metrics", "List the figures of a run and the metrics of plug-ins."),
    "check": ("hpcsim.cli.check:check", "Check that a plug-in keeps the contract."),
    "tune": ("hpcsim.cli.tune:tune", "Search options of a tournament's schedulers, with as many trials for each."),
    "leaderboard": ("hpcsim.cli.leaderboard:leaderboard", "Say who stands where in a tournament, with intervals."),
    "cite": ("hpcsim.cli.cite:cite", "Print the BibTeX of what runs used."),
    "trace": ("hpcsim.cli.trace:trace", "Look at, check and convert traces of jobs."),
}
GUEST_COMMANDS = "hpcsim.commands"  # the entry-point group of commands of other distributions
# Products in a simulation are small: threads for them cost more than they bring, most of all on busy cores, and how
# many there are changes the last bits of sums. numpy goes by these; torch, when it trains, has all cores.
_PRODUCT_THREADS = ("OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, not when they are listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *_guests()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            module, _, attribute = COMMANDS[cmd_name][0].partition(":")
            command: click.Command = getattr(import_module(module), attribute)
            return command
        return _guest(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and name not in _guests() and not name.startswith("-"):
            known = self.list_commands(ctx)
            close = get_close_matches(name, known, n=1)
            guess = f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(known)}."
            ctx.fail(f"no such command: {name!r}.{guess}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, help_text) for name, (_, help_text) in COMMANDS.items()]
        rows += [(name, f"(from {distribution})") for name, distribution in _guests().items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="hpcsim", message="%(prog)s %(version)s")
def cli() -> None:
    """Replay the jobs of real supercomputers under pluggable schedulers."""


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit; ``args`` are those of the process when not given."""
    for variable in _PRODUCT_THREADS:
        os.environ.setdefault(variable, "1")
    interrupts: list[KeyboardInterrupt] = []

    def interrupt(number: int, _frame: object) -> NoReturn:
        interrupts.append(KeyboardInterrupt(number))
        raise interrupts[-1]

    signal.signal(signal.SIGTERM, interrupt)  # so that a terminated run takes its draft away, as after Ctrl-C
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as it is of what a shell runs in the background
        signal.signal(signal.SIGINT, interrupt)
    try:
        code = _exit_code(args, interrupts)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at exit
        code = 1
    except OSError as error:  # the output is on a full disk, say
        _say(_said(error))
        code = 2
    sys.exit(code)


def code_of(stop: BaseException | None) -> int:
    """The exit code of an interrupt, as shells have it: of the signal that it says, else of Ctrl-C."""
    return 128 + (int(stop.args[0]) if stop is not None and stop.args else signal.SIGINT)


def _exit_code(args: list[str] | None, interrupts: Sequence[KeyboardInterrupt] = ()) -> int:
    """``interrupts`` are those so far: code that one stops while it imports makes an error of its own of it."""
    try:
        returned = cli.main(args, prog_name="hpcsim", standalone_mode=False)
    except click.exceptions.Abort as abort:  # click makes it of KeyboardInterrupt
        return _interrupted(abort.__cause__ or abort.__context__)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except Exception as error:
        if isinstance(error, BrokenPipeError) or _debugging():
            raise
        return _interrupted(interrupts[0]) if interrupts else _told(error)
    return returned if isinstance(returned, int) else 0  # --help and --version return their exit code


def _told(error: Exception) -> int:
    """Say what went wrong, as far as it is no bug, and give the exit code."""
    if isinstance(error, OSError):
        _say(_said(error))
        return 2
    if isinstance(error, MemoryError):
        what = str(error) or "none is left"
        _say(f"there is not enough memory: {what}; take fewer jobs, a shorter window or fewer nodes")
        return 1
    if isinstance(error, HpcsimError):
        _say(str(error))
        return 2 if isinstance(error, InputError) else 1
    raise error


def _debugging() -> bool:
    return os.environ.get("HPCSIM_DEBUG", "") not in ("", "0")


def _interrupted(stop: BaseException | None) -> int:
    for note in getattr(stop, "__notes__", ()):
        _say(note)
    _say(_INTERRUPTED)
    return code_of(stop)


def _said(error: OSError) -> str:
    """What the system refused: the file, or standard output, which has no name."""
    return str(error) if error.filename else f"standard output cannot be written: {error.strerror or error}"


def _say(message: str) -> None:
    """Show a message; what it quotes of a file cannot steer the terminal."""
    for line in message.splitlines():
        shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)
        click.echo(f"hpcsim: {shown}", err=True)


def _guests() -> dict[str, str]:
    """The commands of other distributions, sorted: distribution by command."""
    found = sorted(entry_points(group=GUEST_COMMANDS), key=lambda entry: entry.name)
    return {entry.name: entry.dist.name if entry.dist else entry.value for entry in found if entry.name not in COMMANDS}


def _guest(name: str) -> click.Command | None:
    """The command of another distribution; ``InputError`` when it cannot be loaded."""
    for entry in entry_points(group=GUEST_COMMANDS, name=name):
        origin = entry.dist.name if entry.dist else entry.value
        try:
            command = entry.load()
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise InputError(f"the command {name!r} of {origin} cannot be loaded: {what}") from error
        if not isinstance(command, click.Command):
            raise InputError(f"the command {name!r} of {origin} is no click command but {command!r}")
        return command
    return None
