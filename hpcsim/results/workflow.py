"""What only a run of one workflow has: how its makespan compares with what its graph allows.

Source: Topcuoglu, Hariri and Wu (2002), Performance-effective and low-complexity task scheduling for heterogeneous
computing.
"""

from __future__ import annotations

from math import isfinite

import numpy as np

from hpcsim.engine.simulation import Simulation
from hpcsim.machine.node_classes import NodeClass
from hpcsim.schedulers.taskgraph import Graph, alone, least_makespan


def workflow_summary(simulation: Simulation, makespan_s: int | None) -> dict[str, float | None]:
    """The part of the summary of a run whose jobs are one workflow: all come at once, and some follow others.

    Empty for any other run. Times are the true ones of the trace, on the node class of each.
    """
    workload = simulation.workload
    submit_s = workload.column("submit_s")
    if np.any(submit_s != submit_s[0]) or makespan_s is None:
        return {}
    classes = None if simulation.site is None else simulation.site.cluster.classes
    each = (NodeClass("all", simulation.nodes, 1.0),) if classes is None else classes.classes
    runtime_s, nodes = workload.column("runtime_s").tolist(), workload.column("nodes").tolist()
    cost = {
        i: [one.seconds(seconds) if nodes[i] <= one.nodes else None for one in each]
        for i, seconds in enumerate(runtime_s)
        if nodes[i] <= max(one.nodes for one in each)
    }
    data = {
        (before, job.id): 0 if classes is None else classes.transfer_s(size)
        for job in workload.jobs()
        for before, size in zip(job.after or (), job.after_bytes or (0,) * len(job.after or ()), strict=True)
        if before in cost and job.id in cost
    }
    graph = Graph(cost, data)
    least_s, alone_s = least_makespan(graph), alone(graph)
    return {
        "critical_path_s": least_s,
        "schedule_length_ratio": makespan_s / least_s if least_s else None,
        "speedup": alone_s / makespan_s if makespan_s and isfinite(alone_s) else None,
    }
