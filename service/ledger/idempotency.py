"""Each change at most once: an answer is stored in the same transaction as what it answers for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, delete, literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite

from circuits.canonical import canonical_bytes, parse_json

from ..refusals import IdempotencyMismatch
from ..store import tables
from .book import Book

Tree = dict[str, Any]
#: Answers are kept for thirty days: longer than anybody repeats a request.
KEEP_SECONDS = 30 * 86400


def insert_new(tx: Connection, table: Any, **values: Any) -> bool:
    """Insert a row unless its key is taken; says whether it was inserted. Waits for whoever holds the key."""
    dialect = postgresql if tx.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).values(**values).on_conflict_do_nothing().returning(literal_column("1"))
    return tx.execute(statement).one_or_none() is not None


def once(
    book: Book, caller: str, key: str, request: bytes, work: Callable[[Connection], Tree], *, status: int = 200
) -> tuple[Tree, bool]:
    """Run ``work`` in one transaction under an idempotency key; gives the answer and whether it is an earlier one.

    ``caller`` scopes the key, ``request`` is a digest of all that was asked. ``IdempotencyMismatch`` for a key that
    answered another request. Refusals store nothing: asking again asks anew.
    """
    table, purpose = tables.idempotency, f"idempotency/{caller}/{key}"
    chosen = (table.c.caller == caller) & (table.c.key == key)

    def unit(tx: Connection) -> tuple[Tree, bool]:
        fresh = insert_new(
            tx, table, caller=caller, key=key, request=request.hex(), status=status, sealed=b"", created=book.clock()
        )
        if not fresh:
            row = tx.execute(select(table).where(chosen)).one()
            if row.request != request.hex():
                raise IdempotencyMismatch("this key was used for another request", field="idempotency-key")
            return parse_json(book.vault.open(bytes(row.sealed), purpose=purpose), name="answer"), True
        answer = work(tx)
        sealed = book.vault.seal(canonical_bytes(answer), purpose=purpose)
        tx.execute(update(table).where(chosen).values(sealed=sealed))
        return answer, False

    return book.database.write(unit)


def earlier(book: Book, caller: str, key: str, request: bytes) -> Tree | None:
    """The stored answer of a key, or None; ``IdempotencyMismatch`` for another request. Spares work before ``once``."""
    table = tables.idempotency

    def unit(tx: Connection) -> Tree | None:
        row = tx.execute(select(table).where((table.c.caller == caller) & (table.c.key == key))).one_or_none()
        if row is None:
            return None
        if row.request != request.hex():
            raise IdempotencyMismatch("this key was used for another request", field="idempotency-key")
        tree: Tree = parse_json(
            book.vault.open(bytes(row.sealed), purpose=f"idempotency/{caller}/{key}"), name="answer"
        )
        return tree

    return book.database.read(unit)


def forget(book: Book, now: int) -> int:
    """Drop answers older than :data:`KEEP_SECONDS`; gives how many."""
    table = tables.idempotency
    return book.database.write(
        lambda tx: tx.execute(delete(table).where(table.c.created < now - KEEP_SECONDS)).rowcount
    )
