"""Real figures of one account and its market, for the demo and the service's example; ``figures.json`` has sources."""

from __future__ import annotations

import json
from importlib import resources

from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.snapshot import Snapshot


def read(name: str) -> bytes:
    """One of the files of this package."""
    return resources.files(__name__).joinpath(name).read_bytes()


def snapshot_at(now: int) -> Snapshot:
    """The prices of that day, dated ``now`` (Unix seconds)."""
    return snapshot_from_bytes(json.dumps(json.loads(read("snapshot.json")) | {"time": now}).encode())
