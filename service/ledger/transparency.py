"""The transparency log in the database: append in the transaction that attests, read with O(log n) rows.

Appending takes the one row ``log_state`` last, so the order of leaves is the order of commits and every size has one
root: a hub's own code cannot show two histories. Nor do its heads go back in time, whatever the clocks of its hosts
say. The head is signed anew while the log is idle, and under a new key as soon as it begins: readers take none that is
older.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, insert, select, tuple_, update

from zkmargin.circuits.errors import CorruptData, SignatureRejected
from zkmargin.service.errors import NotFound
from zkmargin.service.keys.signing import sign_tree_head
from zkmargin.service.ledger import merkle_tree
from zkmargin.service.ledger.answers import Inclusion
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.store import tables
from zkmargin.service.store.queries import put
from zkmargin.service.store.rows import LogNodeRow, LogStateRow, TreeHeadRow, each, every, find, first
from zkmargin.verifier.facts.hub_keys import public_key
from zkmargin.verifier.facts.transparency import MAX_HEAD_AGE, TreeHead, leaf_hash, verify_tree_head

_HASH = 32
#: Takes the log's one row, as every booking does.
LOCK = select(tables.log_state.c.id).where(tables.log_state.c.id == 1).with_for_update(key_share=True)
#: Seconds after which the head of a log that has not grown is signed anew: a third of what readers take.
REFRESH_SECONDS = MAX_HEAD_AGE // 3
_INSERT_NODES, _GROW = insert(tables.log_nodes), update(tables.log_state)
_NEWEST = every(TreeHeadRow).order_by(tables.tree_heads.c.size.desc()).limit(1)


def append(ledger: Ledger, tx: Connection, token: str, now: int) -> int:
    """Append an attestation's token; gives its index. Signs and stores the head of the new size."""
    state = _locked(tx)
    raw = state.frontier
    frontier = merkle_tree.Frontier(state.size, tuple(raw[i : i + _HASH] for i in range(0, len(raw), _HASH)))
    grown, nodes = merkle_tree.append(frontier, leaf_hash(token.encode()))
    tx.execute(
        _INSERT_NODES,
        [{"level": level, "position": position, "hash": value} for level, position, value in nodes],
    )
    tx.execute(_GROW, {"size": grown.size, "frontier": b"".join(grown.nodes)})
    head = TreeHead(ledger.name, grown.size, merkle_tree.root(grown), max(now, _time_of(tx, state.size)))
    put(tx, tables.tree_heads, size=head.size, root=head.root.hex(), time=head.time, document=_signed(ledger, tx, head))
    return state.size


def _locked(tx: Connection) -> LogStateRow:
    """The log's one row, locked: the last lock that a booking takes."""
    state = find(tx, LogStateRow, lock=True, id=1)
    if state is None:
        raise CorruptData("the log's state is missing", field="log")
    return state


def _time_of(tx: Connection, size: int) -> int:
    """When the head of a size was signed; 0 for the tree without leaves, which has none."""
    row = find(tx, TreeHeadRow, size=size)
    return 0 if row is None else row.time


def _signed(ledger: Ledger, tx: Connection, head: TreeHead) -> str:
    """The document of a head, signed with the newest key that is valid at the head's own time."""
    return sign_tree_head(head, ledger.signing_key(tx, head.time).private).decode()


def refresh(ledger: Ledger) -> bool:
    """Sign the newest head anew if it is old, or of a key that has been superseded; gives whether it was.

    Only reads while there is nothing to do, so that every process of a hub may call it every few seconds.
    """
    return ledger.database.read(lambda tx: _is_due(ledger, tx)) and ledger.database.write(lambda tx: resign(ledger, tx))


def _is_due(ledger: Ledger, tx: Connection) -> bool:
    now, row = ledger.clock(), first(tx, TreeHeadRow, _NEWEST)
    if row is None:
        return False
    newest = public_key(bytes.fromhex(ledger.signing_key(tx, max(now, row.time)).public))
    try:
        verify_tree_head(row.document.encode(), newest)
    except SignatureRejected:
        return True
    return row.time <= now - REFRESH_SECONDS


def resign(ledger: Ledger, tx: Connection) -> bool:
    """Sign the newest head anew, now. The log's row is locked, so that no larger head gets an earlier time."""
    row = find(tx, TreeHeadRow, size=_locked(tx).size)
    if row is None:
        return False
    head = TreeHead(ledger.name, row.size, bytes.fromhex(row.root), max(ledger.clock(), row.time))
    chosen = tables.tree_heads.c.size == row.size
    tx.execute(update(tables.tree_heads).where(chosen).values(time=head.time, document=_signed(ledger, tx, head)))
    return True


def head(tx: Connection, size: int | None = None) -> TreeHeadRow:
    """A tree head, the latest by default; ``NotFound`` before the first leaf."""
    row = first(tx, TreeHeadRow, _NEWEST) if size is None else find(tx, TreeHeadRow, size=size)
    if row is None:
        raise NotFound("the log has no tree head of this size", field="size")
    return row


def _path(tx: Connection, function: Callable[[merkle_tree.Get], list[bytes]]) -> list[str]:
    """A path as hex, its nodes read in one query."""
    table = tables.log_nodes
    wanted = merkle_tree.nodes_read(function)
    rows = each(tx, LogNodeRow, every(LogNodeRow).where(tuple_(table.c.level, table.c.position).in_(wanted)))
    nodes = {(row.level, row.position): row.hash for row in rows}
    if len(nodes) != len(set(wanted)):
        raise CorruptData("nodes of the log are missing", field="log")
    return [node.hex() for node in function(lambda level, position: nodes[level, position])]


def logged(tx: Connection, leaf: int, size: int | None) -> Inclusion:
    """That a leaf is in the log of a size, the present one by default; ``NotFound``."""
    found = head(tx, size)
    return Inclusion(leaf, found.size, tuple(inclusion(tx, leaf, found.size)), found.document)


def inclusion(tx: Connection, index: int, size: int) -> list[str]:
    """RFC 9162 inclusion path of a leaf in the tree of a size, as hex; ``NotFound`` outside it."""
    if not 0 <= index < size:
        raise NotFound("no such leaf in a tree of this size", field="leaf")
    return _path(tx, lambda get: merkle_tree.inclusion_path(get, index, size))


def consistency(tx: Connection, first: int, second: int) -> list[str]:
    """RFC 9162 consistency path between two sizes, as hex; ``NotFound`` for sizes that the log never had."""
    if not 0 < first <= second:
        raise NotFound("sizes must be in order and not zero", field="first")
    head(tx, second)
    return _path(tx, lambda get: merkle_tree.consistency_path(get, first, second))
