"""hpcsim's own figures of a run: the keys of ``summary.json``, the unit of each and its formula.

docs/results.md has the same rows, and says of which jobs and which seconds they are.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Figure(NamedTuple):
    """One or more keys that are computed alike."""

    names: tuple[str, ...]
    unit: str
    formula: str


FIGURES: Final = (
    Figure(("jobs",), "count", "size of J"),
    Figure(("jobs_by_state",), "count", "of all measured jobs, rejected ones too"),
    Figure(
        ("node_hours",),
        "node-h",
        "sum of `nodes * runtime_s` over J, / 3600; here and below `nodes` of a job that shares a node is its "
        "largest share of it: the greatest of its shares of cores, GPUs and memory",
    ),
    Figure(
        ("mean_wait_s", "median_wait_s", "p90_wait_s", "p95_wait_s", "p99_wait_s", "max_wait_s"), "s", "of `wait_s`"
    ),
    Figure(("jobs_waiting_over_72h",), "count", "jobs whose `wait_s` is more than 72 h"),
    Figure(("mean_turnaround_s",), "s", "mean of `end_s - submit_s`"),
    Figure(
        (
            "mean_bounded_slowdown",
            "median_bounded_slowdown",
            "p90_bounded_slowdown",
            "p95_bounded_slowdown",
            "p99_bounded_slowdown",
        ),
        "",
        "of `bounded_slowdown`",
    ),
    Figure(("node_hour_weighted_bounded_slowdown",), "", "mean of `bounded_slowdown` weighted by `nodes * runtime_s`"),
    Figure(("variability",), "", "standard deviation of `bounded_slowdown` over its mean"),
    Figure(
        ("fairness_jain",), "", "(Σx)² / (n Σx²) where x are the n users' mean bounded slowdowns: 1 if all fare alike"
    ),
    Figure(("utilisation",), "", "busy node-seconds of the interval / (nodes of the machine * its seconds)"),
    Figure(("throughput_jobs_per_h",), "jobs/h", "jobs that ended as `completed` in the interval / its hours"),
    Figure(("throughput_node_h_per_h",), "nodes", "their `nodes` times nominal runtime / its hours"),
    Figure(("makespan_s",), "s", "last `end_s` - first `submit_s` of J"),
    Figure(("seed_energy_per_job_kwh",), "kWh", "energy of the run / jobs; `null` where the scenario models no power"),
    Figure(("seed_fault_prediction_accuracy",), "", "share of right predictions of the fault twin; `null` without one"),
    Figure(("seed_jobs_per_hour",), "jobs/h", "measured jobs that completed / hours of the interval"),
    Figure(("seed_std_completion_time_s",), "s", "standard deviation of `end_s - submit_s`"),
)
"""Of every run."""

FIGURES_OF_WORKFLOW: Final = (
    Figure(
        ("critical_path_s",),
        "s",
        "the longest way through the workflow, of every job the runtime on its fastest node class: no schedule is "
        "shorter; longest by these runtimes and the time that data take between classes, which it does not count",
    ),
    Figure(("schedule_length_ratio",), "", "`makespan_s` / `critical_path_s` (SLR)"),
    Figure(
        ("speedup",),
        "",
        "what all jobs one after the other take on the node class that is best for that, / `makespan_s`; `null` if "
        "no class has room for each",
    ),
)
"""Of a run whose jobs are one workflow: all come at once, and some follow others."""

FIGURES_OF_MACHINE: Final = (
    Figure(("energy_it_kwh",), "kWh", "integral of the power of all nodes and fixed loads at the wall"),
    Figure(
        ("energy_facility_kwh",),
        "kWh",
        "the same with cooling, pumps and fans: times 1 + overhead, by weather and cooling mode",
    ),
    Figure(("energy_kwh_per_job",), "kWh", "facility energy / jobs that ended"),
    Figure(("energy_kwh_per_work_node_hour",), "kWh", "facility energy / work node-hours"),
    Figure(
        ("energy_split_kwh",),
        "kWh",
        "facility energy by `jobs`, `lost` (attempts ended by a failure or the scheduler), `idle`, `asleep`, "
        "`waking`, `repair`, `fixed`, `cooling`, and where jobs share nodes `unshared` (idle power of these that no "
        "job bears); `of_which_conversion` is the part of the nodes' that converters lost, contained in the others",
    ),
    Figure(("pue",), "", "facility energy / IT energy"),
    Figure(("peak_power_kw",), "kW", "highest facility power"),
    Figure(("cap_exceeded_s",), "s", "for how long the facility drew more than its cap; 0 without one"),
    Figure(("cap_exceeded_kwh",), "kWh", "integral of what it then drew beyond the cap"),
    Figure(("solar_kwh",), "kWh", "what the site's solar plant gave; 0 without one"),
    Figure(("solar_used_kwh",), "kWh", "integral of the lesser of facility and solar power"),
    Figure(("grid_kwh",), "kWh", "facility energy less `solar_used_kwh`"),
    Figure(("carbon_kg",), "kg", "integral of grid power times carbon intensity"),
    Figure(("cost_usd",), "USD", "integral of grid power times price"),
    Figure(
        ("hottest_node_c", "hottest_gpu_c"),
        "°C",
        "highest temperature of any node and any GPU; `null` without heat or GPUs",
    ),
    Figure(("throttled_node_hours",), "node-h", "nodes that throttled for heat, times how long"),
    Figure(("interrupts",), "count", "times that units went out of service: failures, outages, maintenance"),
    Figure(("lost_node_hours",), "node-h", "sum of `lost_node_s` / 3600"),
    Figure(("down_node_hours",), "node-h", "nodes out of service, times how long"),
    Figure(
        ("recorded_places",),
        "count",
        "starts in the place that the trace names (`kept`), in another (`other`), of jobs without one (`none`); "
        "`null` unless `placement: recorded`",
    ),
)
"""Of a run with physics."""
