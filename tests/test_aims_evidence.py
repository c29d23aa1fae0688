"""The evidence about AIMS is made in pieces: what has a row is not run again, and what was stopped goes on."""

import csv
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
QUESTION = """
name: small
scenarios: [cooley]
schedulers:
  - {name: easy, label: aims, order: saf}
  - {name: easy, label: backfilling}
control: backfilling
windows: {measured: 6h, warm_up: 1h, cool_down: 1h, count: 1}
seeds: [11]
loads: [0.7]
metrics: [mean_wait_s, variability]
"""


@pytest.fixture
def evidence(tmp_path, monkeypatch, capfd):
    """Call the command in a folder of its own; what it printed, and its rows by scheduler."""
    spec = importlib.util.spec_from_file_location("aims_evidence", ROOT / "benchmarks" / "aims_evidence.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "aims-question.yaml").write_text(QUESTION)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    author = ("-c", "user.name=t", "-c", "user.email=t@t")
    for words in (["init", "-q"], [*author, "commit", "-q", "--allow-empty", "-m", "begun"]):
        subprocess.run(["git", *words], check=True)

    def called(*arguments):
        monkeypatch.setattr(sys, "argv", ["aims_evidence", *map(str, arguments)])
        module.main()
        return capfd.readouterr().out, rows("question")

    called.module = module
    return called


def rows(part):
    file = Path("docs/evidence") / f"{part}.csv"
    lines = file.read_text().splitlines() if file.exists() else []
    return {row["scheduler"]: row for row in csv.DictReader(lines)}


def test_what_has_a_row_is_not_run_again_unless_it_is_asked_for(evidence):
    out, made = evidence("question")
    assert set(made) == {"aims", "backfilling"}
    assert "2 of 2 cells" in out or "2 cells" in out
    assert evidence("question") == ("nothing is missing\n", made)
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    assert {row["version"] for row in made.values()} == {head.stdout.strip()}

    file = Path("docs/evidence/question.csv")
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line.replace(",done,", ",done,9") if ",aims," in line else line for line in lines))
    assert rows("question") != made
    _, again = evidence("question", "--again", "aims", "--work", "elsewhere")  # as on another machine
    assert again == made


def test_what_the_time_does_not_suffice_for_is_left_for_the_next_call(evidence, monkeypatch):
    ran = []
    module = evidence.module

    def run(command, until_s):
        ran.append(command[0])
        return False

    monkeypatch.setattr(module, "run", run)
    with pytest.raises(SystemExit, match="stopped by what is said above"):
        evidence("question", "--minutes", 1)
    assert ran == ["tournament"]
    out, made = evidence("question", "--minutes", -1)
    assert out == "the time is over; call it again to go on\n"
    assert made == {}


def test_networks_of_seeds_and_ablations_are_trained_before_they_are_run(evidence, monkeypatch):
    module, ran = evidence.module, []

    def run(command, until_s):
        ran.append(command)
        if command[0] == "train":
            name = command[command.index("--name") + 1]
            Path("evidence", f"{name}.json").write_text("{}")
        return True

    monkeypatch.setattr(module, "run", run)
    for part, trainings in (("seeds", 12), ("ablations", 3 * (1 + len(module.ABLATIONS)))):
        ran.clear()
        assert evidence(part)[0] == "nothing is missing\n"
        assert [command[0] for command in ran] == ["train", "tournament"] * trainings
        entrants = [module.yaml.safe_load(Path(command[1]).read_text())["schedulers"] for command in ran[1::2]]
        loads = [module.yaml.safe_load(Path(command[1]).read_text())["loads"] for command in ran[1::2]]
        assert all(each == ([0.9, "saturation"] if part == "seeds" else [0.7]) for each in loads)
        for (entrant,), command in zip(entrants, ran[::2], strict=True):
            assert Path(entrant["weights"]).stem == command[command.index("--name") + 1]
            assert f" {command[command.index('--seed') + 1]}" in f" {entrant['label']}"
            assert (command[-2:] == ["--without", entrant["label"].split()[1]]) == (
                part == "ablations" and "nothing" not in entrant["label"]
            )
        ran.clear()
        evidence(part)
        assert {command[0] for command in ran} == {"tournament"}  # the networks are there
        ran.clear()
        evidence(part, "--seed", 2)  # as one of several machines
        assert len(ran) == trainings // (4 if part == "seeds" else 3)
        assert all("2" in Path(command[1]).stem.split("-") for command in ran)
