"""``hpcsim twins``: the digital twins there are, and to train and judge those that learn."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpcsim.cli.offered import twins as tell
from hpcsim.cli.plugins import plugin_option

if TYPE_CHECKING:
    from rich.console import Console

    from hpcsim.twins.evaluation import Evaluation
    from hpcsim.twins.records import Records

LEARN = ("performance",)  # the questions whose twin can be trained
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

_twin = click.option("--twin", type=click.Choice(LEARN), default=LEARN[0], show_default=True, help="Which question.")
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
@_settings
@_trace
@plugin_option
def train(
    scenarios: tuple[str, ...], twin: str, out: Path, name: str | None, seed: int, epochs: int, resume: bool,
    settings: tuple[str, ...], trace: str | None, plugins: tuple[Path, ...],
) -> None:  # fmt: skip
    """Train a twin on the jobs of SCENARIO, or of several: each is run, and the twin learns from how its jobs ended.

    The first 60 % of the jobs are learned from, and the next 20 % tell when to stop. The weights are DIR/NAME.TWIN.json
    and .safetensors; a scenario uses them by twins.performance: {name: runtime-ensemble, weights: DIR/NAME.TWIN.json}.
    """
    from hpcsim.errors import InputError

    out = out.expanduser()
    if name is None and len(scenarios) > 1:
        raise InputError("--name: weights of several scenarios need a name")
    learned = [_records(scenario, settings, trace, plugins) for scenario in scenarios]
    name = name or learned[0][0]
    if "/" in name or name in ("", ".", ".."):
        raise InputError(f"--name: should be the name of a file without a directory, found {name!r}")
    _need("torch", "safetensors")
    from hpcsim.twins import learn
    from hpcsim.twins.records import split
    from hpcsim.twins.training import Plan, train

    target = out / f"{name}.{twin}.json"
    if target.exists():
        raise InputError(f"{target}: exists; remove it, or give another -o or --name")
    checkpoint = out / f"{name}.{twin}.checkpoint"
    taught = learn.lesson([(rows, split(rows)) for _, rows in learned])
    plan = Plan(seed, epochs)
    with _epoch_bar(name, plan.epochs) as told:
        trained = train(taught.fit, taught.check, plan, checkpoint=checkpoint, resume=resume, told=told)
    keys = [*(f"--set {each}" for each in settings), *([f"--trace {Path(trace).name}"] if trace else [])]
    asked = " ".join(["hpcsim twins train", *scenarios, f"--twin {twin} --name {name} --seed {seed}", *keys])
    path = learn.keep(trained, taught, plan, out, name, {"command": asked})
    checkpoint.unlink(missing_ok=True)
    best = trained.losses[trained.best_epoch]
    click.echo(
        f"{len(taught.fit.runtime_s):,} jobs to fit, {len(taught.check.runtime_s):,} to check; the best of "
        f"{len(trained.losses)} epochs is {trained.best_epoch + 1}: loss {best[0]:.3f}, "
        f"of the jobs to check {best[1]:.3f}"
    )
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
    name, rows = _records(scenario, settings, trace, plugins)
    _need("torch", "safetensors", "sklearn")
    from hpcsim.twins.evaluation import evaluate
    from hpcsim.twins.records import split

    with _status() as told:
        judged = evaluate(rows, split(rows), list(range(1, seeds + 1)), told, epochs)
    from rich.console import Console

    print_table(Console(highlight=False), name, judged)
    for path in write_plots(out.expanduser(), name, twin, judged):
        click.echo(path)


def print_table(console: Console, name: str, judged: Evaluation) -> None:
    """Metrics by predictor, with the 95 % interval of what the ensemble has more."""
    from rich.table import Table
    from rich.text import Text

    from hpcsim.twins.evaluation import ENSEMBLE, METRICS

    title = f"{name}: {judged.tested:,} later jobs of {judged.days} days, mean of seeds {_listed(judged.seeds)}"
    console.print(Text(title, "bold"))
    headings = ("accuracy", "ln MAE", "MAE, min", "90 % holds", "width, ln", "CRPS, ln")
    table = Table("predictor", box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right")
    for predictor, each in judged.compared.items():
        cells = []
        for place, metric in enumerate(METRICS):
            least, most = each.difference_low[place], each.difference_high[place]
            text = Text(_number(metric, each.mean[place]))
            if predictor != ENSEMBLE:
                text.append(f"\n{_signed(metric, least)} {_signed(metric, most)}", "dim")
            cells.append(text)
        table.add_row(Text(predictor), *cells)
    console.print(table)
    console.print(
        Text("Below a number: the 95 % interval of what the ensemble has more (paired, days resampled).", "dim")
    )


def _number(metric: str, value: float) -> str:
    if metric == "coverage":
        return f"{100 * value:.1f} %"
    return f"{value:.1f}" if metric == "mae_min" else f"{value:.3f}"


def _signed(metric: str, value: float) -> str:
    if metric == "coverage":
        return f"{100 * value:+.1f}"
    return f"{value:+.1f}" if metric == "mae_min" else f"{value:+.3f}"


def _listed(seeds: list[int]) -> str:
    return f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])


def write_plots(directory: Path, name: str, twin: str, judged: Evaluation) -> list[Path]:
    """The reliability diagram, and coverage against width, as PNG."""
    from hpcsim.results.plots import as_bytes, inked
    from hpcsim.results.plots.reliability import coverage, reliability
    from hpcsim.twins.evaluation import MASSES, METRICS

    place = METRICS.index("coverage")
    shown = [predictor for predictor in judged.covered if predictor != "oracle"]
    compared = {p: judged.compared[p] for p in shown}
    held = {p: (float(c.mean[place]), float(c.low[place]), float(c.high[place])) for p, c in compared.items()}
    width = {p: float(judged.compared[p].mean[METRICS.index("width")]) for p in shown}
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    with inked():
        for kind, figure in (
            ("reliability", reliability(f"{name}: do intervals hold what they promise?", MASSES,
                                        {p: judged.covered[p] for p in shown})),
            ("coverage", coverage(f"{name}: how sharp are calibrated intervals?", held, width)),
        ):  # fmt: skip
            paths.append(directory / f"{name}.{twin}.{kind}.png")
            paths[-1].write_bytes(as_bytes(figure, "png"))
    return paths


def _records(
    scenario: str, settings: tuple[str, ...], trace: str | None, plugins: tuple[Path, ...]
) -> tuple[str, Records]:
    """The name of a scenario, and what its jobs did in a run of it."""
    from hpcsim.cli.plugins import load_and_complain
    from hpcsim.cli.run import _Bar
    from hpcsim.replay import replay
    from hpcsim.scenario.load import load_scenario
    from hpcsim.twins.records import of_run

    found = load_and_complain(plugins)
    given: list[Any] = [*settings, *([("trace", trace)] if trace is not None else [])]
    loaded = load_scenario(scenario, given, schedulers=found.schedulers, twins=found.twins, parts=found.offers)
    with _Bar(loaded.scenario.name) as progress:
        run = replay(loaded, found, progress=progress)
    return loaded.scenario.name, of_run(run.tables["jobs"], run.manifest["t0_utc"], run.manifest["machine"]["nodes"])


def _need(*modules: str) -> None:
    """InputError where what learning needs is not installed."""
    from importlib.util import find_spec

    from hpcsim.errors import InputError

    for module in modules:
        if find_spec(module) is None:
            raise InputError(f"this needs {module}: pip install 'hpcsim[twins]'")


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
