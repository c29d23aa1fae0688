"""From when to when a run went, as its tables tell: the same for plots, pages, traces and replays."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from hpcsim.errors import InputError
from hpcsim.results.run import Run
from hpcsim.results.tables import UNFINISHED
from hpcsim.scenario.times import Instant
from hpcsim.strict_yaml import parse_mapping


def period_s(run: Run) -> tuple[int, int]:
    """The first second of ``run`` and its last, since ``t0_utc``.

    The last is the last end, or the last submission if that is later; of a run that was stopped while jobs were
    waiting or running it is when it was stopped.
    """
    time_s = run.tables["timeline"].column("time_s")
    begin = int(time_s[0].as_py()) if len(time_s) else 0
    columns = (("timeline", "time_s"), ("jobs", "submit_s"), ("jobs", "end_s"))
    lasts = [pc.max(run.tables[table].column(name)).as_py() for table, name in columns]
    end = max(int(last) for last in (begin, *lasts) if last is not None)
    state = run.tables["jobs"].column("state").cast(pa.string())
    if pc.any(pc.is_in(state, value_set=pa.array(UNFINISHED))).as_py():
        end = max(end, _stopped_s(run) or end)
    return begin, end


def _stopped_s(run: Run) -> int | None:
    """Until when the scenario asked for the run, if it did."""
    try:
        until = parse_mapping(run.scenario_yaml, "scenario.yaml").data.get("until")
        return None if until is None else Instant.parse(until).seconds(int(run.manifest["t0_utc"]))
    except (InputError, ValueError):  # written by hand, or by an older hpcsim
        return None
