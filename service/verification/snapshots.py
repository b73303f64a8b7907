"""The snapshot documents that a verification service knows, so that a request may name one by its digest."""

from __future__ import annotations

from collections import OrderedDict


class SnapshotStore:
    """Snapshot documents by digest: those of the operator for ever, the others least recently used first."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._kept: dict[bytes, bytes] = {}
        self._recent: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0

    def keep(self, digest: bytes, document: bytes) -> None:
        """Keep a document for the life of the service."""
        self._kept[digest] = document

    def learn(self, digest: bytes, document: bytes) -> None:
        """Remember a document that came with a request."""
        if digest in self._kept or digest in self._recent or len(document) > self.max_bytes:
            return
        self._recent[digest] = document
        self._bytes += len(document)
        while self._bytes > self.max_bytes:
            self._bytes -= len(self._recent.popitem(last=False)[1])

    def get(self, digest: bytes) -> bytes | None:
        """The document, if known."""
        if digest in self._recent:
            self._recent.move_to_end(digest)
        return self._kept.get(digest) or self._recent.get(digest)
