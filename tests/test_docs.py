"""The documentation says what there is."""

import re
from pathlib import Path

import hpcsim

DOCS = Path(__file__).parents[1] / "docs"


def test_every_column_and_every_key_of_a_run_is_documented_and_no_other():
    run = hpcsim.simulate("polaris", {"jobs": 50})
    there = set(run.summary)
    for table in run.tables.values():
        there |= set(table.column_names)
    text = (DOCS / "results.md").read_text()
    rows = [line for line in text[text.index("## jobs.parquet") :].splitlines() if line.startswith("| `")]
    described = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert described == there
