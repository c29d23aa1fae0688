"""What a run rests on, as BibTeX: its scheduler, levers and twins, where its jobs come from, and its physics.

An element of ``cites`` is a key of ``references.bib``, or a whole BibTeX entry, which begins with ``@``. The keys of
the physics are those of the sources that the modules of ``hpcsim.machine`` name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from hpcsim.errors import InputError
from hpcsim.machine.catalogue import machine_names
from hpcsim.scenario.models import Scenario
from hpcsim.workload import toy

_ENTRY = re.compile(r"@\w+\{\s*([^\s,{}]+)\s*,")

_FORMATS = {"alcf": ("ALCFData",), "swf": ("Chapin1999", "Feitelson2014"), "wfcommons": ("Coleman2022",)}
_PROFILES = ("ALCFData", "LublinFeitelson2003", "ZakayFeitelson2013")
_TOY = ("Wang2021", "Mao2016")
_LOAD = ("Feitelson2015",)
_SHAKE = ("TsafrirOuaknine2007",)
_CLOSEDLOOP = ("ShmueliFeitelson2009", "ZakayFeitelson2014")

_POWER = ("Brewer2024", "HsuFeng2005", "Etinski2012")
_COOLING = ("Moore2005",)
_HEAT = ("Incropera2002", "Tang2008")
_FAILURES = ("SchroederGibson2010", "Di2019", "LewisShedler1979", "Cox1962")
_VARIATION = ("Patki2023",)
_CHECKPOINTS = ("Young1974", "Daly2006")
_SOLAR = ("Michalsky1988", "Haurwitz1945", "KastenCzeplak1980", "Erbs1982", "Dobos2014")
_CENTRE = ("ALCFGuides",)


@cache
def references() -> Mapping[str, str]:
    """The entries of ``references.bib``: text by key. Raises ValueError where a paragraph is no entry."""
    text = (files("hpcsim.results") / "references.bib").read_text("utf-8")
    return {key_of(entry): entry for entry in text.strip().split("\n\n")}


def key_of(entry: str) -> str:
    """The key of one BibTeX entry. Raises ValueError for what is none, or is not closed."""
    entry = entry.strip()
    found = _ENTRY.match(entry)
    if found is None or entry.count("{") != entry.count("}") or not entry.endswith("}"):
        raise ValueError(f"found {entry[:60]!r}, expected a BibTeX entry, @kind{{key, field = {{value}}, ...}}")
    return found[1]


def own(version: str) -> str:
    """The entry of hpcsim itself, ``@misc``, because the styles of BibTeX know neither software nor its version."""
    return (
        "@misc{hpcsim,\n  author = {{The hpcsim authors}},\n"
        "  title = {hpcsim: replay the jobs of real supercomputers under pluggable schedulers},\n"
        f"  howpublished = {{Computer program, version {version}}},\n}}"
    )


def cites_of(plugin: Any) -> list[str]:
    """What a plug-in, class or object, declares to rest on."""
    return [*getattr(plugin, "cites", ())]


def cites_of_run(
    scenario: Scenario,
    scheduler: Any,
    levers: Sequence[Any] = (),
    twins: Iterable[Any] = (),
    *,
    reads: tuple[str, type | None] | None = None,
    metrics: Mapping[str, type] | None = None,
) -> dict[str, list[str]]:
    """What a run of ``scenario`` rests on: keys and entries by what each of them is for.

    ``reads`` is the format of the trace with its reader, None for one of hpcsim's own; ``metrics`` are by name.
    """
    found = {f"scheduler {scheduler.name}": cites_of(scheduler)}
    found |= {f"lever {lever.name}": cites_of(lever) for lever in levers}
    found |= {f"twin {twin.name}": cites_of(twin) for twin in twins}
    found["workload"] = _of_workload(scenario, reads)
    found["load"] = [*_LOAD] if scenario.load is not None else []
    found["shaken jobs"] = [*_SHAKE] if scenario.shake is not None else []
    found["closed loop"] = [*_CLOSEDLOOP] if scenario.closed_loop is not None else []
    found |= {f"metric {name}": cites_of(metric) for name, metric in (metrics or {}).items()}
    physics = scenario.physics
    if physics is not None:
        if scenario.machine.model in machine_names():  # all of them are of one centre
            found[f"machine {scenario.machine.model}"] = [*_CENTRE]
        found |= {"power": [*_POWER], "cooling": [*_COOLING]}
        found |= {
            name: [*keys]
            for name, keys, used in (
                ("heat", _HEAT, physics.heat),
                ("failures", _FAILURES, physics.failures),
                ("node variation", _VARIATION, physics.variation),
                ("checkpoints", _CHECKPOINTS, physics.checkpoint is not None),
                ("solar plant", _SOLAR, physics.solar_kw is not None),
                ("blocks of the torus", _CENTRE, physics.placement in ("torus", "recorded")),
                ("queue rules", _CENTRE, physics.queues is True),
            )
            if used
        }
    return {name: cites for name, cites in found.items() if cites}


def _of_workload(scenario: Scenario, reads: tuple[str, type | None] | None) -> list[str]:
    if reads is None:
        return [*(_TOY if scenario.profile == toy.NAME else _PROFILES)]
    form, reader = reads
    return [*_FORMATS[form]] if reader is None else cites_of(reader)


def bibtex(cites: Mapping[str, Sequence[str]]) -> list[str]:
    """The entries of what is cited, each once, in the order of keys; before each, what it is for, as a comment.

    Raises InputError for a key that stands nowhere.
    """
    known = references()
    entries: dict[str, str] = {}
    purposes: dict[str, list[str]] = {}
    wrong = []
    for purpose, cited in cites.items():
        for each in cited:
            try:
                key = key_of(each) if each.lstrip().startswith("@") else each
                entries.setdefault(key, each.strip() if key != each else known[key])
            except (KeyError, ValueError) as error:
                what = f"no entry of references.bib has the key {each!r}" if isinstance(error, KeyError) else str(error)
                wrong.append(f"{purpose}: cites: {what}")
                continue
            purposes.setdefault(key, []).append(purpose)
    if wrong:
        raise InputError("\n".join(wrong))
    return [f"% {', '.join(dict.fromkeys(purposes[key]))}\n{entries[key]}" for key in sorted(entries, key=str.lower)]
