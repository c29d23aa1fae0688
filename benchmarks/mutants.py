"""Do the tests notice when a line of the program is wrong? They are run with small changes to it, one at a time.

The sample is drawn evenly from the subjects of ``mutants.yaml``: places of their modules, and at each place one of the
changes that can be made there (``mutant_kinds``). A larger sample with the same seed begins with the smaller one. A
mutant runs in a copy of the tree, and its own tests, until the first of them fails. It is *killed* if one does or if
it takes more than three times the CPU time of the tests; else it *survived*. Results are kept: what was killed is not
tried again while the module is the same, what survived while its tests are the same, too.
"""

from __future__ import annotations

import argparse
import compileall
import difflib
import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from py_compile import PycInvalidationMode
from time import monotonic
from typing import Any

import yaml

from benchmarks.mutant_kinds import places

HERE = Path(__file__).parents[1]
WORK = HERE / "build" / "mutants"
LIST = Path(__file__).with_name("mutants.yaml")
AS_KILLED = ("killed", "timed out")
AT_LEAST = 0.85  # of the mutants of each subject
LEAST_CPU_S = 10  # that a mutant has beyond three times those of its tests


@dataclass(frozen=True)
class Mutant:
    """One change of a module of a subject, its source with it, and the tests that should notice."""

    subject: str
    module: str
    line: int
    kind: str
    source: str
    diff: tuple[str, ...]
    tests: tuple[str, ...]

    @property
    def key(self) -> str:
        return hashlib.sha256(f"{self.module}\n{self.source}".encode()).hexdigest()[:20]


@dataclass
class Tried:
    """What became of the mutants of a module."""

    outcomes: Counter[str] = field(default_factory=Counter)
    cpu_s: float = 0.0
    survivors: list[Mutant] = field(default_factory=list)

    @property
    def tried(self) -> int:
        return self.outcomes.total() - self.outcomes["equivalent"]

    @property
    def killed(self) -> int:
        return sum(self.outcomes[each] for each in AS_KILLED)

    def row(self, name: str) -> str:
        share = f"{self.killed / self.tried:6.1%}" if self.tried else "     -"
        return (
            f"{name:32} {self.tried:5} {self.outcomes['killed']:6} {self.outcomes['timed out']:5} "
            f"{self.outcomes['survived']:8} {share:>7} {self.outcomes['equivalent']:4} {self.cpu_s:6.0f}"
        )


HEAD = f"{'module':32} {'tried':>5} {'killed':>6} {'time':>5} {'survived':>8} {'share':>7} {'same':>4} {'CPU s':>6}"


def drawn(subject: str, modules: list[dict[str, Any]], seed: int) -> Iterator[Mutant]:
    """All mutants of a subject, at most one of a place, as chance will."""
    sources = {each["module"]: (HERE / each["module"]).read_text() for each in modules}
    tests = {each["module"]: tuple(each["tests"]) for each in modules}
    rng = random.Random(f"{seed} {subject} {' '.join(sources)}")
    every = [place for module, source in sources.items() for place in places(module, source)]
    for place in rng.sample(every, len(every)):
        for change in rng.sample(place.changes, len(place.changes)):
            source = place.mutated(sources[place.module], change)
            if source is not None:
                diff = changed_lines(sources[place.module], source)
                yield Mutant(subject, place.module, place.begin[0], change[0], source, diff, tests[place.module])
                break


def changed_lines(before: str, after: str) -> tuple[str, ...]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return tuple(line for line in lines if line[:1] in "+-" and line[:3] not in ("---", "+++"))


def without_spaces(lines: list[str]) -> str:
    return "".join("".join(lines).split())


