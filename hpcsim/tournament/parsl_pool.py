"""Workers that Parsl starts: on other machines, through a batch system, as its own configuration says.

Needs the extra ``parsl``. Workers write into the tournament's folder themselves, so that has to be on a file system
that all share.

Reference: Babuji et al. (2019), Parsl: Pervasive Parallel Programming in Python.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import Executor
from pathlib import Path
from runpy import run_path
from typing import Any

from hpcsim.errors import InputError, lacking
from hpcsim.workers import ONE_THREAD


def config_in(file: Path) -> Any:
    """The ``config`` that a Python file sets, Parsl's own. Raises InputError if there is none."""
    try:
        from parsl.config import Config
    except ImportError:
        raise lacking("--executor parsl", "Parsl", "parsl") from None
    if not file.is_file():
        raise InputError(f"--executor: {file}: there is no such file")
    try:
        config = run_path(str(file)).get("config")
    except Exception as error:
        raise InputError(f"{file}: {type(error).__name__}: {error}") from error
    if not isinstance(config, Config):
        raise InputError(f"{file}: should set `config` to a parsl.Config (found {type(config).__name__})")
    return config


def parsl_executor(config: Any) -> Executor:
    """Start what a configuration of Parsl says."""
    from parsl.concurrent import ParslPoolExecutor

    os.environ.update(ONE_THREAD)  # workers that are started here inherit it; others need it in worker_init
    beside = str(Path(sys.executable).parent)  # where Parsl's own programs are, also if that is not on the path
    os.environ["PATH"] = os.pathsep.join([beside, os.environ.get("PATH", "")])
    executor: Executor = ParslPoolExecutor(config)
    return executor
