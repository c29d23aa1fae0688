"""The evidence about AIMS that outlives a sitting: what is missing is run, for an hour, and its rows are kept.

    python -m benchmarks.aims_evidence question            # AIMS and its rivals: scenarios/aims-question.yaml
    python -m benchmarks.aims_evidence seeds               # AIMS by four more trainings each on three machines
    python -m benchmarks.aims_evidence ablations           # AIMS on polaris without one thing each, three times
        [--minutes 60] [--work evidence] [--workers N]

Called again it goes on where it stopped. Rows are added to docs/evidence/PART.csv: the cell, its metrics, the version
and the day; `python -m benchmarks.aims_question` makes the tables from them. Networks and cells stay in the folder
``--work``.
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
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
_GRACE_S = 60


class Step(NamedTuple):
    """A command of hpcsim, what is there once it is done, and whether it is a tournament, whose rows are kept."""

    command: list[str]
    done: Path
    is_tournament: bool


def steps(part: str, work: Path, workers: list[str]) -> Iterator[Step]:
    """All that a part consists of, in order."""
    if part == "question":
        yield tournament(QUESTION, work / part, workers)
    elif part == "seeds":
        for machine in MACHINES:
            entrants = []
            for seed in SEEDS:
                yield training(machine, f"{machine}-{seed}", seed, work, workers)
                entrants.append({"name": "aims", "label": f"aims seed {seed}", "weights": weights(machine, seed, work)})
            yield tournament(
                written(work / f"{part}-{machine}.yaml", [machine], entrants), work / f"{part}-{machine}", workers
            )
    else:
        for ablation in ABLATIONS:
            entrants = []
            for seed in OF_ABLATIONS:
                name = f"{ablation}-{seed}"
                yield training(MACHINES[0], name, seed, work, ["--without", ablation, *workers])
                path = str((work / f"{name}.json").resolve())
                entrants.append(
                    {"name": "aims", "label": f"without {ablation} {seed}", "weights": path, **changed(ablation)}
                )
            file = written(work / f"{part}-{ablation}.yaml", [MACHINES[0]], entrants)
            yield tournament(file, work / f"{part}-{ablation}", workers)


def weights(machine: str, seed: int, work: Path) -> str:
    """The file of a trained network."""
    return str((work / f"{machine}-{seed}.json").resolve())


def changed(ablation: str) -> dict[str, Any]:
    """What an entrant says besides its weights, to run as it was trained."""
    entrant: dict[str, Any] = {}
    for key, value in settings(ablation).items():
        section, _, name = key.partition(".")
        (entrant if section == "scheduler" else entrant.setdefault(section, {}))[name] = value
    return entrant


def training(machine: str, name: str, seed: int, work: Path, more: list[str]) -> Step:
    """Train a network."""
    command = ["train", "aims", machine, "-o", str(work), "--name", name, "--seed", str(seed), "--resume", *more]
    return Step(command, work / f"{name}.json", is_tournament=False)


def tournament(file: Path, out: Path, workers: list[str]) -> Step:
    """Run the cells of a tournament that are missing."""
    resumed = ["--resume"] if (out / "tournament.yaml").exists() else []
    return Step(
        ["tournament", str(file), "--out", str(out), *resumed, *workers], out / "report.html", is_tournament=True
    )


def written(path: Path, scenarios: list[str], entrants: list[dict[str, Any]]) -> Path:
    """A tournament of these on the windows of the question."""
    question = yaml.safe_load(QUESTION.read_text(encoding="utf-8"))
    kept = {name: question[name] for name in ("windows", "seeds", "loads", "metrics")}
    about = {"name": path.stem, "description": "AIMS by other trainings", "scenarios": scenarios}
    text = yaml.safe_dump({**about, "schedulers": entrants, "control": entrants[0]["label"], **kept}, sort_keys=False)
    path.write_text(text, encoding="utf-8")
    return path


def run(step: Step, until_s: float) -> bool:
    """Whether the step is done in time; it is stopped where it is not, and goes on when it is called again."""
    command = [sys.executable, "-m", "hpcsim", *step.command]
    print(" ".join(["hpcsim", *step.command]), flush=True)
    process = subprocess.Popen(command, start_new_session=True)
    try:
        process.wait(max(until_s - time.monotonic(), 1.0))
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return False
    if not step.done.exists():
        raise SystemExit(f"{step.command[0]} ended with {process.returncode}, and {step.done} is not there")
    return True


def keep(part: str, directory: Path) -> int:
    """Add the cells that are done to the rows of a part; how many it has."""
    cells = read_cells(directory / "cells.csv")
    file = KEPT / f"{part}.csv"
    header = ("version", "date", *cells.header)
    version = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    if file.exists():
        with file.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                rows[tuple(row[key] for key in KEYS)] = row
    today = datetime.now(UTC).date().isoformat()
    for values in cells.rows:
        row = dict(zip(cells.header, values, strict=True))
        key = tuple(row[name] for name in KEYS)
        if row["state"] == DONE and {**rows.get(key, {}), **row} != rows.get(key):
            rows[key] = {"version": version.strip(), "date": today, **row}
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, header, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.values())
    return len(rows)


def main() -> None:
    """Run what is missing until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["question", "seeds", "ablations"])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--work", type=Path, default=Path("evidence"))
    parser.add_argument("--workers", type=int)
    asked = parser.parse_args()
    until_s = time.monotonic() + 60.0 * asked.minutes
    asked.work.mkdir(parents=True, exist_ok=True)
    workers = [] if asked.workers is None else ["--workers", str(asked.workers)]
    for step in steps(asked.part, asked.work, workers):
        whole = step.done.exists() or run(step, until_s)
        if step.is_tournament and (step.done.parent / "cells.csv").exists():
            print(f"{KEPT / asked.part}.csv: {keep(asked.part, step.done.parent):,} rows", flush=True)
        if not whole:
            print("the time is over; call it again to go on")
            return
    print("nothing is missing")


if __name__ == "__main__":
    main()
