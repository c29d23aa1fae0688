"""Independent random streams, one for each purpose, all from the scenario's one seed."""

import zlib

import numpy as np


def stream(seed: int, purpose: str) -> np.random.Generator:
    """The random stream of ``purpose``: adding a new purpose never shifts the numbers of another.

    The name enters the seed as its CRC-32, so the stream is the same in every process whatever
    ``PYTHONHASHSEED`` is.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(zlib.crc32(purpose.encode()),)))


def copied(rng: np.random.Generator) -> np.random.Generator:
    """A generator that will draw what ``rng`` will; faster than ``copy.deepcopy``."""
    bits = type(rng.bit_generator)(0)
    bits.state = rng.bit_generator.state
    return np.random.Generator(bits)
