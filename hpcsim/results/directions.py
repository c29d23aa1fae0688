"""Which direction of a figure is the better one; of figures that describe the work and do not judge it, none."""

from __future__ import annotations

from typing import Final, Literal

from hpcsim.errors import InputError
from hpcsim.results.figures import FIGURES, FIGURES_OF_MACHINE, FIGURES_OF_WORKFLOW

Better = Literal["lower", "higher"]

LOWER: Final = frozenset(
    {
        "mean_wait_s", "median_wait_s", "p90_wait_s", "p95_wait_s", "p99_wait_s", "max_wait_s",
        "jobs_waiting_over_72h", "mean_turnaround_s", "mean_bounded_slowdown", "median_bounded_slowdown",
        "p90_bounded_slowdown", "p95_bounded_slowdown", "p99_bounded_slowdown",
        "node_hour_weighted_bounded_slowdown", "variability", "makespan_s", "seed_energy_per_job_kwh",
        "seed_std_completion_time_s", "schedule_length_ratio", "energy_it_kwh", "energy_facility_kwh",
        "energy_kwh_per_job", "energy_kwh_per_work_node_hour", "pue", "peak_power_kw", "cap_exceeded_s",
        "cap_exceeded_kwh", "grid_kwh", "carbon_kg", "cost_usd", "hottest_node_c", "hottest_gpu_c",
        "throttled_node_hours", "lost_node_hours",
    }
)  # fmt: skip
HIGHER: Final = frozenset(
    {
        "fairness_jain", "utilisation", "throughput_jobs_per_h", "throughput_node_h_per_h", "seed_jobs_per_hour",
        "seed_fault_prediction_accuracy", "speedup", "solar_used_kwh",
    }
)  # fmt: skip
NEITHER: Final = frozenset(
    {
        "jobs", "jobs_by_state", "node_hours", "critical_path_s", "energy_split_kwh", "solar_kwh", "interrupts",
        "down_node_hours", "recorded_places",
    }
)  # fmt: skip

UNITS: Final = {
    name: figure.unit for figure in (*FIGURES, *FIGURES_OF_WORKFLOW, *FIGURES_OF_MACHINE) for name in figure.names
}


def judged(metric: str) -> Better | None:
    """Which direction of ``metric`` is better; None for one that judges nothing, or that is unknown."""
    return "lower" if metric in LOWER else "higher" if metric in HIGHER else None


def better(metric: str) -> Better:
    """Which direction of ``metric`` is better. Raises InputError for one that judges nothing, or that is unknown."""
    if (found := judged(metric)) is not None:
        return found
    if metric in NEITHER:
        raise InputError(f"{metric} describes the work and judges no scheduler: no direction is better")
    raise InputError(f"{metric}: nothing says whether lower or higher is better")
