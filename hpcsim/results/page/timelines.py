"""What happened over time in a run: its curves, the panels that show them, and what was out of service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hpcsim.results.page.pack import named, whole
from hpcsim.results.page.steps import packed_steps
from hpcsim.results.period import period_s
from hpcsim.results.run import Run

_PLANNED = ("maintenance",)  # causes that nobody calls a failure
_FEW = 50_000  # interrupts that a page names; above, only the curve of nodes out of service tells of them


def timelines(run: Run, share: int = 1) -> dict[str, Any]:
    """Seconds since ``t0_utc`` from ``begin_s`` to ``end_s``, curves by table, interrupts, and what is missing."""
    time_s = run.tables["timeline"].column("time_s").to_numpy()
    begin_s, end_s = period_s(run)
    end_s = max(end_s, begin_s + 1)
    tables = {
        "timeline": (time_s, _columns(run.tables["timeline"], ("queue", "running", "busy_nodes"))),
        "submitted": _counted(run.tables["jobs"], "submit_s", begin_s),
        "completed": _counted(run.tables["jobs"], "end_s", begin_s, "completed"),
    }
    for name, of_run in run.tables.items():
        if name in ("power", "grid", "temperature") and of_run.num_rows:
            known = [each for each in of_run.column_names if of_run[each].null_count < len(of_run)]
            known.remove("time_s")
            tables[name] = (of_run.column("time_s").to_numpy(), _columns(of_run, known))
    interrupts = run.tables.get("interrupts")
    if interrupts is not None and interrupts.num_rows:
        tables["away"] = _away(interrupts, begin_s, end_s)
    return {
        "begin_s": begin_s,
        "end_s": end_s,
        "curves": {
            name: packed_steps(at, columns, end_s, share=share) for name, (at, columns) in tables.items() if at.size
        },
        "interrupts": _interrupts(interrupts),
        "missing": _missing(run),
    }


def panels(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """What is drawn above one another: of one run all its curves, of several the first of each panel and run.

    A line names its run by number, its curve as ``table.column``, its factor and its colour. A title may have a
    second one after a ``|``, for several runs.
    """
    found = []
    for panel in _all_panels(runs):
        lines = [
            {"run": number, "curve": curve, "name": name, "factor": factor, **style}
            for curve, name, factor, style in (panel["lines"] if len(runs) == 1 else panel["lines"][:1])
            for number, run in enumerate(runs)
            if _has(run, curve)
        ]
        if lines:
            title, _, title_of_several = panel["title"].partition("|")
            found.append(panel | {"lines": lines, "title": title if len(runs) == 1 else title_of_several or title})
    return found


def _all_panels(runs: Sequence[Run]) -> list[dict[str, Any]]:
    peak_w = max((_most(run, "power", ("facility_w", "solar_w")) for run in runs), default=0.0)
    watts, w = ("MW", 1e-6) if peak_w >= 1e6 else ("kW", 1e-3)
    nodes = {int(run.manifest["machine"]["nodes"]) for run in runs}
    of_nodes = f"% of {nodes.pop():,} nodes" if len(nodes) == 1 else "% of all nodes"
    dashed = {"dashed": True}
    return [
        _panel(
            "utilisation", "Busy nodes", of_nodes, ("timeline.busy_nodes", "busy", "nodes", {"colour": 1}), top=100,
        ),
        _panel(
            "queue", "Waiting and running jobs|Waiting jobs", "jobs", ("timeline.queue", "waiting", 1, {"colour": 2}),
            ("timeline.running", "running", 1, {"colour": 1}),
        ),
        _panel(
            "completed", "Jobs so far|Jobs completed so far", "jobs", ("completed.jobs", "completed", 1, {"colour": 3}),
            ("submitted.jobs", "submitted", 1, {"colour": 5} | dashed),
        ),
        _panel(
            "power", "Power|Power of the facility", watts, ("power.facility_w", "facility", w, {"colour": 2}),
            ("power.it_w", "nodes and switches", w, {"colour": 1}),
            ("power.solar_w", "solar plant", w, {"colour": 3}),
            ("grid.cap_w", "cap", w, {"colour": 4} | dashed),
        ),
        _panel("price", "Price of the grid's energy", "USD/kWh", ("grid.price_usd_per_kwh", "price", 1, {"colour": 4})),
        _panel("carbon", "Carbon intensity", "g/kWh", ("grid.carbon_g_per_kwh", "carbon", 1, {"colour": 7})),
        _panel(
            "temperature", "Temperature|Hottest node", "°C",
            ("temperature.hottest_c", "hottest node", 1, {"colour": 2}),
            ("temperature.hottest_gpu_c", "hottest GPU", 1, {"colour": 4}),
            ("temperature.mean_c", "mean of all nodes", 1, {"colour": 1}),
            ("temperature.supply_c", "supply", 1, {"colour": 3} | dashed),
            joined=True, floor=None,
        ),
        _panel(
            "throttled", "Nodes throttled for heat", "nodes",
            ("temperature.throttled_nodes", "throttled", 1, {"colour": 4}),
        ),
        _panel(
            "away", "Nodes out of service", "nodes",
            ("away.all", "failures and maintenance", 1, {"colour": 7}), steep=True,
        ),
    ]  # fmt: skip


def _panel(
    name: str, title: str, unit: str, *lines: tuple[str, str, Any, dict[str, Any]], **more: Any
) -> dict[str, Any]:
    return {"id": name, "title": title, "unit": unit, "lines": lines, "joined": False, "floor": 0} | more


def _has(run: Run, curve: str) -> bool:
    name, column = curve.split(".")
    if name == "away":
        return _rows(run, "interrupts") > 0
    if name in ("completed", "submitted"):
        return _rows(run, "jobs") > 0
    if column in ("solar_w", "throttled_nodes"):
        return _most(run, name, (column,)) > 0  # there is no solar plant, or no node was too warm
    if name not in run.tables or column not in run.tables[name].column_names:
        return False
    return _rows(run, name) > int(run.tables[name][column].null_count)


def _rows(run: Run, table: str) -> int:
    return int(run.tables[table].num_rows) if table in run.tables else 0


def _most(run: Run, table: str, columns: Sequence[str]) -> float:
    if not _rows(run, table):
        return 0.0
    return max(float(run.tables[table][column].to_numpy().max()) for column in columns)


def _columns(table: pa.Table, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    return {name: table.column(name).to_numpy() for name in names}


def _counted(
    jobs: pa.Table, moment: str, begin_s: int, state: str = ""
) -> tuple[npt.NDArray[Any], Mapping[str, npt.NDArray[Any]]]:
    """How many jobs have had this moment, of those that ended in ``state``; 0 of them before the run began."""
    if state:
        jobs = jobs.filter(pc.equal(jobs.column("state").cast(pa.string()), state))
    else:
        jobs = jobs.filter(pc.not_equal(jobs.column("state").cast(pa.string()), "unsubmitted"))
    moments = np.maximum(jobs.column(moment).drop_null().to_numpy(), begin_s)
    seconds, count = np.unique(np.append(moments, begin_s), return_counts=True)
    return seconds, {"jobs": np.cumsum(count) - 1}


def _away(interrupts: pa.Table, begin_s: int, end_s: int) -> tuple[npt.NDArray[Any], Mapping[str, npt.NDArray[Any]]]:
    """Nodes out of service."""
    from_s, until_s, nodes = (interrupts.column(name).to_numpy() for name in ("time_s", "until_s", "nodes"))
    moment = np.concatenate([[begin_s], np.maximum(from_s, begin_s), np.minimum(until_s, end_s)])
    change = np.concatenate([[0], nodes, -nodes])
    seconds, number = np.unique(moment, return_inverse=True)
    return seconds, {"all": np.cumsum(np.bincount(number, change).astype(np.int64))}


def _interrupts(table: pa.Table | None) -> dict[str, Any] | None:
    if table is None or not 0 < table.num_rows <= _FEW:
        return None
    times = {name: whole(table.column(name)) for name in ("time_s", "until_s", "nodes", "jobs")}
    return times | {"cause": named(table.column("cause")), "planned": list(_PLANNED)}


def _missing(run: Run) -> list[str]:
    """In words, which curves this run does not have, and why."""
    if "power" not in run.tables:
        return ["It has no physics: nodes were only counted, so there is no power, temperature or failure."]
    found = []
    if "grid" not in run.tables:
        found.append("It has no grid.parquet (an older hpcsim made it): no cap, price or carbon over time.")
    if "temperature" not in run.tables:
        why = "an older hpcsim made it" if run.summary.get("hottest_node_c") is not None else "physics.heat is off"
        found.append(f"It has no temperature.parquet ({why}): no temperatures over time.")
    elif not _has(run, "temperature.throttled_nodes"):
        found.append("At none of the seconds of temperature.parquet a node was throttled for heat.")
    if not _rows(run, "interrupts"):
        found.append("No node was ever out of service.")
    return found
