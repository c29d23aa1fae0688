"""``hpcsim run``: one scenario, from its jobs to a run directory and a summary."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import click

from hpcsim.cli.plugins import load_and_complain, plugin_option

if TYPE_CHECKING:
    from rich.console import Console

    from hpcsim.engine.simulation import Simulation
    from hpcsim.plugin.loader import Plugins
    from hpcsim.replay import Progress
    from hpcsim.results.run import Run

_SHOW_BAR_AFTER_S = 1.0


def run_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of ``hpcsim run``, by the names of ``run_scenario``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS = (
    click.option(
        "--trace", metavar="FILE", help="Jobs from this file instead of the scenario's: SWF, ALCF CSV or a plug-in's."
    ),
    click.option(
        "--trace-format", metavar="NAME", help="Who reads the trace: alcf, swf, wfcommons or a plug-in's reader."
    ),
    click.option("--scheduler", metavar="NAME", help="Another scheduler, with its default options."),
    click.option(
        "--set", "settings", metavar="KEY=VALUE", multiple=True, help="Change any key, e.g. machine.nodes=24."
    ),
    click.option("--jobs", type=int, metavar="N", help="The first N jobs by submit time; of a profile, exactly N."),
    click.option("--seed", type=int, metavar="N", help="Another seed."),
    click.option(
        "--out", type=click.Path(path_type=Path), metavar="DIR", help="The run directory; by default under runs/."
    ),
    plugin_option,
    click.option("--observer", "observers", metavar="NAME", multiple=True, help="Have an observer of a plug-in watch."),
    click.option("--strict", is_flag=True, help="Refuse a trace with rows that would be dropped or mended."),
    click.option("--no-plots", is_flag=True, help="Make no plots, no report and no trace for Perfetto."),
    click.option("--check", is_flag=True, help="Verify the laws of a run at its end."),
)


@click.command(short_help="Run a scenario and write a run directory.")
@click.argument("scenario")
@run_options
def run(scenario: str, **asked: Any) -> None:
    """Run SCENARIO: a YAML file, or the name of a packaged scenario such as polaris or bare."""
    run_scenario(scenario, _Bar, **asked)


def run_scenario(
    scenario: str,
    view: Callable[[str], AbstractContextManager[Progress | None]],
    *,
    trace: str | None,
    trace_format: str | None,
    scheduler: str | None,
    settings: tuple[str, ...],
    jobs: int | None,
    seed: int | None,
    out: Path | None,
    plugins: tuple[Path, ...],
    observers: tuple[str, ...],
    strict: bool,
    no_plots: bool,
    check: bool,
) -> None:
    """Run a scenario while ``view``, made of its name, shows how it goes; write the run directory and its summary."""
    from hpcsim.replay import replay
    from hpcsim.results.run import refuse_unwritable, refuse_used
    from hpcsim.scenario.layers import Given
    from hpcsim.scenario.load import load_scenario

    options: dict[str, object] = {
        "trace": trace, "trace_format": trace_format, "scheduler": scheduler, "jobs": jobs, "seed": seed,
    }  # fmt: skip
    given = [
        Given(key, value, f"--{key.replace('_', '-')} {value}") for key, value in options.items() if value is not None
    ]
    given += [Given("strict", True, "--strict")] if strict else []
    watching: dict[str, object] = {name: {} for name in observers}
    given += [Given("observers", watching, " ".join(f"--observer {name}" for name in observers))] if observers else []
    found = load_and_complain(plugins)
    loaded = load_scenario(
        scenario, [*settings, *given], schedulers=found.schedulers, twins=found.twins, parts=found.offers
    )
    _note_idle(found, loaded.scenario.scheduler.name)
    if out is not None:
        refuse_used(out.expanduser())
    else:
        refuse_unwritable(Path("runs") / loaded.scenario.name)
    with view(loaded.scenario.name) as progress:
        finished = replay(loaded, found, check=check, progress=progress)
    with _writing():
        if out is not None:
            directory = finished.write(out, plots=not no_plots)
        else:
            directory = _write_under_runs(finished, plots=not no_plots)
    _print(finished, directory)


def _note_idle(found: Plugins, scheduler: str) -> None:
    """Say of each plug-in file that another scheduler than its own schedules: who names a file means to try it."""
    for plugin in found.found:
        offered = plugin.offers.get("schedulers", []) if plugin.file is not None else []
        if offered and scheduler not in offered:
            one = "the scheduler" if len(offered) == 1 else "the schedulers"
            click.echo(
                f"hpcsim: {plugin.file} offers {one} {', '.join(offered)}, but {scheduler} schedules; "
                f"--scheduler {offered[0]} has it schedule",
                err=True,
            )


def _write_under_runs(run: Run, *, plots: bool) -> Path:
    """Write to ``runs/SCENARIO-SCHEDULER-N`` with the smallest N that is free, also beside other runs that do."""
    from hpcsim.results.run import DirectoryTaken

    number = 1
    while True:
        directory = Path("runs") / f"{run.manifest['scenario']}-{run.manifest['scheduler']}-{number}"
        if not directory.exists():
            try:
                return run.write(directory, plots=plots)
            except DirectoryTaken:
                pass  # by a run that ended meanwhile
        number += 1


def _writing() -> AbstractContextManager[object]:
    """Say on a terminal, for as long as it takes, that the run is over and is being written."""
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status("writing tables, report and figures")


class _Bar:
    """A progress bar on the terminal; nothing where there is none, or where the run is over at once."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._began = time.monotonic()
        self._progress: Any = None

    def __enter__(self) -> _Bar | None:
        return self if sys.stderr.isatty() else None

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def __call__(self, simulation: Simulation) -> None:
        elapsed = time.monotonic() - self._began
        if self._progress is None:
            if elapsed < _SHOW_BAR_AFTER_S:
                return
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

            self._progress = Progress(
                TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[date]}"),
                TextColumn("{task.fields[rate]:,.0f} jobs/s"), TimeRemainingColumn(),
                console=Console(stderr=True), transient=True,
            )  # fmt: skip
            self._progress.start()
            self._task = self._progress.add_task(self._name, total=len(simulation.workload), date="", rate=0.0)
        done = len(simulation.attempts) - len(simulation.running)
        date = time.strftime("%Y-%m-%d", time.gmtime(simulation.workload.t0_utc + simulation.now))
        self._progress.update(self._task, completed=done, date=date, rate=done / elapsed)


