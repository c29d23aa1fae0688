"""Which nodes a job gets where some are more likely to fail than others, by the twin of faults.

Most units are about as safe as each other. Those that are far more likely to fail are *risky*: they are taken last. Of
the others a job gets such as lie together, for one that is spread over more racks than it needs takes longer.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hpcsim.plugin import MachineSpec

Int64s = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_FACTOR = 4.0  # times as likely to fail as the middle one of all units


def risky(risk_U: Floats) -> npt.NDArray[np.bool_]:
    """Which of all units are far more likely to fail than most."""
    return np.asarray(risk_U > _FACTOR * np.median(risk_U))


def levelled(rate_F: Floats, risky_F: npt.NDArray[np.bool_]) -> Floats:
    """Rates of failures of free units in the order in which safe places take them: where none is risky their mean."""
    usual = rate_F[~risky_F]
    mean = usual.mean() if usual.size else 0.0
    return np.concatenate([np.full(usual.size, mean), np.sort(rate_F[risky_F])])


def safest(free_U: Int64s, risk_U: Floats, units: int, machine: MachineSpec) -> tuple[int, ...]:
    """So many of the free units: none that is risky while others are free, the least risky of those, and packed."""
    risky_F = risky(risk_U)[free_U]
    safe_U = free_U[~risky_F]
    if len(safe_U) < units:
        bad_U = free_U[risky_F]
        order = np.argsort(risk_U[bad_U], kind="stable")
        return tuple(np.sort(np.append(safe_U, bad_U[order[: units - len(safe_U)]])).tolist())
    return tuple(packed(safe_U, units, machine).tolist())


def packed(open_U: Int64s, units: int, machine: MachineSpec) -> Int64s:
    """So many of the open units (ascending) in one rack, the fullest that has them; else in few groups and racks."""
    rack_U = open_U // machine.units_per_rack
    open_R = np.bincount(rack_U, minlength=machine.racks)
    enough = np.flatnonzero(open_R >= units)
    if len(enough):
        return np.asarray(open_U[rack_U == enough[open_R[enough].argmin()]][:units])
    group_R = np.arange(machine.racks) // (machine.racks_per_group or machine.racks)
    open_G = np.bincount(group_R, weights=open_R)
    enough = np.flatnonzero(open_G >= units)
    first_G = -open_G  # those with the most open units first,
    if len(enough):
        first_G[enough[open_G[enough].argmin()]] = -np.inf  # but for one that has enough, and the fewest of such
    order = np.lexsort((open_U, rack_U, -open_R[rack_U], group_R[rack_U], first_G[group_R[rack_U]]))
    return np.asarray(np.sort(open_U[order[:units]]))
