"""What a report says in words and figures: what ran, its summary, what differs between runs, and what it rests on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import unified_diff
from typing import Any

from hpcsim.errors import InputError
from hpcsim.results.citations import bibtex, own
from hpcsim.results.directions import Better, judged
from hpcsim.results.figures import FIGURES, FIGURES_OF_MACHINE, FIGURES_OF_WORKFLOW
from hpcsim.results.run import Run
from hpcsim.strict_yaml import parse_mapping

# The figures that come first, each if the run has it: key and what to call it.
TILES = (
    ("mean_wait_s", "mean wait"),
    ("median_wait_s", "median wait"),
    ("mean_bounded_slowdown", "mean bounded slowdown"),
    ("utilisation", "utilisation"),
    ("throughput_jobs_per_h", "completed jobs an hour"),
    ("makespan_s", "makespan"),
    ("schedule_length_ratio", "makespan / critical path"),
    ("energy_facility_kwh", "energy of the facility"),
    ("peak_power_kw", "peak power"),
    ("hottest_node_c", "hottest node"),
    ("interrupts", "interrupts"),
    ("carbon_kg", "carbon"),
    ("cost_usd", "cost"),
)

Row = dict[str, Any]


def names(runs: Sequence[Run], directories: Sequence[str]) -> list[str]:
    """A name for each run, as short as tells them apart: its scheduler, its heading, or its directory."""
    for found in ([run.manifest["scheduler"] for run in runs], [run.title for run in runs]):
        if len(set(found)) == len(runs):
            return found
    if len(set(directories)) == len(runs):
        return list(directories)
    return [f"{number}: {name}" for number, name in enumerate(directories, 1)]


def what_ran(run: Run) -> Row:
    """The facts of a run that its page begins with."""
    manifest = run.manifest
    return {
        "heading": run.title,
        "scenario": manifest["scenario"],
        "description": _scenario(run).get("description") or "",
        "scheduler": manifest["scheduler"],
        "levers": list(manifest.get("levers", ())),
        "machine": manifest["machine"]["name"] or "",
        "nodes": manifest["machine"]["nodes"],
        "seed": manifest["seed"],
        "t0_utc": manifest["t0_utc"],
        "jobs": run.jobs_in_words,
        "submitted": run.tables["jobs"].num_rows,
        "in_workload": manifest["workload"]["jobs"],
        "source": manifest["workload"]["source"],
        "until": _scenario(run).get("until"),
    }


def summary_rows(runs: Sequence[Run]) -> list[Row]:
    """Every figure of the summaries: key, unit, formula, and the value of each run (None: it has none)."""
    rows = []
    known: set[str] = set()
    for group, figures in (
        ("Jobs and machine", FIGURES),
        ("Workflow", FIGURES_OF_WORKFLOW),
        ("Energy, heat and failures", FIGURES_OF_MACHINE),
    ):
        for keys, unit, formula in figures:
            known.update(keys)
            for key in keys:
                values = [run.summary.get(key) for run in runs]
                rows += _rows(group, key, unit, formula.replace("`", ""), values, _better(key, runs))
    for key in dict.fromkeys(key for run in runs for key in run.summary):
        if key not in known:
            rows += _of_plugins(key, runs)
    return rows


def _rows(
    group: str, key: str, unit: str, formula: str, values: Sequence[Any], better: Better | None = None
) -> list[Row]:
    """One row, or of a mapping one for each of its keys; none where no run has the key."""
    maps = [value for value in values if isinstance(value, Mapping)]
    if not maps:
        row = {
            "group": group, "key": key, "unit": unit, "formula": formula, "better": better, "values": list(values),
        }  # fmt: skip
        return [row] if any(value is not None for value in values) else []
    parts = dict.fromkeys(part for each in maps for part in each)
    return [
        {
            "group": group, "key": f"{key}: {part}", "unit": unit, "formula": "" if number else formula, "better": None,
            "values": [value.get(part) if isinstance(value, Mapping) else None for value in values],
        }
        for number, part in enumerate(parts)
    ]  # fmt: skip


def _of_plugins(key: str, runs: Sequence[Run]) -> list[Row]:
    """Rows of what plug-ins left: numbers as they are, anything else as JSON."""
    units: dict[str, str] = {}
    for run in runs:
        units |= run.manifest.get("metric_units", {}) if key == "metrics" else {}
    found = _rows("Plug-ins", key, "", "", [run.summary.get(key) for run in runs])
    for row in found:
        row["unit"] = units.get(row["key"].removeprefix(f"{key}: "), "")
        row["values"] = [_plain(value) for value in row["values"]]
    return found


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, int, float)):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def tiles(runs: Sequence[Run]) -> list[Row]:
    """The figures that come first; of jobs as many as the tables have, as everywhere else on the page."""
    units = {key: unit for keys, unit, _ in (*FIGURES, *FIGURES_OF_WORKFLOW, *FIGURES_OF_MACHINE) for key in keys}
    rows: list[Row] = [
        {
            "key": key, "label": label, "unit": units[key], "better": _better(key, runs),
            "values": [run.summary.get(key) for run in runs],
        }
        for key, label in TILES
    ]  # fmt: skip
    of_jobs: dict[str, list[int]] = {
        "jobs": [run.tables["jobs"].num_rows for run in runs],
        "jobs rejected": [run.rejected for run in runs],
    }
    counts = [
        {"key": label, "label": label, "unit": "count", "better": None, "values": counted}
        for label, counted in of_jobs.items()
        if label == "jobs" or any(counted)
    ]
    return [*counts, *(row for row in rows if any(value is not None for value in row["values"]))]


def differing_keys(runs: Sequence[Run]) -> list[Row]:
    """The keys of the scenarios, dotted, that are not alike in all runs, and what each run has (None: no such key)."""
    flat = [_flat(_scenario(run)) for run in runs]
    keys = dict.fromkeys(key for each in flat for key in each)
    rows = [{"key": key, "values": [each.get(key) for each in flat]} for key in keys]
    return [row for row in rows if any(value != row["values"][0] for value in row["values"])]


def differences(runs: Sequence[Run]) -> list[str]:
    """The scenario of each run but the first, as a diff from that of the first; empty where they are the same."""
    first, *others = (run.scenario_yaml.splitlines() for run in runs)
    return ["\n".join([*unified_diff(first, lines, "first", "this", lineterm="", n=2)][2:]) for lines in others]


def warnings(runs: Sequence[Run]) -> list[str]:
    """In words, why figures of these runs may not be comparable."""
    unlike = _unlike(runs)
    return [*unlike, *(["So nothing is called better or worse."] if unlike else []), *_versions(runs)]


def _unlike(runs: Sequence[Run]) -> list[str]:
    """What makes another schedule of another run besides the scheduler: what is better is then not his doing."""
    return _differing(
        ("The runs did not have the same jobs", [_jobs_of(run) for run in runs]),
        ("The machines differ in their number of nodes", [run.manifest["machine"]["nodes"] for run in runs]),
        ("The seeds differ", [run.manifest["seed"] for run in runs]),
    )


def _versions(runs: Sequence[Run]) -> list[str]:
    return _differing(("The versions of hpcsim differ", [run.manifest["hpcsim"] for run in runs]))


def _differing(*facts: tuple[str, Sequence[Any]]) -> list[str]:
    return [
        f"{what}: {', then '.join(map(str, dict.fromkeys(found)))}." for what, found in facts if len(set(found)) > 1
    ]


def _better(key: str, runs: Sequence[Run]) -> Better | None:
    """Which direction of a figure is better, where runs can be compared."""
    return None if _unlike(runs) else judged(key)


def _jobs_of(run: Run) -> str:
    workload = run.manifest["workload"]
    sha256 = f", sha256 {workload['sha256'][:12]}" if workload["sha256"] else ""
    return f"{workload['jobs']:,} jobs from {workload['source']}{sha256}"


def cited(run: Run) -> Row:
    """The BibTeX of what the run rests on, or why there is none."""
    cites = run.manifest.get("cites")
    if cites is None:
        return {"entries": [], "missing": "Its manifest has no cites: an older hpcsim made it."}
    try:
        entries = [*bibtex({"hpcsim": [own(run.manifest["hpcsim"])]}), *bibtex(cites)]
    except InputError as error:  # of a plug-in that is not the one that ran, or another version of hpcsim
        return {"entries": [], "missing": str(error)}
    return {"entries": entries, "missing": ""}


def _scenario(run: Run) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = parse_mapping(run.scenario_yaml, "scenario.yaml").data
    except InputError:  # by hand, or of an older hpcsim; the page shows the text as it is
        return {}
    return found


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Dotted keys of nested mappings."""
    if isinstance(value, Mapping) and value:
        found: dict[str, Any] = {}
        for key, inner in value.items():
            found |= _flat(inner, f"{path}.{key}" if path else str(key))
        return found
    return {path: _plain(value) if not isinstance(value, bool) else str(value).lower()}
