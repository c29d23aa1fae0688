"""AIMS, a scheduler that learns: what it sees, how it chooses, and how it learns (``learning``, which needs torch)."""

from .aims import Aims

__all__ = ["Aims"]