class Copy:
    """A copy of the tree in which the tests run, and what was found there before."""

    def __init__(self, afresh: bool) -> None:
        self.folder = WORK / "tree"
        shutil.rmtree(self.folder, ignore_errors=True)
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        for name in subprocess.run(listed, cwd=HERE, check=True, capture_output=True).stdout.decode().split("\0"):
            if name and os.path.lexists(HERE / name):
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(HERE / name, self.folder / name, follow_symlinks=False)
        # byte code that goes by what is in the source, not by its time: a mutant is never taken for another
        compileall.compile_dir(self.folder, quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
        self._log = WORK / "results.jsonl"
        if afresh:
            self._log.unlink(missing_ok=True)
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        self._known: dict[str, dict[str, Any]] = {each["key"]: each for each in map(json.loads, lines)}
        self._env = {**os.environ, "PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1"}
        self._env.pop("HPCSIM_DATA", None)

    def _sum_of(self, tests: tuple[str, ...]) -> str:
        whole = b"".join((self.folder / "tests" / f"{name}.py").read_bytes() for name in tests)
        return hashlib.sha256(whole).hexdigest()[:20]

    def _keep(self, **found: Any) -> dict[str, Any]:
        self._known[found["key"]] = found
        with self._log.open("a") as log:
            log.write(json.dumps(found) + "\n")
        return found

    def _run(self, test: str, most_cpu_s: int) -> tuple[int, str, float]:
        """The exit code of a file of tests, the line about the first that fails, and CPU seconds."""
        command = [sys.executable, "-m", "pytest", "-x", "--tb=no", "-rfE", "--no-header"]
        command += ["-p", "no:cacheprovider", "--hypothesis-profile=mutants", f"tests/{test}.py"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_CPU, (most_cpu_s, most_cpu_s + 5))
            resource.setrlimit(resource.RLIMIT_DATA, (6 << 30, 6 << 30))

        done = subprocess.Popen(
            command, cwd=self.folder, env=self._env, preexec_fn=limit, start_new_session=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            said, _ = done.communicate(timeout=600 + 60 * most_cpu_s)
        except subprocess.TimeoutExpired:
            os.killpg(done.pid, 9)  # its own session, which it leads
            said, _ = done.communicate()
        finally:
            if done.poll() is None:
                os.killpg(done.pid, 9)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        by = [line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))]
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return done.returncode, by[0] if by else said[-400:], round(cpu_s, 1)

    def alone(self, test: str) -> float:
        """CPU seconds of a file of tests without any mutant, which have to pass."""
        key = f"{test} alone {self._sum_of((test,))}"
        if key not in self._known:
            code, said, cpu_s = self._run(test, 3600)
            if code:
                raise SystemExit(f"{test} fails without any mutant: {said}")
            self._keep(key=key, cpu_s=cpu_s)
        return float(self._known[key]["cpu_s"])

    def try_out(self, mutant: Mutant) -> dict[str, Any]:
        known, tests = self._known.get(mutant.key), self._sum_of(mutant.tests)
        if known is not None and (known["outcome"] in AS_KILLED or known["tests"] == tests):
            return known
        path = self.folder / mutant.module
        outcome, by, spent_s = "survived", "", 0.0
        for test in mutant.tests:
            most_cpu_s = ceil(LEAST_CPU_S + 3 * self.alone(test))
            before = path.read_text()
            try:
                path.write_text(mutant.source)
                code, said, cpu_s = self._run(test, most_cpu_s)
            finally:
                path.write_text(before)
            spent_s += cpu_s
            if code:
                outcome, by = "killed" if code > 0 else "timed out", said
                break
        return self._keep(
            key=mutant.key, module=mutant.module, outcome=outcome, by=by, cpu_s=round(spent_s, 1), tests=tests
        )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--sample", type=int, default=60, help="mutants in all (default 60)")
    arguments.add_argument("--seed", type=int, default=1, help="which ones (default 1)")
    arguments.add_argument("--module", help="of this module alone (its path), or of this subject")
    arguments.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long; results are kept")
    arguments.add_argument("--afresh", action="store_true", help="forget what was found before")
    arguments.add_argument("--json", type=Path, help="write what was found to this file, too")
    chosen = arguments.parse_args()
    listed = yaml.safe_load(LIST.read_text())
    same = {
        (each["module"], without_spaces([each["is"]]), without_spaces([each["would_be"]]))
        for each in listed["equivalent"]
    }
    subjects = {
        subject: [each for each in modules if chosen.module in (None, subject, each["module"])]
        for subject, modules in listed["subjects"].items()
    }
    subjects = {subject: modules for subject, modules in subjects.items() if modules}
    if not subjects:
        raise SystemExit(f"{chosen.module} is neither a subject nor a module of {LIST.name}")
    WORK.mkdir(parents=True, exist_ok=True)
    copy, until = Copy(chosen.afresh), monotonic() + chosen.seconds
    found: dict[str, dict[str, Tried]] = {
        subject: {each["module"]: Tried() for each in modules} for subject, modules in subjects.items()
    }
    streams = [(subject, drawn(subject, modules, chosen.seed)) for subject, modules in subjects.items()]
    left = chosen.sample
    while left > 0 and streams and monotonic() < until:  # one of each subject in turn
        subject, mutants = streams.pop(0)
        mutant = next(mutants, None)
        if mutant is None:
            continue
        streams.append((subject, mutants))
        tried = found[subject][mutant.module]
        change = [without_spaces([line[1:] for line in mutant.diff if line[0] == sign]) for sign in "-+"]
        if (mutant.module, *change) in same:
            tried.outcomes["equivalent"] += 1
            continue
        result = copy.try_out(mutant)
        left -= 1
        tried.outcomes[result["outcome"]] += 1
        tried.cpu_s += result["cpu_s"]
        if result["outcome"] == "survived":
            tried.survivors.append(mutant)
        print(f"{mutant.module}:{mutant.line}: {result['outcome']}", file=sys.stderr, flush=True)
    report(found, chosen)


def report(found: dict[str, dict[str, Tried]], chosen: argparse.Namespace) -> None:
    """Print the table and the survivors; exit with 1 if a subject has too many of them."""
    print(f"Mutants: seed {chosen.seed}, sample {chosen.sample}\n{HEAD}")
    totals = {}
    for subject, modules in found.items():
        total = totals[subject] = Tried()
        for module, tried in modules.items():
            print(tried.row(module))
            total.outcomes += tried.outcomes
            total.cpu_s += tried.cpu_s
            total.survivors += tried.survivors
        print(total.row(f"= {subject}"))
    for total in totals.values():
        for mutant in total.survivors:
            print(f"\n{mutant.module}:{mutant.line} survived {' '.join(mutant.tests)}", *mutant.diff, sep="\n")
    if chosen.json is not None:
        told = {
            subject: {"tried": total.tried, "killed": total.killed, "survived": len(total.survivors)}
            for subject, total in totals.items()
        }
        chosen.json.write_text(json.dumps(told))
    if any(total.tried and total.killed / total.tried < AT_LEAST for total in totals.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
