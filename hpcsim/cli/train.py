"""``hpcsim train``: train a scheduler that learns."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpcsim.cli import code_of
from hpcsim.cli.needed import need
from hpcsim.cli.target import free_target

if TYPE_CHECKING:
    from hpcsim.training.course import Round, Trained

_AT_ONCE = 8  # days that GreenDRL plays at a time
_OPTION = "scheduler."

_scenarios = click.argument("scenarios", metavar="SCENARIO...", nargs=-1, required=True)
_out = click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=Path("weights"), show_default=True, metavar="DIR",
    help="Where the weights go.",
)  # fmt: skip
_name = click.option("--name", help="What the weights are called; the first scenario's name unless given.")
_seed = click.option("--seed", type=click.IntRange(1, 9_999), default=1, show_default=True, help="Of the training.")
_settings = click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True, help="Change any key of the scenarios."
)


@click.group(short_help="Train a scheduler that learns.")
def train() -> None:
    """Train a scheduler that learns, on months that evaluations never see."""


@train.command(short_help="Train a network of AIMS in episodes of scenarios.")
@_scenarios
@_out
@_name
@_seed
@click.option("--rounds", type=click.IntRange(0), help="How many; the plan's own number unless given.")
@click.option("--days", type=click.FloatRange(0.1), help="Length of an episode.")
@click.option("--held", type=click.IntRange(0), help="Episodes by which it is held to the rule; 0: it is not.")
@click.option("--without", help="Leave something out; `hpcsim train aims bare --without help` lists what can be.")
@click.option("--workers", type=click.IntRange(1), help="Processes that play; one for each core unless given.")
@click.option("--resume", is_flag=True, help="Go on with a training that was stopped.")
@_settings
@click.option("--tensorboard", type=click.Path(path_type=Path), metavar="DIR", help="Write curves for TensorBoard.")
def aims(
    scenarios: tuple[str, ...], out: Path, name: str | None, seed: int, rounds: int | None, days: float | None,
    held: int | None, without: str | None, workers: int | None, resume: bool, settings: tuple[str, ...],
    tensorboard: Path | None,
) -> int:  # fmt: skip
    """Train a network of AIMS on SCENARIO, or on several in turn: a rule shows how, then it learns from what it does.

    The weights are DIR/NAME.json and .safetensors; a scenario uses them by
    scheduler: {name: aims, weights: DIR/NAME.json}. Beside them NAME.checkpoint keeps where a training stands.
    """
    from hpcsim.errors import InputError

    need("torch")
    from hpcsim.schedulers.aims import trained
    from hpcsim.training.ablations import ABLATIONS
    from hpcsim.training.ablations import without as left_out
    from hpcsim.training.course import Plan, train

    if without is not None and without not in ABLATIONS:
        known = "\n".join(f"  {each}: {what}" for each, what in ABLATIONS.items())
        raise InputError(f"--without: found {without!r}, expected one of\n{known}")
    name = name or Path(scenarios[0]).stem
    out = free_target(out, name)
    plan = Plan(scenarios, seed, overrides=_changed(scenarios, settings))
    plan = plan._replace(rounds=plan.rounds if rounds is None else rounds, days=days or plan.days)
    plan = plan._replace(held=plan.held if held is None else held)
    if without is not None:
        plan = left_out(plan, without)
    checkpoint = out / f"{name}.checkpoint"
    with _shown(name, plan.rounds, tensorboard) as told:
        try:
            found = train(
                plan, workers=workers or len(os.sched_getaffinity(0)), checkpoint=checkpoint, resume=resume, told=told
            )
        except KeyboardInterrupt as stop:
            if not checkpoint.exists():
                raise
            click.echo(f"interrupted; --resume goes on from {checkpoint}", err=True)
            return code_of(stop)
    keys = [f"--rounds {plan.rounds} --days {plan.days}", *(f"--set {each}" for each in settings)]
    keys += [f"--held {held}"] if held is not None else []
    keys += [f"--without {without}"] if without else []
    asked = " ".join(["hpcsim train aims", *scenarios, f"--name {name} --seed {seed}", *keys])
    path = trained.write(out, name, found.tensors, found.rates_O, found.usual_O, {"command": asked, **_about(found)})
    checkpoint.unlink(missing_ok=True)
    click.echo(f"{_score(found.score, found.parts)} on episodes that it never learned from; {_held(found.aversion_D)}")
    click.echo(path)
    return 0


@train.command(short_help="Train a network of RLSchert in episodes of scenarios.")
@_scenarios
@_out
@_name
@_seed
@click.option("--steps", type=click.IntRange(0), help="Choices to learn from; the plan's own number unless given.")
@click.option("--episodes", type=click.IntRange(1), help="Of each scenario; the plan's own number unless given.")
@click.option("--load", "loads", type=click.FloatRange(0, 10, min_open=True), multiple=True,
              help="Of episodes, by turns; as the scenario has it unless given.")  # fmt: skip
@click.option("--start", help="Weights to begin with instead of imitation: a name, or a .json file.")
@click.option("--rate", type=click.FloatRange(0, 0.1, min_open=True), help="Of learning, at the beginning.")
@_settings
def rlschert(
    scenarios: tuple[str, ...], out: Path, name: str | None, seed: int, steps: int | None, episodes: int | None,
    loads: tuple[float, ...], start: str | None, rate: float | None, settings: tuple[str, ...],
) -> None:  # fmt: skip
    """Train a network of RLSchert on SCENARIO, or on several: it imitates shortest job first, then PPO improves it.

    The weights are DIR/NAME.json and .safetensors; a scenario uses them by
    scheduler: {name: rlschert, weights: DIR/NAME.json}.
    """
    need("torch")
    need("gymnasium", "sb3_contrib", extra="train")
    from hpcsim.schedulers.rlschert import trained
    from hpcsim.training.rlschert import Plan, Told, train

    name = name or Path(scenarios[0]).stem
    out = free_target(out, name)
    plan = Plan(scenarios, overrides=_changed(scenarios, settings), loads=loads or (None,), seed=seed, start=start)
    episodes = episodes or plan.episodes
    steps = plan.steps if steps is None else steps
    plan = plan._replace(steps=steps, episodes=episodes, checked=max(4, episodes // 8), rate=rate or plan.rate)
    plan = plan._replace(check_every=min(plan.check_every, max(steps // 4, 1)))

    def told(now: Told) -> None:
        click.echo(f"{now.steps:,} of {steps:,} choices: slowdowns {now.score:.3f} of the rule's", err=True)

    found = train(plan, told)
    keys = [f"--steps {steps} --episodes {episodes} --rate {plan.rate:g}", *(f"--load {load:g}" for load in loads)]
    keys += [f"--start {start}"] if start else []
    keys += [f"--set {each}" for each in settings]
    asked = " ".join(["hpcsim train rlschert", *scenarios, f"--name {name} --seed {seed}", *keys])
    about = {"trained_on": list(scenarios), "seed": seed, "steps": found.steps, "score": round(found.score, 4)}
    click.echo(trained.write(out, name, found.tensors, {**about, "command": asked}))


@train.command(short_help="Train a network of GreenDRL on days of scenarios.")
@_scenarios
@_out
@_name
@_seed
@click.option("--steps", type=click.IntRange(0),
              help="Slots to learn from, in whole rounds; the plan's own number unless given.")  # fmt: skip
@click.option("--spans", type=click.IntRange(1), help="For each that plays; the plan's own number unless given.")
@click.option("--days", type=click.FloatRange(0.1, 30), help="Length of a span.")
@click.option("--load", "loads", type=click.FloatRange(0, 10, min_open=True), multiple=True,
              help="Of spans, by chance; those of the plan unless given.")  # fmt: skip
@click.option("--signal", "signals", type=click.Choice(["solar", "carbon", "price"]), multiple=True,
              help="What is green, by turns; twice solar and once carbon unless given.")  # fmt: skip
@click.option("--sun", type=click.FloatRange(0, 100, min_open=True),
              help="kW of modules for a kW that the machine draws at full load.")  # fmt: skip
@click.option("--rate", type=click.FloatRange(0, 0.1, min_open=True), help="Of learning.")
@_settings
def greendrl(
    scenarios: tuple[str, ...], out: Path, name: str | None, seed: int, steps: int | None, spans: int | None,
    days: float | None, loads: tuple[float, ...], signals: tuple[str, ...], sun: float | None, rate: float | None,
    settings: tuple[str, ...],
) -> None:  # fmt: skip
    """Train a network of GreenDRL on SCENARIO, or on several: it imitates a rule, then PPO improves it.

    Each has a profile, of which years are drawn. At least eight are played at a time, the scenarios by turns; one that
    is named twice is played twice as often. The weights are DIR/NAME.json and .safetensors, written whenever they are
    better than before; a scenario uses them by scheduler: {name: greendrl, weights: DIR/NAME.json}.
    """
    need("torch")
    need("gymnasium", "stable_baselines3", extra="train")
    from hpcsim.training.greendrl import Plan, Seen, train_into

    name = name or Path(scenarios[0]).stem
    out = free_target(out, name)
    changed = _changed(scenarios, settings)
    plan = Plan(
        machines=tuple(islice(cycle(scenarios), max(len(scenarios), _AT_ONCE))),
        seed=seed,
        options=tuple((key.removeprefix(_OPTION), value) for key, value in changed if key.startswith(_OPTION)),
        overrides=tuple((key, value) for key, value in changed if not key.startswith(_OPTION)),
    )
    plan = plan._replace(steps=plan.steps if steps is None else steps, spans=spans or plan.spans)
    plan = plan._replace(days=days or plan.days, sun=sun or plan.sun, rate=rate or plan.rate)
    plan = plan._replace(signals=signals or plan.signals, loads=loads or plan.loads)
    rollouts = plan.steps // (plan.rollout * len(plan.machines))
    plan = plan._replace(watch_every=max(1, min(plan.watch_every, rollouts)))

    def told(seen: Seen) -> None:
        click.echo(
            f"{seen.steps:,} of {plan.steps:,} slots: reward {seen.reward:+.3f} on days not learned from", err=True
        )

    keys = [f"--steps {plan.steps} --spans {plan.spans} --days {plan.days:g} --sun {plan.sun:g} --rate {plan.rate:g}"]
    keys += [*(f"--load {load:g}" for load in loads), *(f"--signal {signal}" for signal in signals)]
    keys += [f"--set {each}" for each in settings]
    asked = " ".join(["hpcsim train greendrl", *scenarios, f"--name {name} --seed {seed}", *keys])
    click.echo(train_into(out, name, plan, asked, told))


def _changed(scenarios: tuple[str, ...], settings: tuple[str, ...]) -> tuple[tuple[str, Any], ...]:
    """The keys and values that ``--set`` gives. InputError for such as the scenarios cannot have."""
    from hpcsim.scenario.load import load_scenario
    from hpcsim.strict_yaml import parse_value

    for scenario in dict.fromkeys(scenarios):
        load_scenario(scenario, settings)
    pairs = (each.partition("=") for each in settings)
    return tuple((key.strip(), parse_value(text, f"--set {key}={text}")) for key, _, text in pairs)


def _about(found: Trained) -> dict[str, Any]:
    """What stands in the weights about their training."""
    return {
        "score": found.score,
        "parts": list(found.parts),
        "rounds": [each._asdict() for each in found.rounds if each.score is not None],
        "cpu_s": found.cpu_s,
        "dueling": found.dueling,
        "aversion": list(found.aversion_D),
        "departures": {kinds: each._asdict() for kinds, each in found.tried.items()},
    }


def _held(aversion_D: tuple[float, ...]) -> str:
    from hpcsim.schedulers.aims.choosing import HELD
    from hpcsim.schedulers.aims.shape import DEPARTURES

    kinds = [kind for kind, aversion in zip(DEPARTURES, aversion_D, strict=True) if aversion < HELD]
    return f"it may depart from the rule in: {', '.join(kinds) or 'nothing'}"


def _score(score: float, parts: tuple[float, ...]) -> str:
    from hpcsim.schedulers.aims.shape import OBJECTIVES

    told = ", ".join(f"{name} {part:.3f}" for name, part in zip(OBJECTIVES, parts, strict=True))
    return f"costs {score:.3f} of what the rule does ({told})"


@contextmanager
def _shown(name: str, rounds: int, tensorboard: Path | None) -> Iterator[Callable[[Round], None]]:
    """A bar on the terminal with losses and the last score, a line for each check, and curves where they are wanted."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    curves = _curves(tensorboard, name) if tensorboard is not None else None
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("rounds{task.fields[loss]}{task.fields[score]}"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(name, total=rounds, loss=", the rule shows how", score="")

        def told(done: Round) -> None:
            bar.update(task, completed=done.number, loss=f", loss {done.loss:.4f}")
            if done.score is not None and done.parts is not None:
                bar.update(task, score=f", score {done.score:.3f}")
                console.print(
                    f"round {done.number} of {rounds}, {done.updates} updates: {_score(done.score, done.parts)}",
                    highlight=False, soft_wrap=True,
                )  # fmt: skip
            if curves is not None:
                curves(done)

        yield told


def _curves(directory: Path, name: str) -> Callable[[Round], None]:
    from hpcsim.errors import InputError

    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError("--tensorboard: needs TensorBoard: pip install tensorboard") from error
    writer = SummaryWriter(str(directory / name))

    def told(done: Round) -> None:
        for key, value in done._asdict().items():
            if isinstance(value, float):
                writer.add_scalar(key, value, done.number)
        writer.flush()

    return told
