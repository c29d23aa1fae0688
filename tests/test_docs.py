"""The documentation says what there is."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

from pages import blocks

import hpcsim
from hpcsim.results.figures import FIGURES, FIGURES_OF_MACHINE, FIGURES_OF_WORKFLOW
from hpcsim.results.plots import PLOTS, STANDARD
from hpcsim.testing import scheduler_checks, twin_checks
from hpcsim.workload.cleaning import ALCF_RULES, READER_RULES, SWF_RULES

DOCS = Path(__file__).parents[1] / "docs"


def test_every_column_and_every_key_of_a_run_is_documented_and_no_other():
    there = {"twins", "metrics", "metric_errors", "observers", "observer_errors"}  # of some runs
    cores = {"jobs": 50, "physics": {"heat": True, "processors": "cores"}}
    weighs = {"jobs": 20, "scheduler": "aims"}
    for scenario, more in (("polaris", {"jobs": 50}), ("polaris", cores), ("workflows", {}), ("cooley", weighs)):
        run = hpcsim.simulate(scenario, more)
        there |= set(run.summary)
        for table in run.tables.values():
            there |= set(table.column_names)
    text = (DOCS / "results.md").read_text()
    rows = [line for line in text[text.index("## jobs.parquet") :].splitlines() if line.startswith("| `")]
    described = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert described == there


def test_every_cleaning_rule_is_documented_as_it_describes_itself():
    text = (DOCS / "traces.md").read_text()
    for rules in (SWF_RULES, ALCF_RULES, READER_RULES):
        rows = [f"| `{rule.name}` | {rule.effect} | {rule.about} |" for rule in rules]
        assert "\n".join(rows) in text


def test_every_figure_is_documented_as_it_describes_itself():
    text = (DOCS / "results.md").read_text()
    figures = (*FIGURES, *FIGURES_OF_WORKFLOW, *FIGURES_OF_MACHINE)
    for names, unit, formula in figures:
        assert f"| {', '.join(f'`{name}`' for name in names)} | {unit} | {formula} |".replace("|  |", "| |") in text
    assert {name for figure in figures for name in figure.names} == set(hpcsim.simulate("workflows").summary)


def test_every_plot_is_documented_with_its_question():
    text = (DOCS / "seeing.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.+\?) \|(.*)\|(.*)\|$", text, re.MULTILINE)
    assert [(name, question) for name, question, _, _ in rows] == [
        (plot.name, plot.question) for plot in PLOTS.values()
    ]
    assert tuple(name for name, _, _, always in rows if always.strip()) == STANDARD
    assert [name for name, _, needs, _ in rows if "physics" not in needs] == [
        plot.name
        for plot in PLOTS.values()
        if not (plot.key or {"power", "temperature", "interrupts"} & set(plot.tables))
    ]


def test_every_check_of_the_kit_is_documented_as_it_describes_itself():
    text = (DOCS / "testing.md").read_text()
    for checks in (scheduler_checks(), twin_checks()):
        rows = [f"| `{check.name}` | {check.about} |" for check in checks]
        assert "\n".join(rows) in text


def test_the_examples_of_the_kit_run(tmp_path):
    inherited, listed = blocks("docs/testing.md", "python")
    exec(listed, {})
    (tmp_path / "test_mine.py").write_text(inherited)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", f"--rootdir={tmp_path}", "test_mine.py"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(DOCS.parent)}, capture_output=True, text=True,
    )  # fmt: skip
    assert re.search(r"\n22 passed, 1 xfailed in ", ran.stdout), ran.stdout


def test_the_table_of_baselines_says_what_it_shows_and_why_two_are_alike():
    made = importlib.import_module("benchmarks.baselines")
    first, *parts = (DOCS / "baselines-table.md").read_text().split("\n\n")
    assert first == "# The baselines on the same jobs"
    assert parts[0].startswith("What every rule-based scheduler makes of the same jobs")
    assert all(said in parts for said in made.ALIKE.values())
    fcfs, flux = (["fcfs", 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], ["flux", 1.0, 2.0, 3.0, 4.0, 5.5, 6.6, 7.7, 8.8])
    assert made.ALIKE["fcfs", "flux"] in made.markdown([fcfs, flux], "made")
    assert "to the last digit" not in made.markdown([fcfs, [*flux[:4], 4.5, *flux[5:]]], "made")


def test_what_the_networks_may_do_is_in_the_docs_as_the_command_prints_it(capsys):
    importlib.import_module("benchmarks.aims_networks").main()
    assert capsys.readouterr().out in (DOCS / "aims.md").read_text()


def test_the_page_about_aims_is_of_the_rows_that_are_kept(capsys):
    """Its last table, and how many cells it is of; the other tables take a minute."""
    question = importlib.import_module("benchmarks.aims_question")
    cells = question.with_means(question.rows_in([DOCS / "evidence" / "question.csv"]))
    question.bought(cells, "aims")
    page = (DOCS / "aims-question.md").read_text()
    assert capsys.readouterr().out in page
    assert f"of {cells.count('done'):,} cells" in page


def test_what_the_docs_of_aims_say_in_short_is_on_the_page_of_its_evidence():
    text, page = (DOCS / "aims.md").read_text(), (DOCS / "aims-question.md").read_text()
    table = text[text.index("| claimed | against EASY |") : text.index("**What it was bought with.**")]
    said = re.findall(r"\d+\.\d", re.sub(r"^\| [a-z].*? \|", "", table, flags=re.MULTILINE))
    assert len(said) > 20
    on_page = set(re.findall(r"\d+\.\d", page))
    assert [number for number in said if number not in on_page] == []
