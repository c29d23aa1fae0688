"""Real months replayed under their centre's own policy and under EASY, laid beside what really happened.

    python -m benchmarks.centre_replay --data DIR [--seed 1] > docs/centre-replay.md

DIR holds ``traces/swf``. The report is Markdown; the picture goes to docs/images/centre-replay.png.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from hpcsim.engine.simulation import Simulation
from hpcsim.engine.site import Site
from hpcsim.machine.catalogue import build_spec, machine_data
from hpcsim.machine.cluster import Cluster
from hpcsim.machine.queues import Admission, QueueRules
from hpcsim.machine.service import Outage
from hpcsim.plugin.loader import load_plugins
from hpcsim.scenario import build
from hpcsim.scenario.load import load_scenario
from hpcsim.workload.behaviour import draw_behaviour
from hpcsim.workload.job import Workload
from hpcsim.workload.trace import read_trace

HOUR_S, WEEK_S = 3_600, 7 * 86_400
CLOSED_SHARE = 0.1  # of the nodes: no more than so many are in use while a machine is closed to users
CLOSED_S = HOUR_S  # at the least
IN_USE_SHARE = 0.01  # of the time: usable nodes are the most that were in use for so long
AT_ONCE_S = 300  # below this a wait says how long a dispatch takes, not what a policy is worth

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Machine:
    """A real machine, the months of it that are replayed, and its size classes (nodes, both ends included)."""

    name: str
    title: str
    trace: str
    start: str
    end: str
    policy: dict[str, Any]
    pass_interval_s: int
    classes: tuple[tuple[int, int], ...]
    variants: tuple[tuple[str, dict[str, Any]], ...]


POLARIS = Machine(
    "polaris", "Polaris 2023", "polaris_2023-09_2023-12_nodebug.swf.gz", "2023-09-05", "2023-12-14",
    {"name": "pbs"}, 0, ((1, 2), (3, 9), (10, 24), (25, 99), (100, 496)),
    (
        ("pbs, backfill depth 1", {"scheduler": {"name": "pbs", "backfill_depth": 1}}),
        ("pbs, awards of 2", {"scheduler": {"name": "pbs", "unknown_project": 2.0}}),
        ("pbs, awards of 100", {"scheduler": {"name": "pbs", "unknown_project": 100.0}}),
        ("pbs, dispatch takes 2.5 min", {"launch_latency_s": 150}),
        ("pbs, never closed", {"closed": False}),
        ("easy, dispatch takes 2.5 min", {"scheduler": {"name": "easy"}, "launch_latency_s": 150}),
        ("easy, never closed", {"scheduler": {"name": "easy"}, "closed": False}),
        ("hybrid, depth 10", {"scheduler": {"name": "hybrid", "depth": 10}}),
        ("easy by wfp3", {"scheduler": {"name": "easy", "order": "wfp3"}}),
    ),
)  # fmt: skip
THETA = Machine(
    "theta", "Theta 2022", "theta_2022_production.swf.gz", "2022-01-10", "2022-12-20",
    {"name": "cobalt", "threshold": 1.0}, 10,
    ((128, 128), (129, 256), (257, 511), (512, 1_023), (1_024, 2_047), (2_048, 4_392)),
    (
        ("cobalt, threshold 0.65", {"scheduler": {"name": "cobalt"}}),
        ("cobalt, exponent 2", {"scheduler": {"name": "cobalt", "exponent": 2.0, "threshold": 1.0}}),
        ("cobalt, dispatch takes 2.5 min", {"launch_latency_s": 150}),
        ("cobalt, never closed", {"closed": False}),
        ("easy, dispatch takes 2.5 min", {"scheduler": {"name": "easy"}, "launch_latency_s": 150}),
        ("easy, never closed", {"scheduler": {"name": "easy"}, "closed": False}),
        ("hybrid by wfp3, depth 10", {"scheduler": {"name": "hybrid", "order": "wfp3", "depth": 10}}),
        ("easy by wfp3", {"scheduler": {"name": "easy", "order": "wfp3"}}),
    ),
)  # fmt: skip

ABOUT = """\
Each job of the trace is submitted when it really was, with the nodes, walltime and runtime that it had; only its
start is left to the scheduler. The replay begins with the jobs that were on the machine and in its queue. Jobs
submitted in the first three days and the last two are not counted.

