"""hpcsim replays the jobs of real supercomputers under pluggable schedulers."""

__version__ = "0.1.0"
