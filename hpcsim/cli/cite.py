"""``hpcsim cite``: the BibTeX of what runs used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hpcsim.cli.plugins import load_and_complain, plugin_option


@click.command(short_help="Print the BibTeX of what runs used.")
@click.argument("runs", nargs=-1, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("--scheduler", "schedulers", multiple=True, metavar="NAME", help="What this scheduler rests on.")
@plugin_option
def cite(runs: tuple[Path, ...], schedulers: tuple[str, ...], plugins: tuple[Path, ...]) -> None:
    """Print the BibTeX entries of what each RUN, a run directory, used; each entry once, and what it is for.

    That is hpcsim itself, the scheduler, levers and twins, where the jobs come from, and the physics of the machine.
    """
    import hpcsim
    from hpcsim.errors import InputError
    from hpcsim.results.citations import bibtex, cites_of, own
    from hpcsim.scenario.layers import did_you_mean

    if not runs and not schedulers:
        raise click.UsageError("expected a run directory, or --scheduler NAME")
    used: dict[str, list[str]] = {}
    versions = [hpcsim.__version__] if schedulers else []
    for directory in runs:
        manifest = _manifest(directory)
        versions.append(manifest["hpcsim"])
        for purpose, cites in manifest["cites"].items():
            used[purpose] = list(dict.fromkeys([*used.get(purpose, ()), *cites]))
    if schedulers:
        known = load_and_complain(plugins).schedulers
        for name in schedulers:
            if name not in known:
                names = ", ".join(sorted(known))
                raise InputError(f"no scheduler named {name!r}.{did_you_mean(name, known)} Known: {names}.")
            used[f"scheduler {name}"] = cites_of(known[name])
    own_entries = {"hpcsim": [own(", ".join(dict.fromkeys(versions)))]}
    click.echo("\n\n".join([*bibtex(own_entries), *bibtex(used)]))


def _manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a run directory, without its tables; InputError for what is none, or says nothing of sources."""
    import json

    from hpcsim.errors import InputError
    from hpcsim.results.run import refuse_no_run

    refuse_no_run(directory.expanduser())
    try:
        manifest: dict[str, Any] = json.loads((directory.expanduser() / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{directory}: not a complete run directory: {error}") from error
    if not isinstance(manifest, dict):
        raise InputError(f"{directory}: not a complete run directory: its manifest.json is no object")
    if "cites" not in manifest:
        made_by = manifest.get("hpcsim", "an older hpcsim")
        raise InputError(f"{directory}: its manifest has no cites: it was made by hpcsim {made_by}; run it again")
    return manifest
