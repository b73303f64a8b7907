"""The transparency log in the database: append in the transaction that attests, read with O(log n) rows.

Appending takes the one row ``log_state`` last, so the order of leaves is the order of commits and every tree head is
signed once: a hub's own code cannot show two histories.
"""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from circuits.canonical import parse_json
from circuits.errors import CorruptData
from verifier.transparency import TreeHead, leaf_hash

from ..log import tree
from ..refusals import NotFound
from ..signing import sign_tree_head
from ..store import tables
from .book import Book
from .events import Tree

_HASH = 32


def append(book: Book, tx: Connection, token: str, now: int) -> int:
    """Append an attestation's token; gives its index. Signs and stores the head of the new size."""
    state = tx.execute(select(tables.log_state).with_for_update()).one()
    raw = bytes(state.frontier)
    frontier = tree.Frontier(state.size, tuple(raw[i : i + _HASH] for i in range(0, len(raw), _HASH)))
    grown, nodes = tree.append(frontier, leaf_hash(token.encode()))
    tx.execute(
        insert(tables.log_nodes),
        [{"level": level, "position": position, "hash": value} for (level, position), value in nodes],
    )
    tx.execute(update(tables.log_state).values(size=grown.size, frontier=b"".join(grown.hashes)))
    head = TreeHead(book.name, grown.size, tree.root(grown), now)
    document = sign_tree_head(head, book.signing_key(tx, now).private)
    tx.execute(
        insert(tables.tree_heads).values(
            size=head.size, root=head.root.hex(), time=now, document=document.decode()
        )
    )  # fmt: skip
    return int(state.size)


def head(tx: Connection, size: int | None = None) -> tuple[int, Tree]:
    """Size and signed document of a tree head, the latest by default; ``NotFound`` before the first leaf."""
    table = tables.tree_heads
    query = select(table).order_by(table.c.size.desc()).limit(1)
    row = tx.execute(query if size is None else query.where(table.c.size == size)).one_or_none()
    if row is None:
        raise NotFound("the log has no tree head of this size", field="size")
    return row.size, parse_json(row.document.encode(), name="tree-head")


def _node(tx: Connection) -> tree.Nodes:
    table = tables.log_nodes

    def get(level: int, position: int) -> bytes:
        row = tx.execute(
            select(table.c.hash).where(table.c.level == level, table.c.position == position)
        ).one_or_none()
        if row is None:
            raise CorruptData("a node of the log is missing", field=f"log.{level}.{position}")
        return bytes(row.hash)

    return get


def inclusion(tx: Connection, index: int, size: int) -> list[str]:
    """RFC 9162 inclusion path of a leaf in the tree of a size, as hex; ``NotFound`` outside it."""
    if not 0 <= index < size:
        raise NotFound("no such leaf in a tree of this size", field="leaf")
    return [node.hex() for node in tree.inclusion_path(_node(tx), index, size)]


def consistency(tx: Connection, first: int, second: int) -> list[str]:
    """RFC 9162 consistency path between two sizes, as hex; ``NotFound`` for sizes that the log never had."""
    if not 0 < first <= second:
        raise NotFound("sizes must be in order and not zero", field="first")
    head(tx, second)
    return [node.hex() for node in tree.consistency_path(_node(tx), first, second)]
