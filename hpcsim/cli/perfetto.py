"""``hpcsim perfetto``: a finished run as a trace for Perfetto."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Write the trace of a run that Perfetto opens.")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
    help="Where to write it.  [default: RUN/trace.json.gz]",
)  # fmt: skip
def perfetto(run: Path, output: Path | None) -> None:
    """Write the run directory RUN as a trace that https://ui.perfetto.dev opens: who was where, and power over time.

    A trace that is there already is written anew.
    """
    from hpcsim.results.perfetto import FILE, write_trace
    from hpcsim.results.run import Run

    path = (run if output is None else output).expanduser() / (FILE if output is None else "")
    about = write_trace(Run.open(run), path)
    click.echo(f"{path}: {about}")
