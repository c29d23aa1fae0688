"""``hpcsim plot``: figures of a finished run, or of several overlaid."""

from __future__ import annotations

from pathlib import Path

import click

NAMES = ("makespan", "energy", "power", "temperature", "utilisation", "waits", "gantt", "failures", "ledger")


@click.command(short_help="Draw figures of a run, or of several beside one another.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("--only", multiple=True, metavar="NAME", help=f"Only this figure: {', '.join(NAMES)}.")
@click.option("--format", "form", type=click.Choice(["png", "svg", "pdf"]), default="png", show_default=True)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), metavar="DIR",
    help="Where the figures go; by default RUN/plots, of several runs ./plots.",
)  # fmt: skip
def plot(runs: tuple[Path, ...], only: tuple[str, ...], form: str, out: Path | None) -> None:
    """Draw figures of the run directory RUN, or of several runs overlaid: docs/seeing.md shows them.

    Without --only all are drawn for which the runs left the tables. A file that hpcsim did not draw is kept.
    """
    from hpcsim.errors import InputError
    from hpcsim.results.run import reading
    from hpcsim.scenario.layers import did_you_mean

    for name in only:
        if name not in NAMES:
            raise InputError(f"--only: no figure named {name!r}.{did_you_mean(name, NAMES)} Known: {', '.join(NAMES)}.")
    directory = (out or (runs[0] / "plots" if len(runs) == 1 else Path("plots"))).expanduser()
    with reading(runs) as opened:
        from hpcsim.results.plots import PLOTS, drawn_runs, write_plots

        drawn = drawn_runs([(str(place), run) for place, run in zip(runs, opened, strict=True)])
        names = list(dict.fromkeys(only))
        if not only:
            for name, figure in PLOTS.items():
                lacking = next((f"{each.place}: {why}" for each in drawn if (why := figure.lacking(each))), None)
                if lacking is None:
                    names.append(name)
                else:
                    click.echo(f"hpcsim: no {name}: {lacking}", err=True)
        written = write_plots(drawn, names, directory, form, own=out is None and len(runs) == 1)
    for path in written:
        click.echo(path)
