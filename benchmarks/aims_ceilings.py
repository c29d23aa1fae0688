"""Ceilings for the cells of a tournament: what no schedule can beat, and what one who knows all has reached.

    python -m benchmarks.aims_ceilings tournaments/aims-question
    python -m benchmarks.aims_ceilings aims-question --scenario polaris --load 0.9 --window 2024-01-01T00:00

The tournament may also be a file, or a packaged one by its name. A row for each scenario, window, seed and load is
appended to DIR/ceilings.csv (``--out``). Rows of this version of hpcsim that are there are not made again: so it can be
stopped at any time, and goes on when it is called again, in the order in which windows of all scenarios become whole.
With ``--keep`` no row is made again, whatever version it is of: for changes that the plan and the bounds do not feel.
``python -m benchmarks.aims_question DIR`` shows them beside the results. docs/aims.md says what each bound is.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from hpcsim.errors import HpcsimError
from hpcsim.plugin.loader import load_plugins
from hpcsim.tournament.ceilings import KEYS, append, ceilings, cells_of, rows_of, version
from hpcsim.tournament.clairvoyant import METRICS


def main() -> None:
    """Make the rows that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", help="the directory of a tournament, its file, or the name of a packaged one")
    parser.add_argument("--out", type=Path, help="the file of rows (default DIR/ceilings.csv, or ceilings.csv here)")
    parser.add_argument("--scenario", help="only this one")
    parser.add_argument("--load", help="only this one, such as 0.9 or saturation")
    parser.add_argument("--window", help="only this one, by its label")
    parser.add_argument("--data", type=Path, help="the folder in which traces are looked for")
    parser.add_argument("--tries", type=int, default=30, help="plans that are tried beyond the first 20 (default 30)")
    parser.add_argument("--keep", action="store_true", help="make no row again that an earlier version has made")
    parser.add_argument("--minutes", type=float, default=55.0, help="begin no cell after so long (default 55)")
    asked = parser.parse_args()
    if asked.tries < 0 or asked.minutes <= 0:
        parser.error(f"found --tries {asked.tries} --minutes {asked.minutes:g}, expected 0 or more and above 0")
    began = time.monotonic()
    out = asked.out or (Path(asked.target) / "ceilings.csv" if Path(asked.target).is_dir() else Path("ceilings.csv"))
    try:
        plugins = load_plugins([])
        mine = version(plugins)
        counted = [row for row in rows_of(out) if asked.keep or row["made_by"] == mine]
        done = {tuple(row[key] for key in KEYS) for row in counted}
        wanted = {key: getattr(asked, key) for key in ("scenario", "load", "window")}
        cells = cells_of(asked.target, asked.data, plugins, **wanted)
        missing = [cell for cell in cells if tuple(str(getattr(cell, key)) for key in KEYS) not in done]
        for number, cell in enumerate(missing):
            if time.monotonic() - began > 60.0 * asked.minutes:
                print(f"{len(missing) - number} of {len(cells)} cells are left; call it again", file=sys.stderr)
                return
            row = ceilings(cell, plugins, asked.tries)
            append(out, row)
            shown = ", ".join(f"{m} {row[f'{m}.bound'] or '-'} / {row.get(f'{m}.plan', '-')}" for m in METRICS)
            print(f"{cell.scenario} {cell.window} load {cell.load}: {shown} ({row['cpu_s']} CPU s)", flush=True)
    except HpcsimError as error:
        parser.error(str(error))
    print(f"all {len(cells)} cells are in {out}", file=sys.stderr)


if __name__ == "__main__":
    main()
