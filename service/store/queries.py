"""Statements that every request makes, built once: building one costs more than running it."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Connection, Insert, Select, Table, bindparam, insert, literal_column, select
from sqlalchemy.dialects import postgresql, sqlite


@cache
def _insert(table: Table) -> Insert:
    return insert(table)


@cache
def _insert_new(table: Table, dialect: str) -> Any:
    kind = postgresql if dialect == "postgresql" else sqlite
    return kind.insert(table).on_conflict_do_nothing().returning(literal_column("1"))


@cache
def _select_by(table: Table, columns: tuple[str, ...], lock: bool) -> Select[Any]:
    query = select(table).where(*(table.c[name] == bindparam(name) for name in columns))
    return query.with_for_update(key_share=True) if lock else query


def put(tx: Connection, table: Table, **values: Any) -> None:
    """Insert one row."""
    tx.execute(_insert(table), values)


def put_new(tx: Connection, table: Table, **values: Any) -> bool:
    """Insert a row unless its key is taken; says whether it was inserted. Waits for whoever holds the key."""
    return tx.execute(_insert_new(table, tx.dialect.name), values).one_or_none() is not None


def find(tx: Connection, table: Table, *, lock: bool = False, **values: Any) -> Any:
    """The row with these values, or None; locked against other changes until the transaction ends if asked."""
    return tx.execute(_select_by(table, tuple(values), lock), values).one_or_none()
