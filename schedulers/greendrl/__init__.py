"""GreenDRL, rebuilt: when deferrable jobs may start and how the plant cools, by what is green and when."""

from .greendrl import GreenDRL

__all__ = ["GreenDRL"]
