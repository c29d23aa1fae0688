"""A simulation in a file, for another process to go on with.

What is written is the state, as plain data (``hpcsim.engine.plain``): JSON, and one NumPy array for each kind of
number, in a zip archive. What never changes (jobs, machine, rules, weather, weights of plug-ins) is not in it: it is
restored into a simulation that was made as the first one was, and a print of all that tells whether it was.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import zipfile
import zlib
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from hpcsim.engine.plain import FOLLOWS, KEPT, Packer, Unpacker, attributes, is_constant
from hpcsim.errors import InputError, SchedulerError
from hpcsim.machine.heat import Heat
from hpcsim.machine.queue_file import QueueRules
from hpcsim.machine.telemetry import WatchedHeat

if TYPE_CHECKING:
    from hpcsim.engine.simulation import Simulation
    from hpcsim.machine.queue_rules import Queue
    from hpcsim.machine.spec import MachineSpec
    from hpcsim.workload.job import Workload

VERSION: Final = 8  # of what the file holds
_FORMAT: Final = "hpcsim snapshot"
_NOT_SOUND: Final = (
    KeyError, ValueError, TypeError, IndexError, AttributeError, OverflowError, RuntimeError,
)  # fmt: skip
"""What reading may raise of a file that was made, or changed, by somebody else."""
_LONGEST_SAID: Final = 300
_LONGEST: Final = 16  # hexadecimal digits of a print

# What of a simulation is its state; all else is made anew, or follows from it.
_STATE: Final = (
    "site", "centre", "pools", "sharing", "held", "queue", "special", "running", "chosen", "releases",
    "free_nodes", "state", "rejected", "rejected_late", "eligible", "held_by", "attempts", "decided", "ledger",
    "agenda", "dependencies", "now", "_pass_is_open", "found_running", "scheduler_rng", "closed_loop",
)  # fmt: skip
_MADE_ALIKE: Final = (
    "nodes", "largest_job", "pass_interval", "launch_latency", "start", "_runtime", "_outcome", "recorded_start_s",
    "_passes_when_idle", "needs",
)  # fmt: skip


def save(simulation: Simulation, path: str | Path) -> None:
    """See ``Simulation.save``."""
    path = Path(path)
    packer = Packer(_numbered_rules(simulation), _machine(simulation))
    packer.number(simulation)
    state = {name: packer.pack(getattr(simulation, name)) for name in _STATE}
    plugins = {kind: _packed(plugin, packer) for kind, plugin in _plugins(simulation).items()}
    header = {
        "format": _FORMAT,
        "version": VERSION,
        "scenario": simulation.scenario_yaml,
        "now": simulation.now,
        "scheduler": simulation.scheduler.name,
        "twins": {question: twin.name for question, twin in simulation.twins.items()},
        "arrived": simulation.next_arrival,
        "prints": _prints(simulation),
    }
    draft = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            file.writestr("snapshot.json", json.dumps(header))
            file.writestr("state.json", json.dumps({"simulation": state, "plugins": plugins}))
            for number, column in enumerate(packer.columns.values()):
                with file.open(f"{number}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, column, allow_pickle=False)
        os.replace(draft, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)


def restore(simulation: Simulation, path: str | Path) -> None:
    """See ``Simulation.restore``."""
    path = Path(path)
    with _opened(path) as file:
        header = _header(file, path)
        _refuse_other(simulation, header, path)
        data = json.loads(file.read("state.json"))
        names = sorted((name for name in file.namelist() if name.endswith(".npy")), key=lambda each: int(each[:-4]))
        read = [np.lib.format.read_array(io.BytesIO(file.read(name)), allow_pickle=False) for name in names]
    try:
        _fill(simulation, header, data, {column.dtype.str: column for column in read})
    except _NOT_SOUND as error:
        raise InputError(f"{path}: not a snapshot that this hpcsim can read ({_said(error)})") from error


def scenario_in(path: str | Path) -> str:
    """The scenario that a snapshot was made of, as YAML; empty if it was made of none. Raises InputError."""
    path = Path(path)
    with _opened(path) as file:
        return str(_header(file, path)["scenario"])


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as file:
            yield file
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, *_NOT_SOUND) as error:
        raise InputError(f"{path}: not a whole snapshot of hpcsim ({_said(error)})") from error


def _said(error: Exception) -> str:
    """What a library complains of, cut: it may repeat 65 kB that it took for a name."""
    return f"{type(error).__name__}: {error}"[:_LONGEST_SAID]


def _header(file: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(file.read("snapshot.json"))
    if header["format"] != _FORMAT:
        raise ValueError(f"found the format {header['format']!r}")
    if header["version"] != VERSION:
        found = f"found version {header['version']} of snapshots, expected {VERSION}"
        raise InputError(f"{path}: {found}: it was written by another hpcsim")
    return header


def _fill(simulation: Simulation, header: dict[str, Any], data: dict[str, Any], columns: dict[str, Any]) -> None:
    unpacker = Unpacker(columns, simulation.workload, _rule_of(simulation), _machine(simulation))
    unpacker.know(0, simulation)
    for name, packed in data["simulation"].items():
        if name not in _STATE:
            raise KeyError(name)
        there = getattr(simulation, name)
        value = unpacker.unpack(packed, there)
        if there is not None and value is not None and type(value) is not type(there):
            raise TypeError(f"{name}: found a {type(value).__name__}, expected a {type(there).__name__}")
        setattr(simulation, name, value)
    for kind, plugin in _plugins(simulation).items():
        _put_back(plugin, data["plugins"][kind], unpacker)
    simulation.go_on_from_here(int(header["arrived"]))


# -- plug-ins -------------------------------------------------------------------------------------


def _plugins(simulation: Simulation) -> dict[str, Any]:
    """All that may keep a state of its own, by what it is: of one that is made of several, these."""
    found: dict[str, Any] = {}
    for kind, plugin in {"scheduler": simulation.scheduler, **simulation.twins}.items():
        parts = getattr(plugin, "snapshot_parts", None)
        found |= {kind: plugin} if parts is None else {f"{kind}.{name}": part for name, part in parts().items()}
    return found


def _packed(plugin: Any, packer: Packer) -> Any:
    """The state of a scheduler or twin: what ``__getstate__`` gives, as for a pickle."""
    state = plugin.__getstate__()
    if isinstance(state, tuple):  # of an object with slots
        state = {name: value for part in state if part for name, value in part.items()}
    packer.foreign = plugin
    packed = {}
    for name, value in (state or {}).items():
        if is_constant(value):
            continue
        try:
            packed[name] = packer.pack_part(value)
        except TypeError as error:
            raise SchedulerError(
                f"{plugin.name} keeps {error} in {name}, which no snapshot can hold; give {type(plugin).__name__} a "
                "__getstate__ that returns plain values (numbers, text, lists, dictionaries, arrays, jobs, objects of "
                "its package) and a __setstate__ that takes them back"
            ) from error
    return packed


def _put_back(plugin: Any, packed: dict[str, Any], unpacker: Unpacker) -> None:
    unpacker.foreign = plugin
    there = dict(attributes(plugin))
    state = {name: unpacker.unpack(value, there.get(name)) for name, value in packed.items()}
    if hasattr(plugin, "__setstate__"):
        plugin.__setstate__(state)
    else:
        for name, value in state.items():
            setattr(plugin, name, value)


def _machine(simulation: Simulation) -> MachineSpec | None:
    return None if simulation.site is None else simulation.site.cluster.spec


# -- what never changes ---------------------------------------------------------------------------


def _numbered_rules(simulation: Simulation) -> dict[int, list[Any]]:
    """Where each queue of the rules stands, by the id of the object."""
    if simulation.centre is None:
        return {}
    periods = enumerate(simulation.centre.admission.rules.periods)
    return {id(queue): [number, name] for number, period in periods for name, queue in period.queues.items()}


def _rule_of(simulation: Simulation) -> Any:
    def rule(period: int, name: str) -> Queue:
        if simulation.centre is None:
            raise ValueError("there are no queue rules")
        return simulation.centre.admission.rules.periods[period].queues[name]

    return rule


def _prints(simulation: Simulation) -> dict[str, str]:
    """A print of each thing that does not change, by what it is."""
    prints = {"the workload": _print_of_jobs(simulation.workload)}
    for name in _MADE_ALIKE:
        prints[f"the simulation's {name.strip('_')}"] = _print(getattr(simulation, name))
    seen: set[int] = set()
    parts: list[Any] = [simulation.site, simulation.centre]
    while parts:
        part = parts.pop()
        kind = Heat if type(part) is WatchedHeat else type(part)
        kept = KEPT.get(kind)
        if kept is None or id(part) in seen:
            continue
        seen.add(id(part))
        for name, value in attributes(part):
            if name not in kept:
                parts.append(value)
            elif name not in FOLLOWS and (text := _print(value)):
                prints.setdefault(f"{kind.__name__}.{name.strip('_')}", text)
    return prints


def _print(value: Any) -> str:
    """A print of a value; empty for what has none."""
    if isinstance(value, QueueRules):
        value = value.periods
    if isinstance(value, array | bytes):
        content = bytes(value)
    elif isinstance(value, np.ndarray):
        content = np.ascontiguousarray(value).tobytes()
    elif isinstance(value, set | frozenset):
        content = repr(sorted(value)).encode()
    elif value is None or isinstance(value, int | float | str | tuple) or is_dataclass(value):
        content = repr(value).encode()
    else:
        return ""
    return hashlib.sha256(content).hexdigest()[:_LONGEST]


def _print_of_jobs(workload: Workload) -> str:
    digest = hashlib.sha256(str(workload.t0_utc).encode())
    for column in workload.table.columns:
        is_number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        values = column.to_numpy() if is_number else column.to_pylist()
        digest.update(values.tobytes() if isinstance(values, np.ndarray) else json.dumps(values).encode())
    return digest.hexdigest()[:_LONGEST]


def _refuse_other(simulation: Simulation, header: dict[str, Any], path: Path) -> None:
    """Raise InputError if the simulation is not made as the one was whose snapshot it is."""
    twins = {question: twin.name for question, twin in simulation.twins.items()}
    for what, found, mine in (
        ("scheduler", header["scheduler"], simulation.scheduler.name),
        ("twins", header["twins"], twins),
    ):
        if found != mine:
            raise InputError(f"{path}: a snapshot with the {what} {found!r}; this simulation has {mine!r}")
    prints = _prints(simulation)
    others = [what for what, text in header["prints"].items() if prints.get(what) != text]
    others += [what for what in prints if what not in header["prints"]]
    if others:
        some = ", ".join(others[:4]) + (f" and {len(others) - 4} more" if len(others) > 4 else "")
        raise InputError(f"{path}: a snapshot of another simulation; made otherwise: {some}")
