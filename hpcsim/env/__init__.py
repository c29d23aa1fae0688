"""hpcsim as a Gymnasium environment: importing this module registers ``hpcsim/Cluster-v0``."""

from hpcsim.errors import lacking

try:
    import gymnasium
except ModuleNotFoundError as _missing:
    raise lacking("hpcsim.env", "Gymnasium", "rl") from _missing

from hpcsim.env.cluster import ClusterEnv

__all__ = ["ClusterEnv"]

gymnasium.register("hpcsim/Cluster-v0", entry_point="hpcsim.env.cluster:ClusterEnv")
