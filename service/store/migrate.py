"""Schema migrations by Alembic, run from code: the package carries its own scripts and needs no ini file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from zkmargin.circuits.errors import StatementMismatch
from zkmargin.service.refusals import Unavailable
from zkmargin.service.store.database import passing

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

    from zkmargin.service.store.database import Database

#: PostgreSQL advisory lock, so that two hosts that start together do not both migrate.
_LOCK = 0x7A6B6D61


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "zkmargin.service.store:migrations")
    return config


#: What a database says when it cannot be opened, and what is told of it: its own words name hosts and users.
_REASONS = {
    "unable to open": "no file can be opened there",
    "not a database": "the file is no SQLite database",
    "refused": "nothing listens at its address",
    "password": "it refuses the password",
    "does not exist": "it has no such database or role",
    "resolve": "its host is unknown",
}


@contextmanager
def opened(database: Database) -> Iterator[Connection]:
    """A connection; ``Unavailable`` with the reason where the database cannot be opened at all."""
    try:
        connection = database.engine.connect()
    except (DBAPIError, sqlite3.Error) as err:
        words = str(err.orig if isinstance(err, DBAPIError) else err)
        reason = next((told for part, told in _REASONS.items() if part in words), "no reason that may be shown")
        raise Unavailable(f"the database cannot be opened: {reason}", field="database") from None
    with connection:
        yield connection


def revision(database: Database) -> str | None:
    """The revision of its schema; None of a database that is empty or not there, which this leaves so."""
    from alembic.runtime.migration import MigrationContext

    file = Path(database.engine.url.database or "") if database.sqlite else None
    if file is not None and file.parent.is_dir() and not file.exists():
        return None
    with opened(database) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def expect_ledger(database: Database) -> str:
    """The schema's revision; ``StatementMismatch`` where there is no ledger at all, of whatever version."""
    present = revision(database)
    if present is None:
        raise StatementMismatch("there is no ledger here: run zkmargin hub init", field="database")
    return present


def upgrade(database: Database) -> None:
    """Bring the schema to the newest revision, all of it or nothing; does nothing when it is there.

    ``Unavailable`` while others hold what it has to change.
    """
    from alembic import command

    config = _config()
    # On SQLite nothing else begins a transaction: each statement would stay by itself, whatever became of the rest.
    first = "BEGIN IMMEDIATE" if database.sqlite else f"SELECT pg_advisory_xact_lock({_LOCK})"
    with opened(database) as connection:
        try:
            connection.exec_driver_sql(first)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
        except DBAPIError as err:
            if not passing(err):
                raise
            raise Unavailable("others are at work on its tables: stop the service", field="database") from None


def expect_current(database: Database) -> None:
    """``StatementMismatch`` unless the schema is exactly the one that this version works with."""
    from alembic.script import ScriptDirectory

    if expect_ledger(database) != ScriptDirectory.from_config(_config()).get_current_head():
        raise StatementMismatch("another schema version: run zkmargin hub migrate", field="database")
