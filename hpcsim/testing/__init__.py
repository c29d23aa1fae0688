"""The conformance kit: what authors of plug-ins inherit or call to know that theirs keeps the contract.

``docs/testing.md`` describes every check. Nothing here needs pytest but the classes to inherit, when pytest runs them.
"""

from hpcsim.testing.check import Check, NotReached
from hpcsim.testing.contract import SchedulerContract, TwinContract
from hpcsim.testing.factory import Factory
from hpcsim.testing.schedulers import is_clairvoyant, scheduler_checks
from hpcsim.testing.twins import twin_checks

__all__ = [
    "Check",
    "Factory",
    "NotReached",
    "SchedulerContract",
    "TwinContract",
    "is_clairvoyant",
    "scheduler_checks",
    "twin_checks",
]