Cobalt of Theta, the version for Cray machines, knows no threshold above which a job starts in place of the blocked
best one, so it has none here; passes are 10 s apart.

What the traces do not say had to be made up, the same for all policies:

- **Usable nodes**: the most that were in use for at least {in_use:.0%} of the replayed time.
- **When the machine was closed**: whenever no more than {closed:.0%} of the usable nodes were in use for at least
  {closed_h} h. These are maintenance (on Mondays on Polaris; on Theta the trace has it on Sundays, so its dates may
  be a day off), reservations of the whole machine, whose jobs are not in the trace, and outages. Schedulers know of
  them in advance and drain, which is not so for outages. A drain for a very large job may be among them.
- **Queues**: by the nodes and the walltime of a job and the queue rules of the day. Debug queues were taken out of
  both traces by their authors; their nodes are left out, too. Jobs that fit no queue ran in reservations and are left
  out.
- **Users and projects** are not in these traces. So nobody's limit on running jobs holds (10 of a project on Polaris,
  10 of a user on Theta), all projects of Polaris have one award (25) and no boost, and eligible time is the time
  since submission: dependencies and holds are waits like any other.

Waits below {at_once_min} min count as {at_once_min} min: they say how long a dispatch takes, not what a policy is
worth. *Distance* is the Kolmogorov-Smirnov distance of the waits of a size class from the recorded ones; over all
jobs, the mean over jobs. *Rank correlation* (Spearman) is between the simulated and the recorded waits of the same
jobs. *Weeks closer* counts the weeks of submission, of those with 50 jobs and more, in which the distance is smaller
than EASY's.
"""

WHAT_IS_LEFT = """\
## What this says
On both machines the waits under the centre's own policy are nearer to the recorded ones than under EASY: in distance,
in rank, and in most weeks. They are not the record.

- Capacity comes first. Where Theta is never closed, no policy comes near, and all wait too little. What is left of the
  means is in very long waits, which no policy here has: holds, dependencies and users' limits are not in the trace.
- On Theta the order makes most of the difference: EASY with the order wfp3 is nearly as near as Cobalt.
- On Polaris the largest jobs wait longer in the replay than they did, and the smallest less. The award does not explain
  it: 2 or 100 for every project instead of 25 changes little. What one project has more than another is not known,
  nor are boosts, and how many jobs of a user may run.
- A backfill depth of 1 was nearer to reality in a study of Aurora by its centre. On Polaris it is not: the server's own
  depth of 10 is.
- A dispatch that takes 2.5 min takes that capacity from the machine between jobs. It moves Cobalt towards the record
  and PBS and EASY away from it; it was left out of all.
