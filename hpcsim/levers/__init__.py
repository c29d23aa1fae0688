"""Levers that any scheduler can be given: it decides as it does, and what it decides is held back or added to.

A scenario sets them under ``levers``. Each is a module with a class; ``Levered`` is the scheduler with its levers.
"""

from hpcsim.levers.levered import Lever, Levered, make_levers, refuse_impossible, with_levers

__all__ = ["Lever", "Levered", "make_levers", "refuse_impossible", "with_levers"]
