"""One hypothesis profile for the whole suite: repeatable, never timed."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "zkmargin",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
)
settings.load_profile("zkmargin")