def _print(run: Run, directory: Path) -> None:
    from rich.console import Console

    from hpcsim.cli.cleaning import print_cleaning

    console = Console(highlight=False)
    print_cleaning(console, run.manifest["workload"]["cleaning"])
    _print_summary(console, run)
    _note_other_machine(run)
    for part in ("metric", "observer"):
        for name, complaint in run.summary.get(f"{part}_errors", {}).items():
            click.echo(f"hpcsim: {part} {name}: {complaint}", err=True)
    console.print(f"{directory}", markup=False, soft_wrap=True)


def _note_other_machine(run: Run) -> None:
    """Say where a trace is of a machine of quite another size than that which it was replayed on."""
    workload, nodes = run.manifest["workload"], run.manifest["machine"]["nodes"]
    of_trace = workload["machine_nodes"]
    shares = "cores" in run.tables["jobs"].column_names  # then the trace counts cores
    if workload["format"] and of_trace and not shares and not 0.5 <= nodes / of_trace <= 2.0:
        what = f"{workload['source']} is of a machine of {of_trace:,} nodes or processors"
        click.echo(f"hpcsim: {what}, this one has {nodes:,} nodes", err=True)


def _print_summary(console: Console, run: Run) -> None:
    from rich.table import Table
    from rich.text import Text

    summary, manifest = run.summary, run.manifest
    nodes = manifest["machine"]["nodes"]
    title = f"{run.title}: {run.jobs_in_words} on {nodes:,} node{'' if nodes == 1 else 's'}, seed\0{manifest['seed']}"
    console.print(fill(title, max(console.width, 1)).replace("\0", " "), style="italic", markup=False)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for label, key, unit in _SHOWN:
        table.add_row(label, *_shown(summary[key], unit))
    for label, key, unit in (*_SHOWN_OF_WORKFLOW, *_SHOWN_OF_MACHINE):
        if summary.get(key) is not None:
            table.add_row(label, *_shown(summary[key], unit))
    for state, count in summary["jobs_by_state"].items():
        table.add_row(f"jobs {state}", f"{count:,}", "")
    for name, value in summary.get("metrics", {}).items():
        table.add_row(Text(name), *map(Text, _shown_metric(value, manifest["metric_units"][name])))
    console.print(table)


_SHOWN = (
    ("mean wait", "mean_wait_s", "s"),
    ("median wait", "median_wait_s", "s"),
    ("90 % of waits below", "p90_wait_s", "s"),
    ("mean bounded slowdown", "mean_bounded_slowdown", ""),
    ("median bounded slowdown", "median_bounded_slowdown", ""),
    ("utilisation", "utilisation", "%"),
    ("throughput", "throughput_jobs_per_h", "completed jobs/h"),
    ("variability", "variability", "sd/mean of bounded slowdown"),
    ("makespan", "makespan_s", "s"),
)
_SHOWN_OF_WORKFLOW = (  # where all jobs are one workflow
    ("critical path", "critical_path_s", "s"),
    ("makespan / critical path", "schedule_length_ratio", "(SLR)"),
    ("speedup", "speedup", "over one node"),
)
_SHOWN_OF_MACHINE = (  # where the scenario has physics
    ("energy of the facility", "energy_facility_kwh", "kWh"),
    ("energy per job", "energy_kwh_per_job", "kWh"),
    ("energy per work node-hour", "energy_kwh_per_work_node_hour", "kWh"),
    ("PUE", "pue", ""),
    ("peak power", "peak_power_kw", "kW"),
    ("hottest node", "hottest_node_c", "°C"),
    ("throttled", "throttled_node_hours", "node-hours"),
    ("interrupts", "interrupts", ""),
    ("work lost", "lost_node_hours", "node-hours"),
    ("carbon", "carbon_kg", "kg"),
    ("cost", "cost_usd", "USD"),
)


def _shown(value: float | None, unit: str) -> tuple[str, str]:
    if value is None:
        return "-", ""
    if unit == "%":
        return f"{100 * value:.2f}", "%"
    if isinstance(value, int) and unit != "s":
        return f"{value:,}", unit
    if unit == "s":
        return f"{value:,.0f}", f"s  ({_span(value)})" if value >= 60 else "s"
    return f"{value:,.3f}", unit


def _shown_metric(value: float | None, unit: str) -> tuple[str, str]:
    """The value of a metric of a plug-in, in the plug-in's own unit."""
    if value is None:
        return "-", ""
    if isinstance(value, int):
        return f"{value:,}", unit
    return (f"{value:,.3f}" if value == 0 or 0.001 <= abs(value) < 1e12 else f"{value:.3g}"), unit


def _span(seconds: float) -> str:
    days, rest = divmod(round(seconds), 86400)
    hours, rest = divmod(rest, 3600)
    return f"{days} d {hours} h" if days else f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min"
