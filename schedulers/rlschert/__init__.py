"""RLSchert, a scheduler that learns to start, wait and kill: what it sees, how it chooses, and whom it imitates."""

from .rlschert import RLSchert

__all__ = ["RLSchert"]
