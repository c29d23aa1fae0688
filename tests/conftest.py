"""What several tests share: the real traces, a cache of their own, and how hard properties are tried."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from hypothesis import Phase, settings

settings.register_profile("check", max_examples=3000, deadline=None)  # as ``make check`` asks: minutes, not seconds
# as ``benchmarks.mutants`` asks: that a property fails is all that counts, and it has to be so in every run
settings.register_profile(
    "mutants", phases=[Phase.explicit, Phase.generate], derandomize=True, database=None, deadline=None
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--examples", type=int, default=1, metavar="N", help="try N times as many examples of properties")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each property test, and each machine with states, N times the examples that it asks for."""
    times = config.getoption("--examples")
    if times == 1:
        return
    for found in {getattr(item, "obj", None) for item in items}:
        machine = getattr(found, "__self__", None)
        if isinstance(getattr(machine, "settings", None), hypothesis.settings):  # of a RuleBasedStateMachine
            kind = type(machine)
            kind.settings = hypothesis.settings(kind.settings, max_examples=times * kind.settings.max_examples)
        elif hypothesis.is_hypothesis_test(found):
            asked = found._hypothesis_internal_use_settings  # hypothesis has no other way to change it from outside
            more = hypothesis.settings(asked, max_examples=times * asked.max_examples)
            found._hypothesis_internal_use_settings = more


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
