"""The evidence about AIMS that outlives a sitting: what is missing is run, for an hour, and its rows are kept.

    python -m benchmarks.aims_evidence question            # AIMS and its rivals: scenarios/aims-question.yaml
    python -m benchmarks.aims_evidence seeds               # AIMS by four more trainings each on three machines
    python -m benchmarks.aims_evidence ablations           # AIMS on polaris without one thing each, three times
        [--minutes 60] [--work evidence] [--workers N] [--again LABEL] [--seed N ...]

The networks of the ablations have short trainings, that without nothing among them, and may depart from the rule in
everything: what one is worth that is held to the rule does not hang on what it has learned.

Rows are added to docs/evidence/PART.csv: the cell, its metrics, the version and the day. Called again, also on another
machine, it goes on from them: what has a row is not run again, unless it is of the ``--again`` label. Two machines can
share the work: each takes other seeds of training by ``--seed``, and their rows are put into one file. Networks and
cells stay in the folder ``--work``. `python -m benchmarks.aims_question docs/evidence/PART.csv` makes the tables.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from hpcsim.tournament.cells import DONE, KEYS, read_cells
from hpcsim.training.ablations import ABLATIONS, settings

QUESTION = Path("scenarios/aims-question.yaml")
KEPT = Path("docs/evidence")
MACHINES = ("polaris", "mira", "theta")
SEEDS = (2, 3, 4, 5)  # the networks that come with hpcsim are of the first
OF_ABLATIONS = (1, 2, 3)
SHORT = ("--days", "0.75", "--rounds", "6", "--held", "0")  # meant to take at most 15 CPU minutes on polaris
LOADS_OF_SEEDS = (0.9, "saturation")
_GRACE_S = 60

Row = dict[str, str]
Entrant = str | dict[str, Any]


class Piece(NamedTuple):
    """Cells of one scenario: entrants at one load, or at all; and what is to be trained before, if anything."""

    scenario: str
    loads: list[Any]
    entrants: list[Entrant]
    training: list[str]
    weights: Path = Path()


def label(entrant: Entrant) -> str:
    """What an entrant is called in tables."""
    return entrant if isinstance(entrant, str) else str(entrant.get("label", entrant["name"]))


def pieces(part: str, question: dict[str, Any], work: Path, only: Collection[int]) -> Iterator[Piece]:
    """All that a part consists of, in order; of trainings those of ``only`` these seeds, if any are given."""
    if part == "question":
        for load in question["loads"]:
            for scenario in question["scenarios"]:
                yield Piece(scenario, [load], question["schedulers"], [])
    elif part == "seeds":
        for seed in [each for each in SEEDS if each in (only or SEEDS)]:
            for machine in MACHINES:
                piece = trained(machine, f"aims seed {seed}", seed, question, work, [], {})
                yield piece._replace(loads=list(LOADS_OF_SEEDS))
    else:
        for seed in [each for each in OF_ABLATIONS if each in (only or OF_ABLATIONS)]:
            for ablation in ("nothing", *ABLATIONS):
                without = [*SHORT, *(["--without", ablation] if ablation in ABLATIONS else [])]
                changed = as_trained(ablation)
                yield trained(MACHINES[0], f"without {ablation} {seed}", seed, question, work, without, changed)


def trained(
    machine: str, name: str, seed: int, question: dict[str, Any], work: Path, more: list[str], changed: dict[str, Any]
) -> Piece:
    """AIMS by a training of its own."""
    file = f"{machine}-{name}".replace(" ", "-")
    command = ["train", "aims", machine, "-o", str(work), "--name", file, "--seed", str(seed), "--resume", *more]
    weights = (work / f"{file}.json").resolve()
    entrant = {"name": "aims", "label": name, "weights": str(weights), **changed}
    return Piece(machine, question["loads"], [entrant], command, weights)


def as_trained(ablation: str) -> dict[str, Any]:
    """What an entrant says besides its weights, to run as it was trained."""
    entrant: dict[str, Any] = {}
    for key, value in settings(ablation).items():
        section, _, name = key.partition(".")
        (entrant if section == "scheduler" else entrant.setdefault(section, {}))[name] = value
    return entrant


def missing(piece: Piece, question: dict[str, Any], rows: dict[tuple[str, ...], Row]) -> list[Entrant]:
    """The entrants of which not all cells have rows."""
    there = Counter((row["scenario"], row["load"], row["scheduler"]) for row in rows.values())
    whole = question["windows"]["count"] * len(question["seeds"])
    return [
        each for each in piece.entrants
        if any(there[piece.scenario, str(load), label(each)] < whole for load in piece.loads)
    ]  # fmt: skip


def run(command: list[str], until_s: float) -> bool:
    """Whether a command of hpcsim ended well in time; it is stopped where it did not, and can go on."""
    print(" ".join(["hpcsim", *command]), flush=True)
    process = subprocess.Popen([sys.executable, "-m", "hpcsim", *command], start_new_session=True)
    try:
        return process.wait(max(until_s - time.monotonic(), 1.0)) == 0
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return False


def tournament(part: str, piece: Piece, entrants: list[Entrant], question: dict[str, Any], work: Path) -> Path:
    """The file of a tournament of one piece."""
    loads = "-".join(map(str, piece.loads))
    name = re.sub(r"[^A-Za-z0-9.-]", "-", "-".join([part, piece.scenario, loads, label(entrants[0])]))
    kept = {key: question[key] for key in ("windows", "seeds", "metrics")}
    about = {"name": name, "description": "evidence about AIMS", "scenarios": [piece.scenario], "loads": piece.loads}
    path = work / f"{name}.yaml"
    given = {**about, "schedulers": entrants, "control": label(entrants[0]), **kept}
    path.write_text(yaml.safe_dump(given, sort_keys=False), encoding="utf-8")
    return path


def read(file: Path) -> dict[tuple[str, ...], Row]:
    """The rows that are kept, by cell."""
    if not file.exists():
        return {}
    with file.open(encoding="utf-8", newline="") as lines:
        return {tuple(row[key] for key in KEYS): row for row in csv.DictReader(lines)}


def keep(file: Path, rows: dict[tuple[str, ...], Row], directory: Path) -> None:
    """Add the cells of a tournament that are done, and write all."""
    cells = read_cells(directory / "cells.csv")
    told = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    about = {"version": told.stdout.strip(), "date": datetime.now(UTC).date().isoformat()}
    for values in cells.rows:
        row = dict(zip(cells.header, values, strict=True))
        if row["state"] == DONE:
            rows[tuple(row[name] for name in KEYS)] = about | row
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, (*about, *cells.header), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.values())
    print(f"{file}: {len(rows):,} rows", flush=True)


def main() -> None:
    """Run what is missing until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["question", "seeds", "ablations"])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--work", type=Path, default=Path("evidence"))
    parser.add_argument("--workers", type=int)
    parser.add_argument("--seed", type=int, nargs="+", help="of trainings: only these")
    parser.add_argument("--again", metavar="LABEL", help="forget the rows of entrants whose label begins so")
    asked = parser.parse_args()
    until_s = time.monotonic() + 60.0 * asked.minutes
    asked.work.mkdir(parents=True, exist_ok=True)
    workers = [] if asked.workers is None else ["--workers", str(asked.workers)]
    question = yaml.safe_load(QUESTION.read_text(encoding="utf-8"))
    file = KEPT / f"{asked.part}.csv"
    rows = read(file)
    if asked.again:
        rows = {key: row for key, row in rows.items() if not row["scheduler"].startswith(asked.again)}
    for piece in pieces(asked.part, question, asked.work, asked.seed or ()):
        entrants = missing(piece, question, rows)
        if not entrants:
            continue
        if piece.training and not piece.weights.exists() and not run([*piece.training, *workers], until_s):
            break
        described = tournament(asked.part, piece, entrants, question, asked.work)
        out = described.with_suffix("")
        whole = run(["tournament", str(described), "--out", str(out), "--resume", *workers], until_s)
        if (out / "cells.csv").exists():
            keep(file, rows, out)
        if not whole:
            break
    else:
        print("nothing is missing")
        return
    if time.monotonic() < until_s:
        raise SystemExit("stopped by what is said above")
    print("the time is over; call it again to go on")


if __name__ == "__main__":
    main()
