"""How close the failures of the catalogue's Mira come to the real machine's, as tables in Markdown.

    python -m benchmarks.failures [--seeds 20] [--years 5] [--shape K] [--recurrence R] [--delay DAYS]

Each figure is the mean over that many simulated machines (seeds 1, 2, ...), without maintenance and whole-system
outages and with no unit above the reference temperature, beside the real one's: 935 hardware service reservations
of Mira from 2013-04-10 to 2018-09-28 (in the repository of LogAider, Di et al.). Figures without a band are shown,
not aimed at. Failures "merged within 6 h" are one if each follows the one before it in at most 6 h. A failure
counts once for each unit of it where recurrence is told. Lead times and false alarms are assumed.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from dataclasses import replace

import numpy as np

from hpcsim.machine.catalogue import load_machine
from hpcsim.machine.failures import Failure, FailureProcess
from hpcsim.machine.spec import MachineSpec

HOUR_S, DAY_S, YEAR_S = 3_600, 86_400, 31_557_600

# The real Mira's value, and the band that the mean of the simulated ones has to be in.
FIGURES: dict[str, tuple[float, tuple[float, float] | None]] = {
    "mean gap, h": (53.8, (53.8 * 0.93, 53.8 * 1.07)),
    "CV of the gaps": (1.40, (1.2, 1.7)),
    "mean gap merged within 1 h, h": (63.9, None),
    "mean gap merged within 6 h, h": (77.5, (70, 85)),
    "mean gap merged within 24 h, h": (100.6, None),
    "repair median (lognormal fit), h": (2.9, (2.9 * 0.9, 2.9 * 1.1)),
    "repair sigma (lognormal fit)": (1.31, (1.31 * 0.9, 1.31 * 1.1)),
    "share of single units": (0.705, (0.65, 0.75)),
    "unit had one within 7 d": (0.275, (0.22, 0.33)),
    "unit had one within 30 d": (0.347, None),
    "capacity lost": (0.0029, None),
}
PRECURSORS = (
    "failures without warning",
    "lead time median, h (repeats have less)",
    "lead time p90, h",
    "false alarms among precursors",
)


def simulated(machine: MachineSpec, seed: int, years: float) -> tuple[dict[str, float], float]:
    """Every figure of one machine under the names that the report uses, and the CPU seconds of its failures."""
    end = round(years * YEAR_S)
    began = time.process_time()
    process = FailureProcess(
        machine.failures, units=machine.units, units_per_rack=machine.units_per_rack, seed=seed, start=0
    )
    failed = []
    while process.next_time < end:
        if failure := process.take(None):
            failed.append(failure)
    cpu_s = time.process_time() - began
    return _figures(failed, machine.units, years) | _precursors(machine, seed, end), cpu_s


def _figures(failed: list[Failure], units: int, years: float) -> dict[str, float]:
    gaps_h = np.diff([each.time for each in failed]) / HOUR_S
    log_repair_h = np.log([each.repair_s / HOUR_S for each in failed])
    last: dict[int, int] = {}
    since_d = []
    for failure in failed:
        for unit in failure.units:
            since_d.append((failure.time - last.get(unit, -YEAR_S)) / DAY_S)
            last[unit] = failure.time
    lost_s = sum(len(each.units) * each.repair_s for each in failed)
    merged = {f"mean gap merged within {h} h, h": float(gaps_h.sum() / (gaps_h > h).sum()) for h in (1, 6, 24)}
    return merged | {
        "mean gap, h": float(gaps_h.mean()),
        "CV of the gaps": float(gaps_h.std() / gaps_h.mean()),
        "repair median (lognormal fit), h": float(np.exp(log_repair_h.mean())),
        "repair sigma (lognormal fit)": float(log_repair_h.std()),
        "share of single units": float(np.mean([len(each.units) == 1 for each in failed])),
        "unit had one within 7 d": float((np.array(since_d) <= 7).mean()),
        "unit had one within 30 d": float((np.array(since_d) <= 30).mean()),
        "capacity lost": lost_s / (units * years * YEAR_S),
    }


def _precursors(machine: MachineSpec, seed: int, end: int) -> dict[str, float]:
    """Once more, looking at the precursors that are at full strength when their candidate's time has come."""
    process = FailureProcess(
        machine.failures, units=machine.units, units_per_rack=machine.units_per_rack, seed=seed, start=0
    )
    leads_h, unwarned, false = [], 0, 0
    while process.next_time < end:
        due = bool((process.precursors(process.next_time).strength == 1.0).any())
        failure = process.take(None)
        if failure is None:
            false += due
        elif failure.precursor_s:
            leads_h.append(failure.precursor_s / HOUR_S)
        else:
            unwarned += 1
    values = (unwarned / (unwarned + len(leads_h)), np.median(leads_h), np.quantile(leads_h, 0.9))
    return dict(zip(PRECURSORS, (*map(float, values), false / (false + len(leads_h))), strict=True))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=20, help="simulated machines (default 20)")
    parser.add_argument("--years", type=float, default=5.0, help="simulated years of each (default 5)")
    parser.add_argument("--shape", type=float, help="Weibull shape instead of the catalogue's")
    parser.add_argument("--recurrence", type=float, help="probability of a repeat instead of the catalogue's")
    parser.add_argument("--delay", type=float, help="mean delay of a repeat in days instead of the catalogue's")
    chosen = parser.parse_args()
    machine = load_machine("mira")
    asked = {"weibull_shape": chosen.shape, "recurrence": chosen.recurrence, "recurrence_delay_d": chosen.delay}
    spec = replace(machine.failures, **{name: value for name, value in asked.items() if value is not None})
    machine = replace(machine, failures=spec)
    runs = [simulated(machine, seed, chosen.years) for seed in range(1, chosen.seeds + 1)]

    print("# Calibration of hardware failures\n")
    print(f"{datetime.date.today()}, `{' '.join(['python -m benchmarks.failures', *sys.argv[1:]])}`\n")
    print(" ".join((__doc__ or "").split("\n\n")[-1].split()) + "\n")
    print(
        f"Weibull shape {spec.weibull_shape:g}, recurrence {spec.recurrence:g} after {spec.recurrence_delay_d:g} d in "
        f"the mean, spatial spread {spec.spatial_spread:g}, blast "
        + ", ".join(f"{units} ({share:.1%})" for units, share in spec.blast)
        + ".\n"
    )
    print("| figure | real | band | simulated | sd of a machine |  |\n|---|---:|---:|---:|---:|---|")
    for name, (real, band) in FIGURES.items():
        values = np.array([figures[name] for figures, _ in runs])
        mean = float(values.mean())
        limits = f"{band[0]:.3g} to {band[1]:.3g}" if band else ""
        mark = "" if band is None or band[0] <= mean <= band[1] else "✗"
        print(f"| {name} | {real:.3g} | {limits} | {mean:.3g} | {values.std():.2g} | {mark} |")
    print("\n| precursors | assumed process, simulated |\n|---|---:|")
    for name in PRECURSORS:
        print(f"| {name} | {np.mean([figures[name] for figures, _ in runs]):.3g} |")
    print(f"\n{np.mean([cpu_s for _, cpu_s in runs]):.2f} CPU seconds for each machine's {chosen.years:g} years.")


if __name__ == "__main__":
    main()
