"""``hpcsim top``: a scenario while it runs, or a finished run once more, as a picture on the terminal."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hpcsim.cli.run import run_options, run_scenario

if TYPE_CHECKING:
    from rich.console import Console

    from hpcsim.cli.screen import Pace
    from hpcsim.engine.simulation import Simulation
    from hpcsim.results.frames import Frame, Recording
    from hpcsim.results.run import Run

_LIVE_S: Final = 0.25  # between two pictures of a run that goes on, at least
_SHARE: Final = 0.03  # of a run's time that its pictures may take
_REPLAY_S: Final = 0.1  # between two pictures of a replay
_PLAIN_S: Final = 10.0  # between two lines of a run that goes on, where there is no terminal
_PLAIN_LINES: Final = 24  # of a replay, where there is no terminal
_SECONDS: Final = 20.0  # of a replay


@click.command(short_help="Watch a scenario run, or a finished run again.")
@click.argument("target", metavar="SCENARIO|RUN")
@run_options
@click.option("--speed", metavar="3600x", help="Of a replay: simulated seconds in a second.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="Of a replay: how long it takes.  [default: 20]",
)
def top(target: str, speed: str | None, seconds: float | None, **asked: Any) -> None:
    """Run SCENARIO as hpcsim run does and watch it; or watch RUN, a run directory, once more.

    The options of hpcsim run are for a scenario, --speed and --seconds for a run directory.
    """
    from hpcsim.errors import InputError
    from hpcsim.scenario.layers import packaged_scenarios

    folder = Path(target).expanduser()
    is_run = (folder / "manifest.json").exists() or (folder.is_dir() and target not in packaged_scenarios())
    replays = [f"--{name}" for name, value in (("speed", speed), ("seconds", seconds)) if value is not None]
    if is_run:
        if given := [name for name, value in asked.items() if value is not None and value not in ((), False)]:
            name = _OPTION.get(given[0], f"--{given[0].replace('_', '-')}")
            raise InputError(f"{target}: a run directory is shown as it is; {name} is for running a scenario")
        if len(replays) > 1:
            raise InputError("top: --speed and --seconds say the same thing; give one of them")
        _replay(folder, speed, seconds)
    elif replays:
        raise InputError(f"{target}: no run directory, and {replays[0]} is for the replay of one")
    else:
        run_scenario(target, _Live, **asked)


_OPTION: Final = {"settings": "--set", "plugins": "--plugin", "observers": "--observer"}


class _Live:
    """The progress of a run as pictures on a terminal; elsewhere as a line now and then, on stderr."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._began = time.monotonic()
        self._next = self._began
        self._screen: _Screen | None = None

    def __enter__(self) -> _Live:
        from rich.console import Console

        console = Console(highlight=False)
        if _draws(console):
            self._screen = _Screen(console)
        else:
            self._next += _PLAIN_S
        return self

    def __exit__(self, *_: object) -> None:
        if self._screen is not None:
            self._screen.stop()

    def __call__(self, simulation: Simulation) -> None:
        from hpcsim.cli.screen import Pace, plain
        from hpcsim.results.frames import frame_of
        from hpcsim.results.run import with_levers

        now = time.monotonic()
        if now < self._next:
            return
        levers = [lever.name for lever in getattr(simulation.scheduler, "levers", ())]
        frame = frame_of(simulation, f"{self._name} under {with_levers(simulation.scheduler.name, levers)}")
        elapsed = max(now - self._began, 1e-3)
        left_s = elapsed * (frame.jobs - frame.ended) / frame.ended if frame.ended else None
        pace = Pace(f"{frame.ended / elapsed:,.0f} jobs/s", left_s)
        if self._screen is None:
            click.echo(f"hpcsim: {plain(frame, pace)}", err=True)
            self._next = now + _PLAIN_S
        else:
            self._screen.show(frame, pace)
            took = time.monotonic() - now
            self._next = now + max(_LIVE_S, took / _SHARE)


class _Screen:
    """The other screen of a terminal, with one picture after the other."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        from hpcsim.cli.screen import Past

        self._console = console
        self._past = Past()
        self._live = Live(console=console, screen=True, auto_refresh=False)
        self._live.start()

    def show(self, frame: Frame, pace: Pace) -> None:
        """Draw a frame to the size that the terminal has now."""
        from hpcsim.cli.screen import picture

        self._past.add(frame)
        width, height = self._console.size
        self._live.update(picture(frame, pace, self._past, width, height), refresh=True)

    def stop(self) -> None:
        """Go back to what was on the terminal before."""
        self._live.stop()

    def leave(self, frame: Frame, pace: Pace) -> None:
        """Go back, and leave a picture there."""
        from hpcsim.cli.screen import picture

        self.stop()
        width, height = self._console.size
        self._console.print(picture(frame, pace, self._past, width, height - 1))


def _draws(console: Console) -> bool:
    """Whether there is a terminal on which pictures can be drawn."""
    return console.is_terminal and not console.is_dumb_terminal


# -- replay -------------------------------------------------------------------------------------


def _replay(directory: Path, speed: str | None, seconds: float | None) -> None:
    from hpcsim.results.run import reading

    with reading([directory]) as [run]:
        _show(run, speed, seconds)


def _show(run: Run, speed: str | None, seconds: float | None) -> None:
    from rich.console import Console

    from hpcsim.cli.screen import Pace, plain
    from hpcsim.results.frames import Recording

    recording = Recording(run)
    length_s = max(1, recording.end_s - recording.start_s)
    rate = _rate(speed) if speed is not None else length_s / (seconds or _SECONDS)
    console = Console(highlight=False)
    said = f"{rate:,.0f}x" if rate >= 10 else f"{rate:.3g}x"
    if not _draws(console):
        for number in range(1, _PLAIN_LINES + 1):
            frame = recording.frame(recording.start_s + length_s * number // _PLAIN_LINES)
            click.echo(plain(frame, Pace("", None)))
        return
    screen = _Screen(console)
    try:
        for second in _seconds(recording, rate):
            screen.show(recording.frame(second), Pace(said, (recording.end_s - second) / rate))
    except BaseException:
        screen.stop()
        raise
    screen.leave(recording.frame(recording.end_s), Pace(said, None))


def _seconds(recording: Recording, rate: float) -> Iterator[int]:
    """The seconds of a replay when it is their turn on the wall; the last one is that of the run."""
    began = time.monotonic()
    second = recording.start_s
    while second < recording.end_s:
        yield second
        elapsed = time.monotonic() - began
        time.sleep(_REPLAY_S - elapsed % _REPLAY_S)
        second = recording.start_s + int((time.monotonic() - began) * rate)
    yield recording.end_s


def _rate(speed: str) -> float:
    from hpcsim.errors import InputError

    found = re.fullmatch(r"(\d+(?:\.\d+)?)x?", speed)
    if found is None or not (rate := float(found[1])):
        raise InputError(f"--speed: found {speed!r}; it is how many simulated seconds a second shows, such as 3600x")
    return rate
