"""What several tests share: the real traces, where they are, and a cache of their own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("check", max_examples=3000, deadline=None)  # as ``make check`` asks: minutes, not seconds


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder with ``traces/`` and ``oracles/`` that ``HPCSIM_DATA`` names."""
    folder = os.environ.get("HPCSIM_DATA")
    if not folder:
        pytest.skip("HPCSIM_DATA is not set: it names the folder with the real traces")
    return Path(folder)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HPCSIM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
