"""What GreenDRL takes from the grid against FIFO and EASY, with slack and without, beside a greedy oracle.

    python -m benchmarks.greendrl [--machine cooley] [--loads 0.5,0.85] [--spans 10] [--days 3] [--sun 1.5]
    python -m benchmarks.greendrl --train [--steps N]       # hpcsim train greendrl, into schedulers/greendrl/trained

Spans of days are spread over a year that no training has seen. All run until their last job has ended, so the work
done is the same in every row; what each takes longer counts. Cuts are of the grid's kWh of all spans together, with
95 % intervals of a bootstrap of spans. ``rule`` is greendrl with the rule that its network imitated before it learned;
``oracle`` knows jobs and sun to come: a ceiling in kind.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import hpcsim.schedulers.greendrl
from hpcsim.engine.simulation import Simulation
from hpcsim.results.energy import J_PER_KWH, power_curve
from hpcsim.schedulers.greendrl.deferring import Deferring
from hpcsim.schedulers.greendrl.greendrl import GreenDRL
from hpcsim.tournament.bootstrap import drawn_again, interval
from hpcsim.training.green_days import CALM, DAY_S, YEAR_DAYS, Year
from hpcsim.training.green_oracle import Planned, greedy_plan
from hpcsim.training.green_rule import by_rule
from hpcsim.training.green_slots import brown_j

TRAINED = Path(hpcsim.schedulers.greendrl.__file__).with_name("trained")
TEST_YEAR = 3000
SLEEP = {"levers.sleep_idle": "auto"}
ROWS: Mapping[str, Mapping[str, Any]] = {
    "fcfs": {"scheduler.name": "fcfs"},
    "fcfs, sleep": {"scheduler.name": "fcfs", **SLEEP},
    "easy, sleep": {"scheduler.name": "easy", **SLEEP},
    "easy, sleep, warm": {"scheduler.name": "easy", **SLEEP, "physics.cooling_mode": "warm"},
    "greendrl, no slack": {"scheduler.name": "greendrl", "scheduler.slack": 0},
    "greendrl, 12 h": {"scheduler.name": "greendrl"},
    "rule, 12 h": {"scheduler.name": "greendrl"},
}


class Taken(NamedTuple):
    """What one run came to: kWh from the grid and in all, node-hours of work done, mean wait in hours, CPU seconds.

    Under carbon intensity or price those of the grid are weighted by it, relative to its mean of the year.
    """

    grid_kwh: float
    facility_kwh: float
    work_h: float
    wait_h: float
    cpu_s: float


def taken(simulation: Simulation, began: float, signal: str) -> Taken:
    """The figures of a run that is over."""
    site = simulation.site
    assert site is not None
    curve, attempts = power_curve(simulation, site), simulation.attempts
    job, start = attempts.column("job"), attempts.column("start")
    nodes = simulation.workload.column("nodes")[job]
    work_s = float(nodes @ (attempts.column("end") - start))
    wait_s = float((start - simulation.submit_s[job]).mean())
    whole_s = np.array([int(curve.time_s[0]), curve.end_s])
    grid_kwh = float(brown_j(simulation, signal, whole_s)[0]) / J_PER_KWH
    all_kwh = curve.joules(curve.facility_w) / J_PER_KWH
    return Taken(grid_kwh, all_kwh, work_s / 3600.0, wait_s / 3600.0, time.process_time() - began)


def compared(
    year: Year, start_s: int, days: float, load: float, options: Mapping[str, Any], signal: str
) -> dict[str, Taken]:
    """All rows of one span."""
    found = {}
    finished: Simulation | None = None
    for name, overrides in ROWS.items():
        began = time.process_time()
        more = options if overrides["scheduler.name"] == "greendrl" else {}
        simulation = year.begin(start_s, days, load, {**more, **overrides})
        if name == "rule, 12 h":
            assert isinstance(simulation.scheduler, GreenDRL)
            simulation.scheduler.choose = by_rule
        simulation.run()
        found[name] = taken(simulation, began, signal)
        finished = simulation if name == "easy, sleep" else finished
    if signal != "solar":
        return found
    assert finished is not None
    began = time.process_time()
    given = GreenDRL.Options.model_validate({key.removeprefix("scheduler."): value for key, value in options.items()})
    deferring = Deferring(given.deferrable, given.slack, given.kappa, given.seed)
    plan = greedy_plan(finished, deferring)
    simulation = year.begin(start_s, days, load, {"scheduler.name": "greendrl"})
    simulation.take_over(Planned(plan))
    simulation.run()
    found["oracle, 12 h"] = taken(simulation, began, signal)
    return found


def cut(of: np.ndarray[Any, Any], against: np.ndarray[Any, Any]) -> str:
    """By how much less the spans take than ``against``, in percent, with its interval."""
    place_U = np.zeros(len(of), int)
    count_BU = drawn_again(place_U)
    share_B = 100.0 * (1.0 - (count_BU @ of) / (count_BU @ against))
    low, high = interval(share_B, place_U)
    return f"{share_B[0]:5.1f} [{float(low):5.1f}, {float(high):5.1f}]"


def trained(steps: int | None) -> None:
    """Train by the default plan and write the weights that ship."""
    from hpcsim.schedulers.greendrl import trained as files
    from hpcsim.training.greendrl import Plan, Seen, train_into

    plan = Plan() if steps is None else Plan(steps=steps)
    began = time.process_time()

    def told(seen: Seen) -> None:
        spent_s = time.process_time() - began
        print(f"{seen.steps:8,} steps, reward {seen.reward:7.3f}, {spent_s:5.0f} CPU s", flush=True)

    asked = " ".join(["hpcsim train greendrl", *plan.machines, f"--name {files.GENERAL} --steps {plan.steps}"])
    print(train_into(TRAINED, files.GENERAL, plan, asked, told))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--machine", default="cooley", help="a packaged scenario (default cooley)")
    arguments.add_argument("--loads", default="0.5,0.85")
    arguments.add_argument("--spans", type=int, default=10, help="spans for each load (default 10)")
    arguments.add_argument("--days", type=float, default=3.0, help="days of submissions in a span (default 3)")
    arguments.add_argument("--sun", type=float, default=1.5, help="kW of modules for a kW at full load (default 1.5)")
    arguments.add_argument("--signal", choices=("solar", "carbon", "price"), default="solar", help="what is green")
    arguments.add_argument("--set", dest="settings", action="append", default=[], help="an option of greendrl: kappa=4")
    arguments.add_argument("--heat", action="store_true", help="with physics.heat")
    arguments.add_argument("--train", action="store_true", help="only train, and write the weights that ship")
    arguments.add_argument("--steps", type=int, help="slots to train on")
    given = arguments.parse_args()
    if given.train:
        trained(given.steps)
        return
    solar = given.signal == "solar"
    options: dict[str, Any] = {} if solar else {"scheduler.signal": given.signal}
    options |= {f"scheduler.{key}": float(value) for key, value in (each.split("=") for each in given.settings)}
    physics = CALM | ({"physics.heat": True} if given.heat else {})
    year = Year(given.machine, TEST_YEAR, given.sun if solar else 0.0, physics)
    rng = np.random.default_rng(1)
    for load in map(float, given.loads.split(",")):
        days = (np.arange(given.spans) + rng.random(given.spans)) * (YEAR_DAYS - 30) / given.spans
        spans = [compared(year, int(day * DAY_S), given.days, load, options, given.signal) for day in days]
        green = f"{given.sun * year.peak_kw:.0f} kW of modules" if solar else given.signal
        print(f"\n{given.machine}, load {load}, {given.spans} spans of {given.days:g} days, {green}")
        print(f"{'':20} {'grid, kWh':>10} {'cut against fcfs, %':>22} {'against easy, sleep, %':>23} "
              f"{'all, kWh':>10} {'work, node-h':>12} {'mean wait, h':>12} {'CPU s':>6}")  # fmt: skip
        grid = {name: np.array([span[name].grid_kwh for span in spans]) for name in spans[0]}
        for name in spans[0]:
            rows = [span[name] for span in spans]
            sums = np.sum(rows, axis=0)
            print(f"{name:20} {sums[0]:10,.0f} {cut(grid[name], grid['fcfs']):>22} "
                  f"{cut(grid[name], grid['easy, sleep']):>23} {sums[1]:10,.0f} {sums[2]:12,.1f} "
                  f"{sums[3] / len(rows):12.2f} {sums[4]:6.1f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
