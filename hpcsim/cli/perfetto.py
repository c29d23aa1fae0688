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

    A trace that is there already is written anew; any other file that -o names is kept.
    """
    from hpcsim.errors import InputError
    from hpcsim.results.perfetto import FILE, is_trace, write_trace
    from hpcsim.results.run import reading

    path = (run if output is None else output).expanduser() / (FILE if output is None else "")
    if output is not None and path.exists() and not path.is_dir() and not is_trace(path):
        raise InputError(f"{path}: exists already and is no trace of hpcsim; choose another -o")
    with reading([run]) as [opened]:
        about = write_trace(opened, path)
    click.echo(f"{path}: {about}")
