"""The mutants and ``make check``: what is changed, what becomes of it, and that all of it is told."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
pytest.importorskip("cosmic_ray", reason="the mutants are cosmic-ray's")


@pytest.fixture
def benchmark(monkeypatch):
    """A module of benchmarks/, which is no package of the distribution, by name."""
    monkeypatch.syspath_prepend(ROOT)
    return lambda name: importlib.import_module(f"benchmarks.{name}")


SOURCE = '''
"""A text with 1 + 1 in it."""
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    LIMIT = 5


class Two:
    __slots__ = ("a", "b")

    def __init__(self, a: "int | None" = None) -> "int | None":
        self.a = a
        super().__init__()

    def do(self, x: int | None) -> int | None:
        y: int | None = cast("int | None", x)
        if y > 3 and not self.a:
            raise ValueError(f"{y + 1} is more than {3}" + "!")
        self.a = min(y, 4)
        self.a += 2
        return -y
'''


def test_only_what_a_program_does_is_changed(benchmark):
    kinds = benchmark("mutant_kinds")
    places = kinds.places("two.py", SOURCE)
    lines = SOURCE.splitlines()
    changed = {lines[place.begin[0] - 1].strip() for place in places}
    assert changed == {
        "super().__init__()", "if y > 3 and not self.a:", "self.a = min(y, 4)", "self.a += 2", "return -y",
    }  # fmt: skip
    made = {}
    for place in places:
        for change in place.changes:
            mutated = place.mutated(SOURCE, change)
            if mutated is not None:
                differing = [(a, b) for a, b in zip(lines, mutated.splitlines(), strict=True) if a != b]
                assert [lines[place.begin[0] - 1]] == [a for a, _ in differing]
                made[" ".join(differing[0][1].split())] = change[0]
    assert {"if y >= 3 and not self.a:", "if y > 3 or not self.a:", "self.a = max(y, 4)", "self.a -= 2"} <= {*made}
    assert made["pass"] == "DropStatement"
    assert sum(kind == "NumberReplacer" for kind in made.values()) == 6


MODULE = """
def left(n):
    while n > 1:
        n -= 2
    return n


def unused(n):
    return -n
"""
TESTS = """
from m import left


def test_the_rest():
    assert [left(n) for n in (0, 1, 2, 7)] == [0, 1, 0, 1]
"""
LATER = """

def test_that():
    from m import unused

    assert unused(1) == -1
"""
CONFTEST = """
import sys
from pathlib import Path

from hypothesis import settings

settings.register_profile("mutants", max_examples=5)
sys.path.insert(0, str(Path(__file__).parents[1]))
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "tests").mkdir()
    files = {"m.py": MODULE, "tests/test_m.py": TESTS, "tests/conftest.py": CONFTEST}
    same = {"module": "m.py", "is": "while n > 1:", "would_be": "while n >= 2:", "why": "n is whole"}
    files["mutants.yaml"] = yaml.safe_dump(
        {"subjects": {"all": [{"module": "m.py", "tests": ["test_m"]}]}, "equivalent": [same]}
    )
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def test_mutants_die_live_or_take_too_long_and_the_copy_alone_is_changed(benchmark, project, monkeypatch, capsys):
    mutants = benchmark("mutants")
    monkeypatch.setattr(mutants, "HERE", project)
    monkeypatch.setattr(mutants, "WORK", project / "build")
    monkeypatch.setattr(mutants, "LIST", project / "mutants.yaml")
    monkeypatch.setattr(mutants, "LEAST_CPU_S", 1)

    def tried(*arguments):
        monkeypatch.setattr(sys, "argv", ["mutants", "--json", str(project / "found.json"), *arguments])
        code = 0
        try:
            mutants.main()
        except SystemExit as end:
            code = end.code
        return code, capsys.readouterr()

    _, first = tried("--sample", "3", "--seed", "5")
    code, whole = tried("--sample", "99", "--seed", "5")
    assert code == 1  # unused() is tested by nobody
    assert whole.err.startswith(first.err)  # a larger sample begins with the smaller one
    outcomes = [line.rpartition(": ")[2] for line in whole.err.splitlines()]
    assert {"killed", "survived"} <= {*outcomes} <= {"killed", "survived", "timed out"}
    found = json.loads((project / "found.json").read_text())["all"]
    survived = outcomes.count("survived")
    assert found == {"tried": len(outcomes), "killed": len(outcomes) - survived, "survived": survived}
    assert (project / "m.py").read_text() == (project / "build/tree/m.py").read_text() == MODULE
    assert "m.py:9 survived test_m\n-    return -n\n+    return " in whole.out
    log = (project / "build/results.jsonl").read_text()
    assert tried("--sample", "99", "--seed", "5") == (1, whole)
    assert (project / "build/results.jsonl").read_text() == log  # nothing was tried again

    (project / "tests/test_m.py").write_text(TESTS + LATER)
    code, again = tried("--sample", "99", "--seed", "5")
    assert code == 0
    assert "m.py:9 survived" not in again.out
    more = (project / "build/results.jsonl").read_text().removeprefix(log)
    assert len(more.splitlines()) == 1 + survived  # the tests by themselves, and what had survived
    (project / "tests/test_m.py").write_text("def test_no():\n    assert False\n")
    monkeypatch.setattr(sys, "argv", ["mutants", "--afresh"])
    with pytest.raises(SystemExit, match="test_m fails without any mutant"):
        mutants.main()


GOOD = """
from hypothesis import given, strategies as st


@given(st.integers())
def test_a(x):
    assert x == x


def test_b():
    pass
"""


def test_the_table_tells_what_was_tried_and_found_and_what_was_stopped(benchmark, tmp_path, monkeypatch, capsys):
    check_all = benchmark("check_all")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "tests/test_good.py").write_text(GOOD)
    (tmp_path / "tests/test_bad.py").write_text("def test_c():\n    assert 0\n\n\ndef test_d():\n    pass\n")
    (tmp_path / "tests/test_long.py").write_text("import time\n\n\ndef test_e():\n    time.sleep(600)\n")
    monkeypatch.setattr(check_all, "HERE", tmp_path)
    monkeypatch.setattr(check_all, "LOGS", tmp_path / "logs")
    parts = [check_all.Part("good", 60, ("good",), more=True), check_all.Part("bad", 60, ("bad",))]
    parts += [check_all.Part("long", 60, ("long",)), check_all.Part("left out", 60, ("long",))]
    monkeypatch.setattr(check_all, "PARTS", parts)
    monkeypatch.setattr(sys, "argv", ["check_all", "--examples", "2", "--limit", "long=6", "--limit", "left out=0"])
    with pytest.raises(SystemExit, match="1"):
        check_all.main()
    said = capsys.readouterr().out
    rows = {line.split()[0]: " ".join(line.split()) for line in said.splitlines() if line.split()}
    assert rows["good"].startswith("good 2 tests, 200 examples 0 ")
    assert rows["bad"].startswith("bad 2 tests 1 ")
    assert rows["long"].startswith("long ")
    assert "(stopped at its limit) 0 " in rows["long"]
    assert "left" not in rows
    assert "test_c" in (tmp_path / "logs/bad.log").read_text()
    monkeypatch.setattr(sys, "argv", ["check_all", "--limit", "none=3"])
    with pytest.raises(
        SystemExit, match="--limit none=3: expected NAME=SECONDS, NAME one of good, bad, long, left out"
    ):
        check_all.main()
