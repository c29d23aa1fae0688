"""How well thermal-rc foretells temperatures inside a run, against the truth, and what it costs.

    python -m benchmarks.thermal_in_run [--scenario polaris] [--hours 16] [--seed 1 --seed 7]

Every five minutes it is asked how warm every node will be in five minutes if it goes on to draw what it draws; judged
are the nodes that did. The weights that come with hpcsim are of the nodes of seed 1; those of other seeds it does not
know, and has to learn while the run goes on.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from hpcsim import replay
from hpcsim.engine.view import View

EVERY_S = 300
LEARNING = 50  # answers after which it is judged by itself


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="polaris")
    parser.add_argument("--hours", type=int, default=16)
    parser.add_argument("--seed", type=int, action="append")
    asked = parser.parse_args()
    headings = (
        "seed",
        "first 25 min, K",
        "until 4 h, K",
        "later, K",
        "as warm as now, K",
        "90 % of readings",
        "ms a call",
    )
    print(f"| {' | '.join(headings)} |")
    print("|---|---|---|---|---|---|---|")
    for seed in asked.seed or (1, 7):
        simulation = replay.begin(asked.scenario, {"seed": seed, "days": 3, "twins.thermal": "thermal-rc"})
        site = simulation.site
        if site is None or site.cluster.heat is None:
            parser.error(f"{asked.scenario} has no heat")
        heat, units = site.cluster.heat, np.arange(site.cluster.spec.units)
        errors, staying, spent_s = [], [], []
        begin, before = simulation.now, None
        for step in range(1, asked.hours * 3600 // EVERY_S + 1):
            simulation.run(begin + EVERY_S * step)
            view = View(simulation)
            node_w, node_c = np.array([heat.power_w(unit)[0] for unit in units.tolist()]), view.node_c
            if before is not None:
                same = np.abs(node_w - before[0]) < 1.0
                errors.append(float(np.abs(before[1] - node_c)[same].mean()))
                staying.append(float(np.abs(before[2] - node_c)[same].mean()))
            began = time.process_time()
            said = view.twins.thermal(units, node_w, EVERY_S)
            spent_s.append(time.process_time() - began)
            before = node_w, said.mean, node_c
        report = simulation.twins["thermal"].report()
        parts = errors[:5], errors[5:LEARNING], errors[LEARNING:], staying[LEARNING:]
        figures = [np.mean(each) for each in parts]
        shown = " | ".join(f"{each:.3f}" for each in figures)
        print(f"| {seed} | {shown} | {100 * report['held_90']:.1f} % | {1e3 * np.median(spent_s):.2f} |", flush=True)


if __name__ == "__main__":
    main()
