"""``hpcsim tune``: options of schedulers chosen by search, on windows that no test sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hpcsim.cli.plugins import load_and_complain, plugin_option

_PATH = click.Path(path_type=Path)


@click.command(short_help="Search options of a tournament's schedulers, with as many trials for each.")
@click.argument("file")
@click.option("--test", required=True, metavar="FILE", help="The tournament that they are to be judged by.")
@click.option("--metric", required=True, metavar="NAME", help="What is to be better.")
@click.option("--trials", type=click.IntRange(2), default=30, show_default=True, help="Of each scheduler with options.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the search.")
@click.option("--out", type=_PATH, metavar="DIR", help="Where trials and cells go; by default tuning/NAME.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Processes.")
@click.option("--data", type=_PATH, metavar="DIR", help="The folder in which traces are looked for.")
@plugin_option
def tune(
    file: str,
    test: str,
    metric: str,
    trials: int,
    seed: int,
    out: Path | None,
    workers: int,
    data: Path | None,
    plugins: tuple[Path, ...],
) -> None:
    """Search options for the schedulers of the tournament FILE, in its windows, which must be others than the test's.

    Options that FILE gives stay as they are. The first trial of each scheduler is as FILE has it. What is found goes to
    DIR/schedulers.yaml, to be put into the test's file; every trial to DIR/trials.csv. Cells that are there already
    are not run again.
    """
    from hpcsim.strict_yaml import dump_yaml
    from hpcsim.tournament.directories import Directory
    from hpcsim.tournament.grid import read_grid
    from hpcsim.tournament.leaderboard import csv_text
    from hpcsim.tournament.plan import plan
    from hpcsim.tournament.tuning import Trial, as_rows, best, refuse_shared_windows, tuned
    from hpcsim.tournament.tuning import tune as search
    from hpcsim.workers import Pool

    found = load_and_complain(plugins)
    grid = read_grid(file)
    given: dict[str, Any] = {"plugin_files": plugins, "data": data}
    refuse_shared_windows(plan(grid, found, **given), plan(read_grid(test), found, **given))
    directory = Directory(out.expanduser() if out is not None else Path("tuning") / grid.tournament.name)

    def told(trial: Trial) -> None:
        score = f"{trial.score:.4f}" if trial.score == trial.score else "failed"
        said = ", ".join(f"{name}={value}" for name, value in trial.options.items()) or "as it is"
        click.echo(f"{trial.entrant}: trial {trial.number + 1}: {score}: {said}")

    directory.root.mkdir(parents=True, exist_ok=True)
    with Pool(workers) as pool:
        done = search(grid, found, directory, pool, metric=metric, trials=trials, seed=seed, told=told, **given)
    header, *rows = as_rows(done)
    directory.put("trials.csv", csv_text(header, rows))
    directory.put("schedulers.yaml", dump_yaml(tuned(grid, done)))
    click.echo(f"\n{metric} on the windows of {grid.tournament.name}, as a share of what it was:")
    for entrant, trial in best(done).items():
        said = ", ".join(f"{name}={value}" for name, value in trial.options.items()) or "as it was"
        click.echo(f"  {entrant}: {trial.score:.4f}: {said}")
    click.echo(f"{directory.root}: trials.csv, schedulers.yaml; how good they are, {test} tells")
