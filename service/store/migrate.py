"""Schema migrations by Alembic, run from code: the package carries its own scripts and needs no ini file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from circuits.errors import StatementMismatch

from ..errors import NotFound
from ..refusals import Unavailable
from .database import NO_HUB

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

    from .database import Database

#: PostgreSQL advisory lock, so that two hosts that start together do not both migrate.
_LOCK = 0x7A6B6D61


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "service.store:migrations")
    return config


@contextmanager
def _connection(database: Database) -> Iterator[Connection]:
    """A connection; ``Unavailable`` if there is none to be had."""
    from sqlalchemy.exc import OperationalError

    try:
        with database.engine.connect() as connection:
            yield connection
    except OperationalError as err:
        raise Unavailable(f"the database cannot be opened ({type(err.orig).__name__})") from None


def upgrade(database: Database) -> None:
    """Bring the schema to the newest revision; does nothing when it is there."""
    from alembic import command
    from sqlalchemy import text

    config = _config()
    with _connection(database) as connection:
        if not database.sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


def expect_current(database: Database) -> None:
    """``StatementMismatch`` unless the schema is exactly the one that this version works with, ``NotFound`` if there is
    none; nothing is made.
    """
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    wanted = ScriptDirectory.from_config(_config()).get_current_head()
    database.expect_present()
    with _connection(database) as connection:
        present = MigrationContext.configure(connection).get_current_revision()
    if present is None:
        raise NotFound(NO_HUB, field="database")
    if present != wanted:
        raise StatementMismatch("another schema version: run zkmargin hub migrate", field="database")
