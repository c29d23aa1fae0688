"""``hpcsim validate`` and ``hpcsim schema``: is this scenario right, and what may one say?"""

from __future__ import annotations

import json
from pathlib import Path

import click

from hpcsim.errors import InputError
from hpcsim.plugin.loader import load_plugins
from hpcsim.scenario.layers import did_you_mean
from hpcsim.scenario.load import LoadedScenario, load_scenario, scenario_schema


@click.command()
@click.argument("scenarios", nargs=-1, required=True, metavar="SCENARIO...")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override, such as machine.nodes=560.")
@click.option("--trace", metavar="FILE", help="Take the jobs from this trace.")
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="FILE.py",
    type=click.Path(path_type=Path),
    help="Load a plug-in.",
)
def validate(
    scenarios: tuple[str, ...], settings: tuple[str, ...], trace: str | None, plugins: tuple[Path, ...]
) -> None:
    """Check each SCENARIO (a file or a packaged name) and say all that is wrong with it; run nothing."""
    loaded_plugins = load_plugins(plugins)
    for origin, error in loaded_plugins.errors.items():
        click.echo(f"hpcsim: plug-in {origin} is not loaded: {error}", err=True)
    overrides: list[str | tuple[str, object]] = [*settings]
    if trace is not None:
        overrides.append(("trace", trace))
    wrong: list[str] = []
    for source in scenarios:
        try:
            offers = loaded_plugins.offers
            loaded = load_scenario(source, overrides, schedulers=offers["schedulers"], parts=offers)
            _check_jobs(loaded)
        except InputError as error:
            wrong.append(str(error))
        else:
            click.echo(f"OK {source}: {_summary(loaded)}")
    if wrong:
        raise InputError("\n".join(wrong))


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE, not to stdout.")
def schema(output: Path | None) -> None:
    """Print the JSON schema of scenario files, for completion in editors."""
    text = json.dumps(scenario_schema(), indent=2, ensure_ascii=False) + "\n"
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{output}: cannot be written: {error.strerror}") from None


def _check_jobs(loaded: LoadedScenario) -> None:
    """``InputError`` when the named trace or profile is not there; neither is read."""
    from hpcsim.workload.profile import profile_names  # imports numpy, which hpcsim schema can do without

    trace, profile = loaded.scenario.trace, loaded.scenario.profile
    if trace is not None:
        if not Path(trace).is_file():
            raise InputError(f"{loaded.place('trace')}: trace: there is no such file (got {trace!r})")
    elif profile is not None and profile not in profile_names():
        known = profile_names()
        guess = did_you_mean(profile, known)
        place = loaded.place("profile")
        raise InputError(f"{place}: profile: no profile named {profile!r}.{guess} Known: {', '.join(known)}.")


def _summary(loaded: LoadedScenario) -> str:
    scenario = loaded.scenario
    if scenario.trace is not None:
        jobs = f"jobs of {scenario.trace}"
    elif scenario.profile is not None:
        jobs = f"jobs of the profile {scenario.profile}"
    else:
        jobs = "no jobs yet: a run needs --trace FILE"
    nodes = "as many nodes as the trace says" if scenario.machine.nodes is None else f"{scenario.machine.nodes} nodes"
    return f"{scenario.scheduler.name} on {nodes}, {jobs}"
