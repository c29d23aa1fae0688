"""``hpcsim explain``: why a job of a finished run waited, and why it started when it did."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click

_WIDEST = 100  # columns that are easy to read


@click.command(short_help="Say why a job of a run waited and started when it did.")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("job")
@click.option("--json", "as_json", is_flag=True, help="Print what the answer is made of as JSON.")
def explain(run: Path, job: str, as_json: bool) -> None:
    """Say why JOB, by its name in the trace, waited and started when it did in the run directory RUN.

    It is told from what the run left behind: times are in UTC. Of a name such as 1234.machine, 1234 is enough.
    """
    from hpcsim.results.answer import answer
    from hpcsim.results.choices import choice_of, told
    from hpcsim.results.explain import explain as explain_job
    from hpcsim.results.run import reading

    with reading([run]) as [read]:
        found = explain_job(read, job)
        weighed = [choice_of(read, found.job_id, each.start_s) for each in found.attempts]
        if as_json:
            told_of_choices = {"weighed": weighed} if any(weighed) else {}
            text = json.dumps(found.as_data() | told_of_choices, indent=2, ensure_ascii=False)
        else:
            columns = shutil.get_terminal_size().columns
            parts = [answer(found, min(columns, _WIDEST)), *(["", *told(rows, columns)] for rows in weighed if rows)]
            text = "\n".join(line for part in parts for line in part)
    click.echo(text)
