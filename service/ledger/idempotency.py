"""Each change at most once: an answer is stored in the same transaction as what it answers for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, bindparam, delete, update

from circuits.canonical import canonical_bytes, parse_json

from ..refusals import IdempotencyMismatch
from ..store import tables
from ..store.statements import find
from ..store.statements import put_new as insert_new
from .book import Book

Tree = dict[str, Any]
#: Answers are kept for thirty days: longer than anybody repeats a request.
KEEP_SECONDS = 30 * 86400


__all__ = ["answered", "insert_new", "once"]
#: Answers are stored under the caller's key.
_STORE = (
    update(tables.idempotency)
    .where(tables.idempotency.c.caller == bindparam("of_caller"), tables.idempotency.c.key == bindparam("of_key"))
    .values(sealed=bindparam("answer"))
)


def once(
    book: Book, caller: str, key: str, request: bytes, work: Callable[[Connection], Tree], *, status: int = 200
) -> tuple[Tree, bool]:
    """Run ``work`` in one transaction under an idempotency key; gives the answer and whether it is an earlier one.

    ``caller`` scopes the key, ``request`` is a digest of all that was asked. ``IdempotencyMismatch`` for a key that
    answered another request. Refusals store nothing: asking again asks anew.
    """
    table, purpose = tables.idempotency, f"idempotency/{caller}/{key}"

    def unit(tx: Connection) -> tuple[Tree, bool]:
        fresh = insert_new(
            tx, table, caller=caller, key=key, request=request.hex(), status=status, sealed=b"", created=book.clock()
        )
        if not fresh:
            row = find(tx, table, caller=caller, key=key)
            if row.request != request.hex():
                raise IdempotencyMismatch("this key was used for another request", field="idempotency-key")
            return parse_json(book.vault.open(bytes(row.sealed), purpose=purpose), name="answer"), True
        answer = work(tx)
        sealed = book.vault.seal(canonical_bytes(answer), purpose=purpose)
        tx.execute(_STORE, {"of_caller": caller, "of_key": key, "answer": sealed})
        return answer, False

    return book.database.write(unit)


def answered(tx: Connection, caller: str, key: str, request: bytes) -> bool:
    """Whether a key has its answer; ``IdempotencyMismatch`` for another request. Spares work before ``once``."""
    row = find(tx, tables.idempotency, caller=caller, key=key)
    if row is not None and row.request != request.hex():
        raise IdempotencyMismatch("this key was used for another request", field="idempotency-key")
    return row is not None


def forget(book: Book) -> int:
    """Drop answers older than :data:`KEEP_SECONDS`; gives how many."""
    table = tables.idempotency
    return book.database.write(
        lambda tx: tx.execute(delete(table).where(table.c.created < book.clock() - KEEP_SECONDS)).rowcount
    )
