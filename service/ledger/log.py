"""The transparency log in the database: append in the transaction that attests, read with O(log n) rows.

Appending takes the one row ``log_state`` last, so the order of leaves is the order of commits and every tree head is
signed once: a hub's own code cannot show two histories.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, insert, select, tuple_, update

from circuits.canonical import parse_json
from circuits.errors import CorruptData
from verifier.transparency import TreeHead, leaf_hash

from ..errors import NotFound
from ..log import tree
from ..signing import sign_tree_head
from ..store import tables
from ..store.statements import find, put
from .book import Book, SigningKey
from .events import Tree

_HASH = 32
#: Takes the log's one row, as every booking does.
LOCK = select(tables.log_state.c.id).where(tables.log_state.c.id == 1).with_for_update(key_share=True)
_INSERT_NODES, _GROW = insert(tables.log_nodes), update(tables.log_state)


def append(book: Book, tx: Connection, token: str, now: int, key: SigningKey) -> int:
    """Append an attestation's token; gives its index. Signs and stores the head of the new size."""
    state = find(tx, tables.log_state, lock=True, id=1)
    raw = bytes(state.frontier)
    frontier = tree.Frontier(state.size, tuple(raw[i : i + _HASH] for i in range(0, len(raw), _HASH)))
    grown, nodes = tree.append(frontier, leaf_hash(token.encode()))
    tx.execute(
        _INSERT_NODES,
        [{"level": level, "position": position, "hash": value} for level, position, value in nodes],
    )
    tx.execute(_GROW, {"size": grown.size, "frontier": b"".join(grown.nodes)})
    head = TreeHead(book.name, grown.size, tree.root(grown), now)
    document = sign_tree_head(head, key.private)
    put(tx, tables.tree_heads, size=head.size, root=head.root.hex(), time=now, document=document.decode())
    return int(state.size)


def head(tx: Connection, size: int | None = None) -> tuple[int, Tree]:
    """Size and signed document of a tree head, the latest by default; ``NotFound`` before the first leaf."""
    table = tables.tree_heads
    query = select(table).order_by(table.c.size.desc()).limit(1)
    row = tx.execute(query if size is None else query.where(table.c.size == size)).one_or_none()
    if row is None:
        raise NotFound("the log has no tree head of this size", field="size")
    return row.size, parse_json(row.document.encode(), name="tree-head")


def _path(tx: Connection, function: Callable[[tree.Get], list[bytes]]) -> list[str]:
    """A path as hex, its nodes read in one query."""
    table = tables.log_nodes
    wanted = tree.nodes_read(function)
    rows = tx.execute(select(table).where(tuple_(table.c.level, table.c.position).in_(wanted)))
    nodes = {(row.level, row.position): bytes(row.hash) for row in rows}
    if len(nodes) != len(set(wanted)):
        raise CorruptData("nodes of the log are missing", field="log")
    return [node.hex() for node in function(lambda level, position: nodes[level, position])]


def inclusion(tx: Connection, index: int, size: int) -> list[str]:
    """RFC 9162 inclusion path of a leaf in the tree of a size, as hex; ``NotFound`` outside it."""
    if not 0 <= index < size:
        raise NotFound("no such leaf in a tree of this size", field="leaf")
    return _path(tx, lambda get: tree.inclusion_path(get, index, size))


def consistency(tx: Connection, first: int, second: int) -> list[str]:
    """RFC 9162 consistency path between two sizes, as hex; ``NotFound`` for sizes that the log never had."""
    if not 0 < first <= second:
        raise NotFound("sizes must be in order and not zero", field="first")
    head(tx, second)
    return _path(tx, lambda get: tree.consistency_path(get, first, second))
