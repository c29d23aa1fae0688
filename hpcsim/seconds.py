"""Simulated time is whole seconds, and one of them does not come."""

from typing import Final

NEVER: Final = 2**62
"""A second that does not come: later than all others, and without overflow when one is added."""
