"""``hpcsim machines``: which machines are in the catalogue, and what is known of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpcsim.cli.plugins import load_and_complain, plugin_option

if TYPE_CHECKING:
    from rich.console import Console

    from hpcsim.machine.catalogue import Fact
    from hpcsim.machine.spec import MachineSpec

_WIDE = 120  # columns that the sources need beside the values


@click.command(short_help="List the machines of the catalogue, or the facts of one.")
@click.argument("name", required=False)
@plugin_option
def machines(name: str | None, plugins: tuple[Path, ...]) -> None:
    """List the machines of the catalogue; with NAME, or a YAML file, every fact of that machine.

    A fact is published (somebody's figure), derived (computed from published figures) or assumed (hpcsim's own).
    """
    from rich.console import Console

    from hpcsim.machine.catalogue import load_machine, machine_facts

    found = load_and_complain(plugins)
    console = Console(highlight=False)
    if name is None:
        _print_list(console, found.machines)
    else:
        _print_facts(console, load_machine(name, found.machines), machine_facts(name, found.machines))


def _print_list(console: Console, others: Mapping[str, Path]) -> None:
    from rich.table import Table

    from hpcsim.machine.catalogue import load_machine, machine_names

    table = Table("name", box=None, pad_edge=False)
    for heading in ("nodes", "racks", "cores", "GPUs", "GiB", "idle", "peak"):
        table.add_column(heading, justify="right")
    for name in machine_names(others):
        spec = load_machine(name, others)
        each = (spec.cores_per_node, spec.gpus_per_node, spec.memory_gib)
        idle, peak = _it_power_w(spec)
        table.add_row(
            name, f"{spec.nodes:,}", f"{spec.racks:,}", *[f"{count:,g}" for count in each], _watts(idle), _watts(peak)
        )
    console.print(table)
    console.print("\ncores, GPUs and memory per node; IT power, all nodes idle and at full load")


def _print_facts(console: Console, spec: MachineSpec, facts: list[Fact]) -> None:
    idle, peak = _it_power_w(spec)
    size = f"{spec.nodes:,} nodes in {spec.racks:,} racks"
    console.print(f"{spec.name}: {size}, IT power {_watts(idle)} to {_watts(peak)}", style="bold", markup=False)
    if console.width < _WIDE:
        _print_narrow(console, facts)
    else:
        _print_wide(console, facts)


def _print_wide(console: Console, facts: list[Fact]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("value", justify="right", max_width=30)
    for heading in ("unit", "mark", "source"):
        table.add_column(heading, no_wrap=heading != "source")
    for section, members in _by_section(facts):
        if section:
            table.add_row()
            table.add_row(Text(section, style="italic"))
        for key, fact in members:
            cells = (_shown(fact.value), _unit(fact), fact.mark, fact.source)
            table.add_row(key, *[Text(cell) for cell in cells])
    console.print(table)


def _print_narrow(console: Console, facts: list[Fact]) -> None:
    """The source below the value, for it finds no room beside it."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for section, members in _by_section(facts):
        if section:
            table.add_row()
            table.add_row(Text(section, style="italic"))
        for key, fact in members:
            value = f"{_shown(fact.value)} {_unit(fact)}".strip()
            table.add_row(key, Text.assemble(f"{value}, {fact.mark}\n", (fact.source, "dim")))
    console.print(table)


def _by_section(facts: list[Fact]) -> Iterator[tuple[str, list[tuple[str, Fact]]]]:
    """The facts of each section, with their keys in it; those of the machine itself in the section ``""``."""
    parts = [(fact.key.rpartition("."), fact) for fact in facts]
    for section, members in groupby(parts, lambda part: part[0][0]):
        yield section, [(key, fact) for (_, _, key), fact in members]


def _it_power_w(spec: MachineSpec) -> tuple[float, float]:
    """Wall watts of the whole machine without cooling: all nodes idle, and all at full load."""
    power = spec.power
    idle = spec.nodes * power.idle_w + power.fixed_w
    return idle, idle + spec.nodes * (power.cpu_dyn_w + power.gpu_dyn_w)


def _watts(watts: float) -> str:
    return f"{watts / 1e6:.2f} MW" if watts >= 1e6 else f"{watts / 1e3:.1f} kW"


def _unit(fact: Fact) -> str:
    return "" if fact.unit in ("1", "name") or fact.value is None else fact.unit


def _shown(value: Any) -> str:
    """A value as people read it; lists of pairs as ``1: 0.9, 2: 0.1``."""
    if isinstance(value, list):
        pairs = isinstance(value[0], list)
        return ", ".join(":\N{NO-BREAK SPACE}".join(map(_shown, part)) if pairs else _shown(part) for part in value)
    if isinstance(value, int | float):
        return f"{value:,}"
    return "none" if value is None else str(value)