"""


@dataclass(frozen=True)
class Waits:
    """The counted jobs of a replay: recorded and simulated waits, nodes and submission, J of each."""

    recorded_J: Ints
    simulated_J: Ints
    nodes_J: Ints
    submit_J: Ints
    left_out: int
    cpu_s: float


class Replay:
    """A machine's months, ready to be run under any scheduler."""

    def __init__(self, machine: Machine, folder: Path, seed: int) -> None:
        self.machine = machine
        self.seed = seed
        self.trace = folder / "traces" / "swf" / machine.trace
        self.workload = read_trace(self.trace)
        zero = self.workload.t0_utc
        self.scenario = {
            "name": machine.name,
            "seed": seed,
            "trace": str(self.trace),
            "window": {
                "start": f"{machine.start}T00:00:00Z",
                "end": f"{machine.end}T00:00:00Z",
                "warm_start": True,
                "warm_up": "3d",
                "cool_down": "2d",
            },
        }
        start, end = (int(np.datetime64(day, "s").astype(np.int64)) - zero for day in (machine.start, machine.end))
        seconds, in_use = in_use_over_time(self.workload)
        self.usable = usable_nodes(seconds, in_use, start, end)
        self.closed = [each for each in closed_times(seconds, in_use, self.usable) if each[1] > start and each[0] < end]
        self.rules = without_debug(QueueRules.named(machine.name))

    def run(
        self, scheduler: Mapping[str, Any], *, closed: bool = True, launch_latency_s: int = 0, pass_interval_s: int = 0
    ) -> Waits:
        """Replay under ``scheduler``."""
        plugins = load_plugins([])
        loaded = load_scenario(self.scenario | {"scheduler": dict(scheduler)}, schedulers=plugins.schedulers)
        piece = build.cut(loaded, self.workload, self.usable)
        spec = build_spec(machine_data(self.machine.name) | {"nodes": self.usable})
        outages = [Outage(*each, spec.units, "maintenance") for each in self.closed] if closed else []
        jobs = piece.workload
        cluster = Cluster(spec, draw_behaviour(jobs, self.seed), policy="packed", start=piece.start, outages=outages)
        simulation = Simulation(
            jobs,
            build.make_scheduler(loaded, plugins.schedulers[scheduler["name"]]),
            nodes=self.usable,
            start=piece.start,
            running_at_start=piece.running,
            pass_interval=pass_interval_s,
            launch_latency=launch_latency_s,
            seed=self.seed,
            site=Site(cluster, jobs, overrun="trace", requeues=True, checkpointing=None),
            admission=Admission(self.rules, jobs.t0_utc, nodes=self.usable, over_limit="hold"),
        )
        began = time.process_time()
        simulation.run()
        cpu_s = time.process_time() - began
        start_J = np.full(len(jobs), -1)
        start_J[np.array(simulation.attempts.job)] = np.array(simulation.attempts.start)
        submit_J = jobs.column("submit_s")
        inside = (submit_J >= (piece.measured_from or 0)) & (submit_J < (piece.measured_to or 0))
        counted = inside & (start_J >= 0)
        return Waits(
            (jobs.column("recorded_start_s") - submit_J)[counted],
            (start_J - submit_J)[counted],
            jobs.column("nodes")[counted],
            submit_J[counted],
            int(np.count_nonzero(inside & ~counted)),
            cpu_s,
        )


def in_use_over_time(workload: Workload) -> tuple[Ints, Ints]:
    """Nodes in use by the record: seconds of change, and the nodes from each of them on."""
    start_J = workload.column("recorded_start_s")
    seconds = np.concatenate([start_J, start_J + workload.column("runtime_s")])
    change = np.concatenate([workload.column("nodes"), -workload.column("nodes")])
    order = np.lexsort((change, seconds))
    return seconds[order], np.cumsum(change[order])


def usable_nodes(seconds: Ints, in_use: Ints, start: int, end: int) -> int:
    """The most nodes that were in use for at least ``IN_USE_SHARE`` of the time from ``start`` to ``end``."""
    during = np.diff(np.clip(seconds, start, end))
    order = np.argsort(-in_use[:-1], kind="stable")
    lasted = np.cumsum(during[order])
    return int(in_use[:-1][order][np.searchsorted(lasted, IN_USE_SHARE * (end - start))])


def closed_times(seconds: Ints, in_use: Ints, usable: int) -> list[tuple[int, int]]:
    """When the machine was closed to users, as (from, to)."""
    low = np.concatenate([[False], in_use <= CLOSED_SHARE * usable, [False]])
    edges = np.flatnonzero(low[1:] != low[:-1])
    spans = zip(seconds[edges[::2]].tolist(), seconds[np.minimum(edges[1::2], len(seconds) - 1)].tolist(), strict=True)
    return [(begin, end) for begin, end in spans if end - begin >= CLOSED_S]


