"""The true hazard of a run's units (``machine.hazard``), for whoever judges forecasts of failures when it is over.

The failures of the run are drawn once more, from the same seed, and each is taken for one if the run says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpcsim.machine.failures import HOTTEST_C, FailureProcess
from hpcsim.machine.hazard import hazard
from hpcsim.results.run import Run
from hpcsim.scenario.load import LoadedScenario
from hpcsim.scenario.physics import machine_spec


def true_hazard(
    loaded: LoadedScenario, machines: Mapping[str, Path], run: Run, seconds: npt.ArrayLike, horizon_s: int
) -> npt.NDArray[np.float32]:
    """The probability that each of U units fails within ``horizon_s`` seconds of each of T, ascending; shape T, U.

    Units are taken to be nowhere hot, so that of a warm machine this is a little too low. ValueError for a scenario
    whose hardware does not fail.
    """
    scenario = loaded.scenario
    spec = machine_spec(loaded, machines)
    if spec is None or scenario.physics is None or not scenario.physics.failures:
        raise ValueError(f"{scenario.name} has no failures of hardware")
    process = FailureProcess(
        spec.failures,
        units=spec.units,
        units_per_rack=spec.units_per_rack,
        seed=scenario.seed,
        start=int(run.tables["power"]["time_s"][0].as_py()),  # the first second of the run
        chance=scenario.physics.failure_seed,
    )
    told = run.tables["interrupts"]
    causes, times = told["cause"].to_pylist(), told["time_s"].to_pylist()
    failed = {time for time, cause in zip(times, causes, strict=True) if cause == "hardware"}
    hot = np.full(spec.units, HOTTEST_C)
    found = []
    for second in np.asarray(seconds).tolist():
        while process.next_time <= second:
            is_failure = process.next_time in failed
            process.take((lambda: hot) if is_failure else None)
        found.append(hazard(process, second, horizon_s).astype(np.float32))
    return np.stack(found)
