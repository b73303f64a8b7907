"""The snapshots that a verification process keeps parsed."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.errors import ZkMarginError
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.service.verification import budget

#: Bytes of the documents whose parsed snapshots a process keeps; parsed they take ten times as much memory.
KEPT_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True)
class Parsed:
    """A snapshot and the bytes of its document."""

    snapshot: Snapshot
    size: int


class ParsedSnapshots:
    """Parsed snapshots by digest and by document, the least recently used dropped first."""

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self._found: OrderedDict[bytes, Parsed] = OrderedDict()
        self._texts: OrderedDict[bytes, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._found)

    def get(self, digest: bytes) -> Parsed | None:
        """The snapshot of a digest, if it is kept."""
        found = self._found.get(digest)
        if found is not None:
            self._found.move_to_end(digest)
        return found

    def parse(self, text: bytes, name: str, *, heavy: bool) -> Parsed:
        """A snapshot document, parsed once for each text. ``MalformedInput`` names the field under ``name``.

        Raises ``Heavy`` for a large one that is not kept, unless the job is ``heavy``.
        """
        mark = hashlib.sha256(text).digest()
        found = self.get(self._texts.get(mark, b""))
        if found is not None:
            return Parsed(found.snapshot, len(text))
        if len(text) > budget.HEAVY_BYTES and not heavy:
            raise budget.Heavy
        try:
            snap = snapshot_from_bytes(text)
        except ZkMarginError as err:
            if err.field:
                err.field = name + err.field.removeprefix("snapshot")
            raise
        self._found[snap.digest] = parsed = Parsed(snap, len(text))
        self._texts[mark] = snap.digest
        while len(self) > self.keep or (len(self) > 1 and sum(p.size for p in self._found.values()) > KEPT_BYTES):
            self._found.popitem(last=False)
        while len(self._texts) > 4 * self.keep:
            self._texts.popitem(last=False)
        return parsed
