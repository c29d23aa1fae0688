"""``hpcsim twins``: the digital twins there are, and to train and judge those that learn."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpcsim.cli.needed import need
from hpcsim.cli.offered import twins as tell
from hpcsim.cli.plugins import plugin_option
from hpcsim.cli.target import free_target, writable
from hpcsim.twins.learners import NAMES, ON_GPU

if TYPE_CHECKING:
    from rich.console import Console

    from hpcsim.twins.judging import Evaluation
    from hpcsim.twins.learners import Learner, Recorded

_MOST_SEEDS = 20


class _ListOrLearn(click.Group):
    """A group that takes the name of a twin where a command could stand."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["tell", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ListOrLearn, short_help="List the digital twins, say all about one, train or evaluate one.")
def twins() -> None:
    """List the digital twins; with NAME, what that one answers, needs and can be told, and how a scenario names it.

    \b
    hpcsim twins [NAME]
    hpcsim twins train SCENARIO...
    hpcsim twins evaluate SCENARIO
    """


tell.hidden = True
twins.add_command(tell, "tell")

_twin = click.option("--twin", type=click.Choice(NAMES), default=NAMES[0], show_default=True, help="Which one.")
_settings = click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True, help="Change any key of the scenario, e.g. days=90."
)
_trace = click.option("--trace", metavar="FILE", help="Jobs from this file instead of the scenario's.")
_epochs = click.option("--epochs", type=click.IntRange(1), default=60, show_default=True, help="At most so many.")


@twins.command(short_help="Train a twin on the jobs of scenarios.")
@click.argument("scenarios", metavar="SCENARIO...", nargs=-1, required=True)
@_twin
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=Path("weights"), show_default=True, metavar="DIR",
    help="Where the weights go.",
)  # fmt: skip
@click.option("--name", help="What the weights are called; the scenario's name unless given.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the training.")
@_epochs
@click.option("--resume", is_flag=True, help="Go on with a training that was stopped.")
@click.option(
    "--from", "start", type=click.Path(path_type=Path), metavar="FILE",
    help="Weights (.json) to begin with: go on learning from newer jobs.",
)  # fmt: skip
@click.option(
    "--device", type=click.Choice(("auto", "cpu", "cuda")), default="auto", show_default=True,
    help=f"Where it is trained; auto: on a GPU, if torch finds one. Only {', '.join(ON_GPU)} can use one.",
)  # fmt: skip
@_settings
@_trace
@plugin_option
def train(
    scenarios: tuple[str, ...], twin: str, out: Path, name: str | None, seed: int, epochs: int, resume: bool,
    start: Path | None, device: str, settings: tuple[str, ...], trace: str | None, plugins: tuple[Path, ...],
) -> None:  # fmt: skip
    """Train a twin on the jobs of SCENARIO, or of several: each is run, and the twin learns from what happened.

    The first 60 % of the time are learned from, and the next 20 % tell when to stop. The weights are DIR/NAME.TWIN.json
    and .safetensors; a scenario uses them by the option weights of the twin, such as
    twins.performance: {name: runtime-ensemble, weights: DIR/NAME.performance.json}.
    """
    from hpcsim.errors import InputError

    if name is None and len(scenarios) > 1:
        raise InputError("--name: weights of several scenarios need a name")
    out = writable(out)
    need("torch")
    from hpcsim.twins import weights
    from hpcsim.twins.learners import learner
    from hpcsim.twins.loop import Course, Plan, device_of

    if twin not in ON_GPU and device == "cuda":
        raise InputError(f"--device cuda: {twin} is trained on the CPU only; a GPU can train {', '.join(ON_GPU)}")
    device = device_of(device) if twin in ON_GPU else "cpu"
    taught = learner(twin)
    learned = [
        (title, taught.records(run)) for title, run in (_run(s, taught, settings, trace, plugins) for s in scenarios)
    ]
    name = name or learned[0][0]
    free_target(out, name, f".{twin}")
    checkpoint = out / f"{name}.{twin}.checkpoint"
    plan = Plan(seed, epochs)
    with _epoch_bar(name, plan.epochs) as told:
        made = taught.train([records for _, records in learned], plan, Course(checkpoint, resume, told, start, device))
    keys = [f"--from {start.name}"] if start else []
    keys += [*(f"--set {each}" for each in settings), *([f"--trace {Path(trace).name}"] if trace else [])]
    asked = " ".join(["hpcsim twins train", *scenarios, f"--twin {twin} --name {name} --seed {seed}", *keys])
    path = weights.save(out, f"{name}.{twin}", made.tensors, {"command": asked, **made.about})
    checkpoint.unlink(missing_ok=True)
    click.echo(made.said)
    click.echo(path)


