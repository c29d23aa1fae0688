"""What a network of RLSchert sees and says: names and numbers of its inputs and outputs, the same everywhere.

All inputs are fixed functions of what a scheduler knows, about within -1 and 1, so a network needs no scalers, and
none of them tells one machine from another: nodes are shares of all, times are compared with those of the window.
"""

from __future__ import annotations

from typing import Final

WINDOW: Final = 32
"""Waiting jobs that can be started in a pass, at most."""

RUNNING: Final = 32
"""Running jobs that are looked at, and can be killed, at most."""

ACTIONS: Final = WINDOW + 1 + RUNNING
"""Start a job of the window, wait, or kill a running job: in this order."""

OF_JOB: Final = (
    "there", "fits", "nodes", "share", "of_free", "runtime", "walltime", "doubt", "length", "area", "cost",
    "rank_by_length", "rank_by_area", "rank_by_cost", "waited", "slowdown", "free_in", "back_before", "first",
)  # fmt: skip
"""Numbers about each waiting job; ``there`` is 1, so that a row that stands for none can be told."""

OF_RUNNING: Final = (
    "there", "share", "initial", "elapsed", "remaining", "length", "progress", "drift", "could_be_killed",
)  # fmt: skip
"""Numbers about each running job."""

OF_ALL: Final = (
    "free", "waiting", "queued_work", "window", "running", "back_in_quarter", "back_in_half", "back_in_1",
    "back_in_2", "back_in_4", "busy_longer", "started", "reserved",
)  # fmt: skip
"""Numbers about machine and queue. ``back_in_1``: nodes free by predicted ends after one median of the window."""

WIDTH: Final = 64
OF_RUNNING_WIDTH: Final = 32
CONTEXT: Final = 64
HIDDEN: Final = 32
"""Hidden units: of the encoders of waiting and running jobs, of the context of all, and behind each action."""


def shapes() -> dict[str, tuple[int, ...]]:
    """The tensors of a network by name, as (inputs, outputs); biases have one number for each output."""
    pooled = 2 * WIDTH + 2 * OF_RUNNING_WIDTH + len(OF_ALL)
    return {
        "job.1": (len(OF_JOB), WIDTH), "job.1.bias": (WIDTH,), "job.2": (WIDTH, WIDTH), "job.2.bias": (WIDTH,),
        "running.1": (len(OF_RUNNING), OF_RUNNING_WIDTH), "running.1.bias": (OF_RUNNING_WIDTH,),
        "running.2": (OF_RUNNING_WIDTH, OF_RUNNING_WIDTH), "running.2.bias": (OF_RUNNING_WIDTH,),
        "context.1": (pooled, CONTEXT), "context.1.bias": (CONTEXT,),
        "start.job": (WIDTH, HIDDEN), "start.context": (CONTEXT, HIDDEN), "start.bias": (HIDDEN,),
        "start.out": (HIDDEN, 1),
        "wait.context": (CONTEXT, HIDDEN), "wait.bias": (HIDDEN,), "wait.out": (HIDDEN, 1),
        "kill.running": (OF_RUNNING_WIDTH, HIDDEN), "kill.context": (CONTEXT, HIDDEN), "kill.bias": (HIDDEN,),
        "kill.out": (HIDDEN, 1),
    }  # fmt: skip
