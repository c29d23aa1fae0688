"""``hpcsim validate`` and ``hpcsim schema``: is this scenario right, and what may one say?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpcsim.cli.plugins import load_and_complain, plugin_option
from hpcsim.errors import InputError
from hpcsim.scenario.layers import FILES, Given, at, did_you_mean
from hpcsim.scenario.load import LoadedScenario, load_scenario, scenario_schema

if TYPE_CHECKING:
    from hpcsim.plugin.loader import Plugins


@click.command()
@click.argument("scenarios", nargs=-1, required=True, metavar="SCENARIO...")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override, such as machine.nodes=560.")
@click.option("--trace", metavar="FILE", help="Take the jobs from this trace.")
@plugin_option
def validate(
    scenarios: tuple[str, ...], settings: tuple[str, ...], trace: str | None, plugins: tuple[Path, ...]
) -> None:
    """Check each SCENARIO (a file or a packaged name) and say what is wrong with it; run nothing.

    First all keys and values are checked, and where these are right, what they name.
    """
    found = load_and_complain(plugins)
    overrides: list[str | tuple[str, object] | Given] = [*settings]
    if trace is not None:
        overrides.append(Given("trace", trace, f"--trace {trace}"))
    wrong: list[str] = []
    for source in scenarios:
        try:
            loaded = load_scenario(
                source, overrides, schedulers=found.schedulers, twins=found.twins, parts=found.offers
            )
        except InputError as error:
            wrong.append(str(error))
            continue
        complaints = []
        for check in (_check_jobs, _check_machine, _check_needs):
            try:
                check(loaded, found)
            except InputError as error:
                complaints.append(str(error))
        if not complaints:
            click.echo(f"OK {source}: {_summary(loaded, found)}")
        wrong += dict.fromkeys(complaints)
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


def _check_jobs(loaded: LoadedScenario, _plugins: Plugins) -> None:
    """``InputError`` when the named trace or profile is not there; neither is read, and the trace may still be none."""
    from hpcsim.workload.synthetic import known_names  # imports numpy, which hpcsim schema can do without

    trace, profile = loaded.scenario.trace, loaded.scenario.profile
    if trace is not None:
        if not Path(trace).is_file():
            raise InputError(f"{loaded.place('trace')}: trace: there is no such file (got {trace!r})")
    elif profile is not None and profile not in known_names():
        known = known_names()
        guess = did_you_mean(profile, known)
        place = loaded.place("profile")
        raise InputError(f"{place}: profile: no profile named {profile!r}.{guess} Known: {', '.join(known)}.")


def _check_machine(loaded: LoadedScenario, plugins: Plugins) -> None:
    """``InputError`` when the machine or its queue rules are wrong, or another file of its physics is not there."""
    for *above, key in FILES:
        file = at(loaded.resolved(), (*above, key))
        if isinstance(file, str) and above and not Path(file).is_file():
            name = ".".join(map(str, (*above, key)))
            raise InputError(f"{loaded.place(*above, key)}: {name}: there is no such file (got {file!r})")
    if loaded.scenario.physics is not None:
        from hpcsim.scenario import physics  # scipy and the machine floor, only where they are needed

        spec = physics.machine_spec(loaded, plugins.machines)
        if spec is not None:
            physics.make_admission(loaded, spec, 0)


def _check_needs(loaded: LoadedScenario, plugins: Plugins) -> None:
    """``InputError`` when the scheduler, a twin or a lever needs what the scenario lacks."""
    from hpcsim.levers import make_levers
    from hpcsim.scenario.build import make_scheduler, make_twins
    from hpcsim.scenario.needs import refuse_lacking

    scheduler = make_scheduler(loaded, plugins.schedulers[loaded.scenario.scheduler.name])
    refuse_lacking(loaded, scheduler, make_twins(loaded, plugins.twins), levers=make_levers(loaded))


def _summary(loaded: LoadedScenario, plugins: Plugins) -> str:
    scenario = loaded.scenario
    if scenario.trace is not None:
        jobs = f"jobs of {scenario.trace}"
    elif scenario.profile is not None:
        jobs = f"jobs of the profile {scenario.profile}"
    else:
        jobs = "no jobs yet: a run needs --trace FILE"
    return f"{scenario.scheduler.name} on {_nodes(loaded, plugins)}, {jobs}"


def _nodes(loaded: LoadedScenario, plugins: Plugins) -> str:
    """How many nodes there will be, as far as the scenario says so."""
    nodes = loaded.scenario.machine.nodes
    if loaded.scenario.physics is not None:
        from hpcsim.scenario import physics  # scipy and the machine floor, only where they are needed

        spec = physics.machine_spec(loaded, plugins.machines)
        nodes = nodes if spec is None else spec.units * spec.unit_nodes
    if nodes is not None:
        return f"{nodes:,} node{'' if nodes == 1 else 's'}"
    return "as many nodes as the trace says" if loaded.scenario.profile is None else "as many nodes as the profile has"
