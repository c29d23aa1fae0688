"""The table of what the cleaning rules met, for every command that reads a trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def print_cleaning(console: Console, cleaning: Mapping[str, int]) -> None:
    """Print how many rows of a trace each rule dropped, mended or noted; nothing for jobs that are no trace's."""
    from rich.table import Table

    from hpcsim.workload.cleaning import cleaning_table

    if not cleaning:
        return
    table = Table("cleaning rule", box=None, pad_edge=False)
    table.add_column("rows", justify="right")
    table.add_column("were")
    counts = list(cleaning_table(cleaning))
    for counted in counts:
        if counted.rows:
            table.add_row(counted.rule, f"{counted.rows:,}", counted.effect)
    unmet = sum(not counted.rows for counted in counts)
    console.print(f"rows of the trace ({unmet} other rules met none)", style="italic")
    console.print(table)
    console.print()
