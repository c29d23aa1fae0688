"""All that can be tried in a quarter of an hour to find something wrong, and one table of what was tried and found.

Laws and theory with more examples than in the tests, damaged and harmful input, disks that are full, and a sample of
mutants (``benchmarks.mutants``). Each part has a time limit, after which it is stopped and what it has tried by then
counts. Its log stays in ``build/check``. The exit code is 1 if anything was found.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import NamedTuple
from xml.etree import ElementTree

from rich import box
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parents[1]
LOGS = HERE / "build" / "check"
_EXAMPLES = re.compile(r"(\d+) passing(?: examples)?, (\d+) failing")
_GRACE_S = 30  # for a part that is told to stop


class Part(NamedTuple):
    """What is tried under one name, for at most so many seconds."""

    name: str
    limit_s: int
    tests: tuple[str, ...] = ()  # none: it is the mutants
    more: bool = False  # whether more examples than usual are tried


PARTS = (
    Part("laws", 300, ("laws", "engine", "availability", "history", "backfilling", "planning", "waiting"), more=True),
    Part("queueing theory", 90, ("queueing_theory",)),
    Part("fuzz", 240, ("fuzz",), more=True),
    Part("bad input", 120, ("bad_input", "refusals")),
    Part("faults", 120, ("faults",)),
    Part("mutants", 300),
)


class Outcome(NamedTuple):
    """A line of the table."""

    tried: str
    found: int
    note: str = ""


def of_tests(xml: Path, stopped: bool) -> Outcome:
    """What pytest has written down of a part."""
    if not xml.exists():
        return Outcome("nothing", 0 if stopped else 1, "" if stopped else "pytest did not run")
    root = ElementTree.parse(xml).getroot()
    suites = list(root.iter("testsuite"))
    tests, skipped, failed = (
        sum(int(suite.get(name, "0")) for suite in suites for name in names.split())
        for names in ("tests", "skipped", "failures errors")
    )
    examples = 0
    for each in root.iter("property"):
        if each.get("name", "").startswith("hypothesis-statistics-"):
            told = base64.b64decode(each.get("value", "")).decode()
            examples += sum(int(good) + int(bad) for good, bad in _EXAMPLES.findall(told))
    tried = f"{tests - skipped:,} tests" + (f", {examples:,} examples" if examples else "")
    return Outcome(tried, failed, f"{skipped} skipped" if skipped else "")


def of_mutants(path: Path, stopped: bool) -> Outcome:
    """What ``benchmarks.mutants`` has written down."""
    if not path.exists():
        return Outcome("nothing", 0 if stopped else 1, "" if stopped else "it did not run")
    found = json.loads(path.read_text()).values()
    tried, survived = (sum(each[name] for each in found) for name in ("tried", "survived"))
    return Outcome(f"{tried} mutants", survived, "survived" if survived else "")


def run(part: Part, arguments: argparse.Namespace, limit_s: float) -> tuple[Outcome, float, float, bool]:
    """Try a part: what became of it, seconds by the clock and of the CPU, and whether it was stopped."""
    stem = LOGS / part.name.replace(" ", "_")
    made: tuple[Path, Callable[[Path, bool], Outcome]]
    if part.tests:
        made = stem.with_suffix(".xml"), of_tests
        command = ["pytest", "-p", "no:cacheprovider", "--hypothesis-show-statistics", f"--junitxml={made[0]}", "-rs"]
        command += ["--examples", str(arguments.examples)] if part.more else []
        command += [f"tests/test_{name}.py" for name in part.tests]
    else:
        made = stem.with_suffix(".json"), of_mutants
        command = ["benchmarks.mutants", "--sample", str(arguments.mutants), "--seed", str(arguments.seed)]
        command += ["--seconds", str(limit_s), "--json", str(made[0])]
    made[0].unlink(missing_ok=True)
    began, cpu = monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    stopped = False
    with stem.with_suffix(".log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=HERE, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=log,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            # a mutant that has begun is brought to its end, which it has a limit of its own for
            process.wait(limit_s if part.tests else None)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as why:
            stopped = isinstance(why, subprocess.TimeoutExpired)
            os.killpg(process.pid, signal.SIGINT)  # its own session
            try:
                process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if not stopped:
                raise
    wall_s, after = monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    stopped = stopped or (not part.tests and wall_s > limit_s)
    cpu_s = after.ru_utime + after.ru_stime - cpu.ru_utime - cpu.ru_stime
    outcome = made[1](made[0], stopped)
    if process.returncode and not outcome.found and not stopped:
        outcome = Outcome(outcome.tried, 1, f"exit code {process.returncode}")
    return outcome, wall_s, cpu_s, stopped


def limits(given: list[str]) -> dict[str, float]:
    """The seconds that each part has: its own, or those of ``NAME=SECONDS``."""
    found: dict[str, float] = {part.name: part.limit_s for part in PARTS}
    for each in given:
        name, _, seconds = each.rpartition("=")
        if name not in found or not seconds.isdigit():
            raise SystemExit(f"--limit {each}: expected NAME=SECONDS, NAME one of {', '.join(found)}")
        found[name] = float(seconds)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=3, help="times as many examples as in the tests (default 3)")
    parser.add_argument("--mutants", type=int, default=8, help="how many mutants are tried (default 8)")
    parser.add_argument("--seed", type=int, default=1, help="which mutants (default 1)")
    parser.add_argument(
        "--limit", action="append", default=[], metavar="NAME=SECONDS", help="of a part; 0 leaves it out"
    )
    arguments = parser.parse_args()
    seconds = limits(arguments.limit)
    LOGS.mkdir(parents=True, exist_ok=True)
    table = Table(box=box.SIMPLE_HEAD, width=80)
    table.add_column("what")
    table.add_column("tried")
    for name in ("found", "seconds", "CPU s"):
        table.add_column(name, justify="right")
    found = 0
    for part in PARTS:
        if not seconds[part.name]:
            continue
        print(f"{part.name} ...", file=sys.stderr, flush=True)
        outcome, wall_s, cpu_s, stopped = run(part, arguments, seconds[part.name])
        notes = [each for each in (outcome.note, "stopped at its limit" if stopped else "") if each]
        told = outcome.tried + (f" ({'; '.join(notes)})" if notes else "")
        table.add_row(part.name, told, str(outcome.found), f"{wall_s:.0f}", f"{cpu_s:.0f}")
        found += outcome.found
    console = Console(width=80)
    console.print(table)
    if found:
        console.print(f"Found {found}: the logs are in {LOGS.relative_to(HERE)}")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
