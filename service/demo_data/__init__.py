"""Real figures of one account and its market, for the demo and the service's example; ``figures.json`` has sources."""

from __future__ import annotations

from importlib import resources


def read(name: str) -> bytes:
    """One of the files of this package."""
    return resources.files(__name__).joinpath(name).read_bytes()
