"""An example of a workflow, drawn at random: a mosaic of the sky from many images, as the Montage toolkit makes one.

Each image is projected; where two neighbours overlap, their difference is taken; a model of all differences says how
the brightness of each image has to be corrected; the corrected images are added up, and shrunk to a picture. Runtimes
are lognormal about the mean of their program, sizes of files about that of their kind, with a sigma of 0.3 (assumed
values, in the proportions that are known of Montage: many short tasks between two barriers).

Reference for the structure: Juve, Chervenak, Deelman, Bharathi, Mehta and Vahi (2013), Characterizing and profiling
scientific workflows.
"""

from __future__ import annotations

import json
from typing import Any

from hpcsim.errors import InputError
from hpcsim.streams import stream

MEAN_S = {
    "project": 240, "difference": 60, "fit": 90, "model": 300, "correct": 60, "table": 45, "add": 420, "shrink": 90,
    "picture": 30,
}  # fmt: skip
MEAN_BYTES = {
    "raw": 2_000_000_000, "projected": 8_000_000_000, "difference": 1_000_000_000, "corrected": 8_000_000_000,
    "mosaic": 40_000_000_000, "small": 2_000_000_000, "table": 1_000_000,
}  # fmt: skip
_SIGMA = 0.3


def mosaic(columns: int, rows: int, seed: int) -> str:
    """The workflow of a mosaic of ``columns`` times ``rows`` images as text in WfFormat 1.5.

    The same numbers give the same text. Raises InputError for less than two images.
    """
    if min(columns, rows) < 1 or columns * rows < 2:
        raise InputError(f"a mosaic has 2 images at the least, found {columns} times {rows}")
    made = _Made(seed)
    places = [(x, y) for y in range(rows) for x in range(columns)]
    raw = {place: made.file("raw", "raw-{}-{}.fits".format(*place)) for place in places}
    projected = {place: made.file("projected", "projected-{}-{}.fits".format(*place)) for place in places}
    for place in places:
        made.task("project", [raw[place]], [projected[place]])
    differences = []
    for x, y in places:
        for other in ((x + 1, y), (x, y + 1), (x + 1, y + 1), (x - 1, y + 1)):  # each pair of neighbours once
            if other in projected:
                differences.append(made.file("difference", "difference-{}-{}-{}-{}.fits".format(x, y, *other)))
                made.task("difference", [projected[x, y], projected[other]], [differences[-1]])
    fits, model = made.file("table", "fits.tbl"), made.file("table", "model.tbl")
    made.task("fit", differences, [fits])
    made.task("model", [fits], [model])
    corrected = {place: made.file("corrected", "corrected-{}-{}.fits".format(*place)) for place in places}
    for place in places:
        made.task("correct", [projected[place], model], [corrected[place]])
    images, whole = made.file("table", "images.tbl"), made.file("mosaic", "mosaic.fits")
    small, picture = made.file("small", "small.fits"), made.file("small", "mosaic.png")
    made.task("table", list(corrected.values()), [images])
    made.task("add", [images, *corrected.values()], [whole])
    made.task("shrink", [whole], [small])
    made.task("picture", [small], [picture])
    return made.text(f"mosaic-{columns}x{rows}-seed-{seed}")


class _Made:
    """A workflow while it is being made."""

    def __init__(self, seed: int) -> None:
        self._rng = stream(seed, "mosaic")
        self._tasks: list[dict[str, Any]] = []
        self._runs: list[dict[str, Any]] = []
        self._sizes: dict[str, int] = {}
        self._written_by: dict[str, dict[str, Any]] = {}

    def file(self, kind: str, name: str) -> str:
        self._sizes[name] = round(MEAN_BYTES[kind] * float(self._rng.lognormal(0.0, _SIGMA)))
        return name

    def task(self, program: str, reads: list[str], writes: list[str]) -> None:
        name = f"{program}-{len(self._tasks):03d}"
        parents = list(dict.fromkeys(self._written_by[file]["id"] for file in reads if file in self._written_by))
        task = {
            "name": program, "id": name, "parents": parents, "children": [], "inputFiles": reads, "outputFiles": writes,
        }  # fmt: skip
        for other in self._tasks:
            if other["id"] in parents:
                other["children"].append(name)
        self._written_by |= dict.fromkeys(writes, task)
        self._tasks.append(task)
        runtime_s = round(MEAN_S[program] * float(self._rng.lognormal(0.0, _SIGMA)), 3)
        self._runs.append({"id": name, "runtimeInSeconds": runtime_s, "coreCount": 1})

    def text(self, name: str) -> str:
        files = [{"id": file, "sizeInBytes": size} for file, size in self._sizes.items()]
        whole = {
            "name": name,
            "description": "An example made by hpcsim: hpcsim trace workflow",
            "schemaVersion": "1.5",
            "workflow": {
                "specification": {"tasks": self._tasks, "files": files},
                "execution": {
                    "makespanInSeconds": sum(run["runtimeInSeconds"] for run in self._runs),  # one after the other
                    "executedAt": "2024-01-01T00:00:00+00:00",
                    "tasks": self._runs,
                },
            },
        }
        return json.dumps(whole, indent=1) + "\n"
