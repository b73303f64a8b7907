"""Building the log's Merkle tree (RFC 9162 section 2.1): append, root, inclusion and consistency paths.

Pure: nodes are read through a function and given back to be stored. Only complete nodes are stored: node (level,
index) covers the leaves index * 2^level up to, not including, (index + 1) * 2^level, and never changes once all of them
are there. What hangs over the right edge is computed from O(log n) of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from zkmargin.circuits.errors import MalformedInput
from zkmargin.verifier.facts.transparency import EMPTY_ROOT, HASH_BYTES, MAX_SIZE, leaf_hash, node_hash

__all__ = [
    "EMPTY", "Frontier", "Get", "Node", "append", "consistency_path", "frontier_at", "inclusion_path", "leaf_hash",
    "nodes_read", "root",
]  # fmt: skip

#: Hash of the complete node (level, index).
Get = Callable[[int, int], bytes]
Node = tuple[int, int, bytes]
T = TypeVar("T")


@dataclass(frozen=True)
class Frontier:
    """A compact range: the roots of the perfect subtrees of a tree of ``size`` leaves, largest first, one for each bit
    set in ``size``. All that appending needs.
    """

    size: int
    nodes: tuple[bytes, ...]


EMPTY = Frontier(0, ())


def append(frontier: Frontier, leaf: bytes) -> tuple[Frontier, list[Node]]:
    """Add a leaf hash; returns the new frontier and the nodes that became complete, the leaf itself first."""
    index, level, value = frontier.size, 0, leaf
    nodes = list(frontier.nodes)
    complete: list[Node] = [(0, index, leaf)]
    while index & 1:  # a left sibling is waiting
        value = node_hash(nodes.pop(), value)
        index, level = index >> 1, level + 1
        complete.append((level, index, value))
    return Frontier(frontier.size + 1, (*nodes, value)), complete


def root(frontier: Frontier) -> bytes:
    """Root hash of the tree: the perfect subtrees joined from the right."""
    return _join(list(frontier.nodes)) if frontier.nodes else EMPTY_ROOT


def frontier_at(get: Get, size: int) -> Frontier:
    """The frontier of the first ``size`` leaves, from stored nodes; one read for each bit set in ``size``."""
    _check(0 <= size <= MAX_SIZE, "size")
    return Frontier(size, tuple(_perfect(get, 0, size)))


def inclusion_path(get: Get, index: int, size: int) -> list[bytes]:
    """PATH(index, D[size]) of RFC 9162 section 2.1.3.1, leaf's sibling first, in at most 2 log2(size) reads.

    ``MalformedInput`` if the tree has no such leaf.
    """
    _check(0 < size <= MAX_SIZE, "size")
    _check(0 <= index < size, "index")
    path, low, high = [], 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(_range(get, middle, high))
            high = middle
        else:
            path.append(_range(get, low, middle))
            low = middle
    return path[::-1]


def consistency_path(get: Get, old: int, new: int) -> list[bytes]:
    """PROOF(old, D[new]) of RFC 9162 section 2.1.4.1, in at most 2 log2(new) reads; empty for equal sizes and from the
    tree without leaves. ``MalformedInput`` for sizes out of order.
    """
    _check(0 <= new <= MAX_SIZE, "new-size")
    _check(0 <= old <= new, "old-size")
    if old in (0, new):
        return []
    path, low, high = [], 0, new
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            path.append(_range(get, middle, high))
            high = middle
        else:
            path.append(_range(get, low, middle))
            low = middle
    if low:  # the subtree that old ends with is not old itself, so the reader cannot know it
        path.append(_range(get, low, high))
    return path[::-1]


def nodes_read(function: Callable[[Get], object]) -> list[tuple[int, int]]:
    """The nodes (level, index) that a path or frontier will read, so that a database gets them in one query.

    ``function`` is called with a reader of placeholders: what is read does not depend on the hashes.
    """
    wanted: list[tuple[int, int]] = []

    def record(level: int, index: int) -> bytes:
        wanted.append((level, index))
        return bytes(HASH_BYTES)

    function(record)
    return wanted


def _check(holds: bool, field: str) -> None:
    if not holds:
        raise MalformedInput("the log has no such size or leaf", field=field)


def _split(count: int) -> int:
    """The largest power of two smaller than ``count`` (> 1): where RFC 9162 section 2.1.1 divides a list."""
    return 1 << (count - 1).bit_length() - 1


def _perfect(get: Get, low: int, high: int) -> list[bytes]:
    """The perfect subtrees of leaves low to high - 1, largest first; ``low`` is a multiple of the largest."""
    out = []
    while low < high:
        level = (high - low).bit_length() - 1
        out.append(get(level, low >> level))
        low += 1 << level
    return out


def _join(nodes: list[bytes]) -> bytes:
    value = nodes.pop()
    while nodes:
        value = node_hash(nodes.pop(), value)
    return value


def _range(get: Get, low: int, high: int) -> bytes:
    """MTH(D[low:high])."""
    return _join(_perfect(get, low, high))
