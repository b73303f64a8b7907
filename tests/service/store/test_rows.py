"""A row type says what its table holds: a column that is forgotten, or of another type, is found here."""

from __future__ import annotations

from dataclasses import fields
from typing import get_type_hints

import pytest
from sqlalchemy import Table, create_engine, insert, select

from zkmargin.service.store import rows, tables
from zkmargin.service.store.rows import Record, every, find, first

#: Tables of which no row is ever read whole: a nonce is there or not, and so is a grant.
NEVER_READ = {"nonces", "grants"}
#: Row types that leave columns out, and why.
PARTIAL = {rows.PublishedRow: "a snapshot's document has megabytes and is read where it is parsed"}
KINDS = [
    kind for kind in vars(rows).values() if isinstance(kind, type) and issubclass(kind, Record) and kind is not Record
]


def hinted(kind: type[Record]) -> dict[str, object]:
    """The fields of a row type in order, with their types."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def stored(table: Table) -> dict[str, object]:
    """The columns of a table in order, with the Python types of what they hold."""
    return {
        column.name: column.type.python_type | None if column.nullable else column.type.python_type
        for column in table.columns
    }


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_row_type_has_the_columns_of_its_table(kind: type[Record]) -> None:
    columns = stored(kind.table)
    if kind in PARTIAL:
        columns = {name: columns[name] for name in hinted(kind)}
    assert hinted(kind) == columns
    # In order too, since a change gives its row in the order of the table.
    assert [*hinted(kind)] == [*columns]


def test_every_table_has_one_whole_row_type() -> None:
    whole = [kind.table.name for kind in KINDS if kind not in PARTIAL]
    assert sorted(whole) == sorted({table.name for table in tables.metadata.sorted_tables} - NEVER_READ)


def test_row_types_cannot_be_changed_and_hold_nothing_else() -> None:
    row = rows.ZoneRow("eth", 10, 3)
    with pytest.raises(AttributeError):
        row.exposure = 4  # type: ignore[misc]
    assert not hasattr(row, "__dict__")


def test_rows_are_read_as_their_types() -> None:
    engine = create_engine("sqlite://")
    tables.metadata.create_all(engine)
    with engine.begin() as tx:
        tx.execute(insert(tables.log_state).values(id=1, size=2, frontier=b"\x01\x02"))
        state = find(tx, rows.LogStateRow, id=1)
        assert state == rows.LogStateRow(1, 2, b"\x01\x02")
        assert find(tx, rows.LogStateRow, id=2) is None
        assert [*rows.each(tx, rows.LogStateRow, every(rows.LogStateRow))] == [state]
        # A query for other columns is no row of the type.
        with pytest.raises(TypeError):
            first(tx, rows.LogStateRow, select(tables.log_state.c.size))
    engine.dispose()
