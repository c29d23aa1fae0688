"""``hpcsim report``: a page of a finished run, or of several side by side."""

from __future__ import annotations

from pathlib import Path

import click

_COMPARISON = Path("comparison.html")  # of several runs, in the folder where the command is called


@click.command(short_help="Write the page of a run, or of several side by side.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), metavar="FILE",
    help="Write to this file: by default report.html in RUN, or comparison.html here for several.",
)  # fmt: skip
def report(runs: tuple[Path, ...], out: Path | None) -> None:
    """Write one page that shows a run directory in a browser, without any network: RUN/report.html.

    RUN/trace.json.gz, which Perfetto opens, is written with it.

    Of several runs it shows what differs: figures, timelines, waits, energy and scenarios, the first being what the
    others are compared with.
    """
    from hpcsim.errors import InputError
    from hpcsim.results.page import IS_REPORT, write_report
    from hpcsim.results.perfetto import FILE, write_trace
    from hpcsim.results.run import reading

    file = (out or (runs[0] / "report.html" if len(runs) == 1 else _COMPARISON)).expanduser()
    with reading(runs) as opened:
        try:
            if file.exists() and not file.is_dir() and not _is_report(file, IS_REPORT.encode()):
                raise InputError(f"{file}: exists already and is no report of hpcsim; choose another -o")
            write_report(file, opened, [run.expanduser().resolve().name for run in runs])
            if len(runs) == 1 and out is None:
                write_trace(opened[0], file.with_name(FILE))
        except OSError as error:
            raise InputError(f"{file}: cannot be written: {error.strerror or error}; choose another -o") from error
    click.echo(str(file))


def _is_report(file: Path, beginning: bytes) -> bool:
    """Whether hpcsim wrote it; a device such as /dev/full has no end and is not read."""
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return opened.read(len(beginning)) == beginning
