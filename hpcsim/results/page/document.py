"""The page as one text: the files beside this one and the data of the runs, with a policy that forbids any network.

All that comes from a run is data: it stands in the page as JSON in which no tag can end, and the page's scripts write
it as text, never as HTML.
"""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from hpcsim.results.page.facts import (
    cited,
    differences,
    differing_keys,
    names,
    summary_rows,
    tiles,
    warnings,
    what_ran,
)
from hpcsim.results.page.job_table import job_table
from hpcsim.results.page.timelines import panels, timelines
from hpcsim.results.page.waits import waits
from hpcsim.results.run import Run

PAGE_BYTES = 14_000_000  # the job table gets what the rest leaves of it
IS_REPORT = "<!doctype html>\n<!-- a report of hpcsim -->"  # how each page begins

_STYLES = ("vendor/uPlot.min.css", "page.css")
_SCRIPTS = (
    "vendor/uPlot.iife.min.js", "words.js", "unpack.js", "steps.js", "chart.js", "timelines.js", "waits.js",
    "energy.js", "jobs.js", "text.js", "page.js",
)  # fmt: skip
_NOTICE = "vendor/LICENSE-uPlot"  # which every copy of uPlot, the first script, is to hold


def write_report(path: Path, runs: Sequence[Run], directories: Sequence[str] = ()) -> None:
    """Write the report of one run, or of several side by side, to ``path``: the same bytes for the same runs.

    ``directories`` name the runs where their schedulers and scenarios do not tell them apart.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")  # so that no page is lost to half of another
    try:
        draft.write_text(page(runs, directories), encoding="utf-8", errors="replace", newline="\n")
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def page(runs: Sequence[Run], directories: Sequence[str] = ()) -> str:
    """The whole page."""
    places = directories or [f"run {number}" for number, _ in enumerate(runs, 1)]
    here = files("hpcsim.results.page")
    styles = [(here / name).read_text("utf-8") for name in _STYLES]
    scripts = [(here / name).read_text("utf-8") for name in _SCRIPTS]
    scripts[0] = f"/*!\n{(here / _NOTICE).read_text('utf-8')}\n*/\n{scripts[0]}"
    content = {
        "policy": f"default-src 'none'; script-src {_hashes(scripts)}; style-src {_hashes(styles)}; "
        "base-uri 'none'; form-action 'none'",
        "title": escape(runs[0].title if len(runs) == 1 else f"hpcsim: {len(runs)} runs compared"),
        "styles": "\n".join(f"<style>{style}</style>" for style in styles),
        "scripts": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    template = Template((here / "page.html").read_text("utf-8"))
    data = _data(runs, names(runs, places))
    if len(runs) == 1:
        taken = sum(
            len(text.encode("utf-8", "replace")) for text in (*content.values(), template.template, _as_json(data))
        )
        tables = runs[0].tables
        data["runs"][0]["jobs"] = job_table(tables["jobs"], tables["attempts"], PAGE_BYTES - taken)
    return f"{IS_REPORT}\n{template.substitute(content, data=_as_json(data))}"


def _data(runs: Sequence[Run], named: Sequence[str]) -> dict[str, Any]:
    alone = len(runs) == 1
    return {
        "runs": [
            {
                "name": name,
                "what": what_ran(run),
                "timelines": timelines(run, len(runs)),
                "split_kwh": run.summary.get("energy_split_kwh"),
                "scenario_yaml": run.scenario_yaml,
                "manifest": run.manifest,
                **({"cited": cited(run)} if alone else {}),
            }
            for name, run in zip(named, runs, strict=True)
        ],
        "panels": panels(runs),
        "tiles": tiles(runs),
        "summary": summary_rows(runs),
        "waits": waits(runs),
        "differing": [] if alone else differing_keys(runs),
        "differences": [] if alone else differences(runs),
        "warnings": [] if alone else warnings(runs),
    }


def _hashes(contents: Sequence[str]) -> str:
    """The sources of a content security policy that allow just these styles or scripts."""
    return " ".join(f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in contents)


def _as_json(data: Any) -> str:
    """JSON that holds nothing that HTML would read as a tag, a comment or a reference."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"), default=dict)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
