"""How well thermal-rc foretells temperatures under planned powers inside a run, against the machine's own equations.

    python -m benchmarks.thermal_planned [--scenario polaris] [--hours 16] [--seed 1 --seed 7]

Once an hour it is asked how warm some nodes and their GPUs would be if each alone drew other watts from then on, as if
a program began there whose CPUs and GPUs are busy at random; the truth is a copy of the machine on which that happens.
Errors are means of all that was asked. "Nothing said" is of GPUs of which the plan does not tell what they draw.
"""

from __future__ import annotations

import argparse

import numpy as np

from hpcsim import replay
from hpcsim.engine.view import View
from hpcsim.machine import power

EVERY_S, READ_S = 3600, 300
UNITS = 30
HORIZONS_S = (300, 5400)
HEADINGS = ("seed", "after", "nodes, K", "GPUs, K", "GPUs, nothing said, K", "nodes as warm as now, K", "GPUs so, K")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="polaris")
    parser.add_argument("--hours", type=int, default=16)
    parser.add_argument("--seed", type=int, action="append")
    asked = parser.parse_args()
    print(f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}")
    for seed in asked.seed or (1, 7):
        simulation = replay.begin(asked.scenario, {"seed": seed, "days": 3, "twins.thermal": "thermal-rc"})
        site = simulation.site
        if site is None or site.cluster.heat is None or site.cluster.heat.gpu_r_U is None:
            parser.error(f"{asked.scenario} has no heat of GPUs")
        heat, spec, rng = site.cluster.heat, site.cluster.spec, np.random.default_rng(seed)
        errors: dict[int, list[list[np.ndarray]]] = {horizon_s: [] for horizon_s in HORIZONS_S}
        begin = simulation.now
        for step in range(1, asked.hours * 3600 // READ_S + 1):
            simulation.run(begin + READ_S * step + READ_S // 10)  # after a reading
            view = View(simulation)
            twins = view.twins
            if READ_S * step % EVERY_S:
                twins.thermal([0], spec.power.idle_w, READ_S)  # whoever asks, it learns
                continue
            units = np.sort(rng.choice(spec.units, UNITS, replace=False))
            cpu_util, gpu_util = rng.random((2, UNITS))
            node_w = power.node_w(spec.power, cpu_util, gpu_util)
            gpu_w = spec.power.gpu_idle_w + spec.power.gpu_dyn_w * gpu_util / spec.gpus_per_node
            for horizon_s in HORIZONS_S:
                plans = zip(units.tolist(), node_w.tolist(), gpu_w.tolist(), strict=True)
                really_c = np.array([heat.planned_c(simulation.now, *plan, horizon_s) for plan in plans])
                of_nodes = twins.thermal(units, node_w, horizon_s).mean, view.node_c[units]
                told = twins.gpu_thermal(units, node_w, horizon_s, gpu_w).mean
                untold = twins.gpu_thermal(units, node_w, horizon_s).mean
                node_k = [np.abs(each - really_c[:, 0]) for each in of_nodes]
                gpu_k = [np.abs(each - really_c[:, 1]) for each in (told, untold, view.gpu_c[units])]
                errors[horizon_s].append([node_k[0], *gpu_k[:2], node_k[1], gpu_k[2]])
        for horizon_s, found in errors.items():
            shown = " | ".join(f"{each:.2f}" for each in np.array(found).mean((0, 2)))
            print(f"| {seed} | {horizon_s // 60} min | {shown} |", flush=True)


if __name__ == "__main__":
    main()
