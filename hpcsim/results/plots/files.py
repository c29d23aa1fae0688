"""Figures as files: the same bytes again, and no file is lost that is not a figure of hpcsim."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hpcsim.errors import InputError
from hpcsim.results.plots.drawn import Drawn, drawn_runs
from hpcsim.results.plots.figures import PLOTS, STANDARD
from hpcsim.results.plots.ink import inked
from hpcsim.results.plots.sheet import DPI
from hpcsim.results.run import Run

FORMATS = ("png", "svg", "pdf")

# No dates and no versions, so that a figure has the same bytes again; and who made it, so that it may be written anew.
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": "hpcsim plot"},
    "svg": {"Creator": "hpcsim plot", "Date": None},
    "pdf": {"Creator": "hpcsim plot", "Producer": None, "CreationDate": None},
}
_MARK = b"hpcsim plot"


def as_bytes(figure: Figure, form: str) -> bytes:
    """A figure as a PNG, an SVG or a PDF; to be called where ``ink.inked`` holds."""
    if form == "png":
        FigureCanvasAgg(figure)
    file = BytesIO()
    fast: dict[str, Any] = (
        {"pil_kwargs": {"compress_level": 4}} if form == "png" else {}
    )  # a fifth larger, in half the time
    figure.savefig(file, format=form, dpi=DPI, metadata=_METADATA[form], **fast)
    return file.getvalue()


def write_plots(
    runs: Sequence[Drawn], names: Iterable[str], directory: Path, form: str = "png", *, own: bool = False
) -> list[Path]:
    """Draw these figures of the runs into files of their names, in a directory that is made if there is none.

    A file of such a name is kept if hpcsim did not draw it, unless the directory is its ``own``. Raises InputError for
    that, for what a run lacks, and if nothing can be written there.
    """
    paths = {name: directory / f"{name}.{form}" for name in names}
    for name in paths:
        PLOTS[name].demand(runs)
    try:
        for path in paths.values():
            if not own and (path.exists() or path.is_symlink()) and not _is_figure(path):
                raise InputError(
                    f"{path}: is no figure of hpcsim and is kept as it is; choose another directory with -o"
                )
        directory.mkdir(parents=True, exist_ok=True)
        with inked():
            for name, path in paths.items():
                draft = path.with_name(f".{path.name}.{os.getpid()}")
                try:
                    draft.write_bytes(as_bytes(PLOTS[name].draw(runs), form))
                    draft.replace(path)
                finally:
                    draft.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{directory}: cannot be written: {error.strerror or error}; choose another -o") from error
    return list(paths.values())


def write_standard(run: Run, directory: Path) -> list[Path]:
    """The figures that every run gets, as far as it has the tables, as PNG files."""
    runs = drawn_runs([(directory.parent.name, run)])
    return write_plots(runs, [name for name in STANDARD if not PLOTS[name].lacking(runs[0])], directory)


def _is_figure(path: Path) -> bool:
    return path.is_file() and _MARK in path.read_bytes()
