"""From a configuration to a ledger: its keyring, its database, and whether it may be served."""

from __future__ import annotations

import sqlite3
from dataclasses import fields

from zkmargin.circuits.errors import MalformedInput
from zkmargin.service.files import read_file, unseal
from zkmargin.service.keys.vault import Vault, parse_keys
from zkmargin.service.ledger.context import Ledger, Policy
from zkmargin.service.settings import Settings
from zkmargin.service.store.database import Database, Waits
from zkmargin.service.store.migrate import expect_current, expect_ledger


def keyring(settings: Settings) -> Vault:
    """The storage keys of the configuration; ``MalformedInput`` when there are none."""
    if settings.storage_keys is not None:
        return parse_keys(settings.storage_keys.get_secret_value())
    if settings.storage_keys_file is None:
        raise MalformedInput("set storage_keys or storage_keys_file", field="storage_keys")
    return parse_keys(unseal(read_file(settings.storage_keys_file), name="storage_keys").decode("ascii", "replace"))


def database_of(settings: Settings, waits: Waits | None = None) -> Database:
    """The database of a configuration, with a server's waits unless others are given."""
    chosen = waits or Waits(
        settings.database_lock_timeout, settings.database_statement_timeout, settings.database_idle_timeout
    )
    return Database(settings.database_url.get_secret_value(), pool_size=settings.database_pool, waits=chosen)


def open_ledger(settings: Settings, waits: Waits | None = None, *, server: bool = False) -> Ledger:
    """The ledger of a configuration, its schema checked; with the claim of a server process if it is to be one."""
    database = database_of(settings, waits)
    if server:
        # To claim a file that is not there would make one.
        expect_ledger(database)
        database.claim_server()
    expect_current(database)
    policy = Policy(**{f.name: getattr(settings, f.name) for f in fields(Policy)})
    return Ledger.open(database, keyring(settings), policy=policy)


def expect_servable(settings: Settings) -> None:
    """That this many server processes may serve this database; ``MalformedInput`` names the setting, ``Conflict`` if
    another server process is there already; ``StatementMismatch`` where there is no ledger of this version.
    """
    database = database_of(settings)
    expect_current(database)
    if settings.workers > 1 and not database.several:
        raise MalformedInput(
            f"SQLite {sqlite3.sqlite_version} can lose a transaction between several processes: one worker, SQLite "
            "3.51.3 or later, or PostgreSQL",
            field="workers",
        )
    try:
        database.claim_server()
    finally:
        database.close()