def without_debug(rules: QueueRules) -> QueueRules:
    """The rules without the queues that have nodes of their own: neither they nor these nodes are in the traces."""
    periods = []
    for period in rules.periods:
        queues = {name: queue for name, queue in period.queues.items() if queue.pool is None}
        periods.append(replace(period, queues=queues, default=tuple(n for n in period.default if n in queues)))
    return replace(rules, periods=tuple(periods))


# -- how near a replay is to the record -------------------------------------------------------------


def distance(of: Waits, chosen: npt.NDArray[np.bool_]) -> float:
    """Kolmogorov-Smirnov distance between simulated and recorded waits of the chosen jobs."""
    waits = [np.sort(np.maximum(each[chosen], AT_ONCE_S)) for each in (of.simulated_J, of.recorded_J)]
    shares = [np.searchsorted(each, np.concatenate(waits), side="right") / len(each) for each in waits]
    return float(np.abs(shares[0] - shares[1]).max())


def of_class(waits: Waits, nodes: tuple[int, int]) -> npt.NDArray[np.bool_]:
    return (waits.nodes_J >= nodes[0]) & (waits.nodes_J <= nodes[1])


def mean_distance(machine: Machine, waits: Waits, of: npt.NDArray[np.bool_] | None = None) -> float:
    """The distance, mean over jobs of those of their size classes."""
    total = count = 0.0
    for nodes in machine.classes:
        chosen = of_class(waits, nodes) if of is None else of_class(waits, nodes) & of
        number = int(chosen.sum())
        if number:
            total, count = total + number * distance(waits, chosen), count + number
    return total / count


