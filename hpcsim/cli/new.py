"""``hpcsim new``: a package for a plug-in of one's own, with an example that works and its tests."""

from __future__ import annotations

import re
from pathlib import Path

import click

KINDS = ("scheduler", "twin", "metric")
_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


@click.command(short_help="Begin a plug-in of your own: a package with an example and its tests.")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("name")
@click.argument("directory", required=False, type=click.Path(path_type=Path))
def new(kind: str, name: str, directory: Path | None) -> None:
    """Write a package that offers the KIND NAME to hpcsim, into DIRECTORY (by default hpcsim-NAME, here).

    It holds a module with an example that works, its tests, pyproject.toml with the entry point, a README and a file
    for continuous integration.
    """
    from hpcsim.cli.plugins import load_and_complain
    from hpcsim.errors import InputError

    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot be the name of a {kind}; it begins with a small letter, and has small letters, digits "
            "and single dashes, such as shortest-first"
        )
    found = load_and_complain(())
    if name in found.offers[f"{kind}s"]:
        raise InputError(f"a {kind} named {name!r} is there already; hpcsim {kind}s lists all that are taken")
    target = directory or Path(f"hpcsim-{name}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target}: is there already and not an empty directory; nothing was written")
    files = rendered(kind, name)
    try:
        for path, content in files.items():
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (target / path).write_text(content, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{target}: {error.strerror or error}") from error
    click.echo(f"{target}/")
    for path in files:
        click.echo(f"  {path}")
    click.echo("\nInstall it where hpcsim is, and try it:\n")
    click.echo(f"  pip install -e '{target}[test]'")
    for command in _first_commands(kind, name):
        click.echo(f"  {command}")
    click.echo(f"  pytest {target}")


def rendered(kind: str, name: str) -> dict[str, str]:
    """The files of the package by their paths in it."""
    from importlib.resources import files
    from string import Template

    from hpcsim import __version__, plugin

    module = "hpcsim_" + re.sub("[-_]+", "_", name)
    title = "".join(word.capitalize() for word in re.split("[-_]", name))
    if title in plugin.__all__:  # the module imports that
        title += kind.capitalize()
    major, minor, *_ = __version__.split(".")
    says = {
        "kind": kind,
        "name": name,
        "title": title,
        "module": module,
        "distribution": f"hpcsim-{name}",
        "version": __version__,
        "next_version": f"{major}.{int(minor) + 1}",
        "check": f"hpcsim {kind}s" if kind == "metric" else f"hpcsim check {name}",
    }
    folder = files("hpcsim") / "scaffold"
    templates = {
        f"{module}.py": folder / kind / "module.py.tmpl",
        f"tests/test_{module.removeprefix('hpcsim_')}.py": folder / kind / "test.py.tmpl",
        "pyproject.toml": folder / "common" / "pyproject.toml.tmpl",
        "README.md": folder / kind / "README.md.tmpl",
        ".github/workflows/test.yml": folder / "common" / "test.yml.tmpl",
        ".gitignore": folder / "common" / "gitignore.tmpl",
    }
    return {path: Template(file.read_text("utf-8")).substitute(says) for path, file in templates.items()}


def _first_commands(kind: str, name: str) -> tuple[str, ...]:
    if kind == "scheduler":
        return (f"hpcsim run polaris --jobs 2000 --scheduler {name}", f"hpcsim check {name}")
    if kind == "twin":
        return (f"hpcsim run polaris --jobs 2000 --set twins.performance={name}", f"hpcsim check {name}")
    return ("hpcsim run polaris --jobs 2000",)
