"""Inserts that every request makes, built once: building one costs more than running it."""

from __future__ import annotations

from functools import cache

from sqlalchemy import Connection, Executable, Insert, Table, insert, literal_column
from sqlalchemy.dialects import postgresql, sqlite

from zkmargin.service.store.rows import Value


@cache
def _insert(table: Table) -> Insert:
    return insert(table)


@cache
def _insert_new(table: Table, dialect: str) -> Executable:
    kind = postgresql if dialect == "postgresql" else sqlite
    new: Executable = kind.insert(table).on_conflict_do_nothing().returning(literal_column("1"))
    return new


def put(tx: Connection, table: Table, **values: Value) -> None:
    """Insert one row."""
    tx.execute(_insert(table), values)


def put_new(tx: Connection, table: Table, **values: Value) -> bool:
    """Insert a row unless its key is taken; says whether it was inserted. Waits for whoever holds the key."""
    return tx.execute(_insert_new(table, tx.dialect.name), values).one_or_none() is not None
