"""One hypothesis profile for the whole suite, and what is measured of the verifier while its tests run."""

from __future__ import annotations

import gc
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.places import ROOT

#: Repeatable, never timed.
settings.register_profile(
    "zkmargin",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
)
settings.load_profile("zkmargin")


def pytest_collection_finish() -> None:
    """What is loaded now stays: whoever collects garbage, as every hub does that stops, need not look through it."""
    gc.collect()
    gc.freeze()


#: Whose lines count as covered: a line of the verifier must be run by a test that is about it, not by chance.
VERIFIER = ROOT / "tests" / "verifier"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Coverage, where a run takes it, rests during the tests of everything else; it would make each slower."""
    plugin = item.config.pluginmanager.getplugin("_cov")
    if plugin is None or plugin.cov_controller is None or item.path.is_relative_to(VERIFIER):
        return (yield)
    plugin.cov_controller.pause()
    try:
        return (yield)
    finally:
        plugin.cov_controller.resume()