@twins.command(short_help="Train a twin and compare it with others on later jobs.")
@click.argument("scenario")
@_twin
@click.option("--seeds", type=click.IntRange(1, _MOST_SEEDS), default=3, show_default=True, help="How many trainings.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=Path("weights"), show_default=True, metavar="DIR",
    help="Where the plots go.",
)  # fmt: skip
@_epochs
@_settings
@_trace
@plugin_option
def evaluate(
    scenario: str, twin: str, seeds: int, out: Path, epochs: int,
    settings: tuple[str, ...], trace: str | None, plugins: tuple[Path, ...],
) -> None:  # fmt: skip
    """Train a twin on the first part of the jobs of SCENARIO, and judge it beside baselines on the last 20 %.

    Every training is done anew, with the seeds 1, 2, ... Nothing is kept but two plots in DIR.
    """
    need("torch", "sklearn")
    from hpcsim.twins.learners import learner

    taught = learner(twin)
    name, run = _run(scenario, taught, settings, trace, plugins)
    with _status() as told:
        judged = taught.evaluate(taught.records(run), list(range(1, seeds + 1)), epochs, told)
    from rich.console import Console

    for each in (judged, *judged.besides):
        print_table(Console(highlight=False), name, each)
    for path in write_plots(out.expanduser(), name, twin, judged):
        click.echo(path)


def print_table(console: Console, name: str, judged: Evaluation) -> None:
    """Figures by predictor, with the 95 % interval of what the learned twin has more."""
    from rich.table import Table
    from rich.text import Text

    console.print(Text(f"{name}: {judged.of}, mean of seeds {_listed(judged.seeds)}", "bold"))
    table = Table("predictor", box=None, pad_edge=False)
    for column in judged.columns:
        table.add_column(column.heading, justify="right")
    for predictor, each in judged.compared.items():
        cells = []
        for place, column in enumerate(judged.columns):
            least, most = each.difference_low[place], each.difference_high[place]
            text = Text(column.shown(each.mean[place]))
            if predictor != judged.learned:
                text.append(f"\n{column.difference(least)} {column.difference(most)}", "dim")
            cells.append(text)
        table.add_row(Text(predictor), *cells)
    console.print(table)
    console.print(
        Text(f"Below a number: the 95 % interval of what {judged.learned} has more (paired, days resampled).", "dim")
    )


def _listed(seeds: list[int]) -> str:
    return f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])


def write_plots(directory: Path, name: str, twin: str, judged: Evaluation) -> list[Path]:
    """The diagrams of an evaluation, as PNG."""
    from hpcsim.results.plots import as_bytes, inked
    from hpcsim.results.plots.reliability import curves, points

    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    with inked():
        for each in judged.diagrams:
            title = f"{name}: {each.title}"
            if each.points:
                figure = points(title, each.x, each.y, each.points, each.band)
            else:
                figure = curves(title, each.x, each.y, each.curves, diagonal=each.diagonal)
            paths.append(directory / f"{name}.{twin}.{each.name}.png")
            paths[-1].write_bytes(as_bytes(figure, "png"))
    return paths


def _run(
    scenario: str, taught: Learner, settings: tuple[str, ...], trace: str | None, plugins: tuple[Path, ...]
) -> tuple[str, Recorded]:
    """The name of a scenario, and what a run of it left."""
    from hpcsim.cli.plugins import load_and_complain
    from hpcsim.cli.run import _Bar
    from hpcsim.replay import replay, source_of
    from hpcsim.scenario.layers import Given
    from hpcsim.scenario.load import load_scenario
    from hpcsim.twins.learners import Recorded

    found = load_and_complain(plugins)
    given: list[Any] = [
        *taught.settings.items(),
        *settings,
        *([Given("trace", trace, f"--trace {trace}")] if trace is not None else []),
    ]
    loaded = load_scenario(scenario, given, schedulers=found.schedulers, twins=found.twins, parts=found.offers)
    source = source_of(loaded, found)
    with _Bar(loaded.scenario.name) as progress:
        run = replay(loaded, found, progress=progress, source=source)
    telemetry = None if run.telemetry_file is None else run.telemetry_file.table

    def again(keys: Mapping[str, Any]) -> Recorded:
        more = (*settings, *(f"{key}={value}" for key, value in keys.items()))
        return _run(scenario, taught, more, trace, plugins)[1]

    def hazard(seconds: Any, horizon_s: int) -> Any:
        from hpcsim.results.hazard import true_hazard

        return true_hazard(loaded, found.machines, run, seconds, horizon_s)

    return loaded.scenario.name, Recorded(run.tables, run.manifest, telemetry, source[1], again, hazard)


@contextmanager
def _epoch_bar(name: str, epochs: int) -> Iterator[Callable[[int, float, float], None]]:
    """A progress bar of epochs on the terminal; nothing where there is none."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("epochs, loss {task.fields[loss]}"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(name, total=epochs, loss="")
        yield lambda epoch, fitted, checked: bar.update(task, completed=epoch + 1, loss=f"{fitted:.3f} {checked:.3f}")


@contextmanager
def _status() -> Iterator[Callable[[str], None]]:
    """A line on the terminal that says what is done; nothing where there is none."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda what: None
        return
    with console.status("") as status:
        yield status.update