def overall(machine: Machine, waits: Waits, easy: Waits) -> list[str]:
    """The columns of one policy over all jobs."""
    weeks = [(waits.submit_J // WEEK_S == week) for week in np.unique(waits.submit_J // WEEK_S).tolist()]
    weeks = [week for week in weeks if week.sum() >= 50]
    closer = sum(mean_distance(machine, waits, week) < mean_distance(machine, easy, week) for week in weeks)
    rank = spearmanr(waits.simulated_J, waits.recorded_J).statistic
    mean_h = waits.simulated_J.mean() / HOUR_S
    return [
        f"{mean_distance(machine, waits):.3f}",
        f"{rank:.3f}",
        f"{mean_h:.1f}",
        "" if waits is easy else f"{closer} of {len(weeks)}",
    ]


def quantiles(waits_J: Ints) -> str:
    median, p90 = np.quantile(waits_J / HOUR_S, [0.5, 0.9])
    return f"{median:.2f}, {p90:.1f}"


def report(replay: Replay, centre: Waits, easy: Waits) -> Iterator[str]:
    """The Markdown of one machine."""
    machine = replay.machine
    own = machine.policy["name"]
    closed_h = sum(end - begin for begin, end in replay.closed) / HOUR_S
    yield f"## {machine.title}: `{own}` and `easy`\n"
    yield (
        f"{machine.start} to {machine.end}, `{machine.trace}`: {len(centre.nodes_J):,} jobs counted, "
        f"{centre.left_out} left out. "
        f"{replay.usable:,} usable nodes; closed {len(replay.closed)} times, {closed_h:,.0f} h in all.\n"
    )
    yield f"| nodes | jobs | recorded: median, p90 h | {own} | distance | easy | distance |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for nodes in machine.classes:
        chosen = of_class(centre, nodes)
        cells = [quantiles(centre.recorded_J[chosen])]
        for waits in (centre, easy):
            chosen = of_class(waits, nodes)
            cells += [quantiles(waits.simulated_J[chosen]), f"{distance(waits, chosen):.2f}"]
        yield f"| {span(nodes)} | {chosen.sum():,} | {' | '.join(cells)} |"
    yield "\n| all jobs | distance | rank correlation | mean wait, h | weeks closer than easy |"
    yield "|---|---:|---:|---:|---:|"
    yield f"| recorded | 0 | 1 | {centre.recorded_J.mean() / HOUR_S:.1f} | |"
    yield f"| **{own}** | {' | '.join(overall(machine, centre, easy))} |"
    yield f"| **easy** | {' | '.join(overall(machine, easy, easy))} |"
    for title, changes in machine.variants:
        waits = replay.run(**({"scheduler": machine.policy, "pass_interval_s": machine.pass_interval_s} | changes))
        yield f"| {title} | {' | '.join(overall(machine, waits, easy))} |"
    yield f"\n{centre.cpu_s:.1f} CPU seconds for `{own}`, {easy.cpu_s:.1f} for `easy`.\n"


def span(nodes: tuple[int, int]) -> str:
    return f"{nodes[0]:,}" if nodes[0] == nodes[1] else f"{nodes[0]:,}-{nodes[1]:,}"


def plot(found: list[tuple[Machine, Waits, Waits]], path: Path) -> None:
    """Waits by size class as cumulative shares: recorded, the centre's policy, EASY."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = max(len(machine.classes) for machine, _, _ in found)
    figure, grid = plt.subplots(
        len(found), columns, figsize=(2.7 * columns, 3.3 * len(found)), sharey=True, layout="constrained"
    )
    for axes, (machine, centre, easy) in zip(grid, found, strict=True):
        for ax, nodes in zip(axes, machine.classes, strict=False):
            chosen = of_class(centre, nodes)
            for name, waits_J, style in (
                ("recorded", centre.recorded_J[chosen], {"color": "black", "lw": 2.2}),
                (machine.policy["name"], centre.simulated_J[chosen], {"color": "tab:blue"}),
                ("easy", easy.simulated_J[of_class(easy, nodes)], {"color": "tab:orange"}),
            ):
                ax.ecdf(np.maximum(waits_J, AT_ONCE_S) / HOUR_S, label=name, **style)
            ax.set_xscale("log")
            ax.set_xlim(AT_ONCE_S / HOUR_S, 400)
            ax.set_ylim(0, 1)
            ax.set_xticks([0.1, 1, 10, 100], ["6 min", "1 h", "10 h", "100 h"])
            ax.minorticks_off()
            ax.grid(alpha=0.3)
            ax.set_title(f"{span(nodes)} nodes\n{chosen.sum():,} jobs", fontsize=10)
            ax.set_xlabel("wait")
        axes[0].set_ylabel(f"{machine.title}\nshare of jobs that waited less")
        axes[0].legend(loc="lower right", fontsize=9)
        for ax in axes[len(machine.classes) :]:
            ax.set_visible(False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds traces/swf")
    parser.add_argument("--seed", type=int, default=1, help="seed of the runs (default 1)")
    parser.add_argument(
        "--image", type=Path, default=Path("docs/images/centre-replay.png"), help="where the picture goes"
    )
    chosen = parser.parse_args()
    print("# Replays of what the centres run\n")
    print(f"{date.today()}, `python -m benchmarks.centre_replay --data DIR`, seed {chosen.seed}.\n")
    print(
        ABOUT.format(in_use=IN_USE_SHARE, closed=CLOSED_SHARE, closed_h=CLOSED_S // HOUR_S, at_once_min=AT_ONCE_S // 60)
    )
    print(f"![Waits by size class: recorded, the centre's policy and EASY](images/{chosen.image.name})\n")
    found = []
    for machine in (POLARIS, THETA):
        if not (chosen.data / "traces" / "swf" / machine.trace).is_file():
            sys.exit(f"{chosen.data}: there is no traces/swf/{machine.trace} in it")
        replay = Replay(machine, chosen.data, chosen.seed)
        own = replay.run(machine.policy, pass_interval_s=machine.pass_interval_s)
        easy = replay.run({"name": "easy"})
        print("\n".join(report(replay, own, easy)))
        found.append((machine, own, easy))
    print(WHAT_IS_LEFT, end="")
    plot(found, chosen.image)


if __name__ == "__main__":
    main()
