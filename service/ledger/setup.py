"""A hub's beginning and its keys: initialise, migrate, rotate the signing key, seal anew under a new storage key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Table, insert, select, update

from zkmargin.circuits.errors import MalformedInput
from zkmargin.circuits.strict_json import parse_json
from zkmargin.service.keys.signing import raw_public, sign_hub_key
from zkmargin.service.keys.vault import Vault
from zkmargin.service.ledger import callers, epochs, events, names, transparency
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.ledger.events import Tree
from zkmargin.service.refusals import Conflict
from zkmargin.service.store import tables
from zkmargin.service.store.database import Database
from zkmargin.service.store.migrate import upgrade
from zkmargin.service.store.rows import HubRow, SigningKeyRow, every, find, one
from zkmargin.verifier.facts.hub_keys import HubKey

#: A signing key serves a year by default and is rotated before.
KEY_SECONDS = 366 * 86400


def initialise(
    database: Database,
    vault: Vault,
    *,
    name: str,
    currency: str,
    decimals: int,
    operator: tuple[str, str],
    now: int,
) -> Tree:
    """Make an empty ledger with its first signing key and its first operator (name, public key as hex).

    ``Conflict`` on a database that holds a hub.
    """
    upgrade(database)
    key = Ed25519PrivateKey.generate()
    public = raw_public(key)
    fact = HubKey(name, public, now, now + KEY_SECONDS, b"")

    def unit(tx: Connection) -> Tree:
        if find(tx, HubRow, id=1) is not None:
            raise Conflict("the database holds a hub already", field="database")
        if operator[0].casefold() == name.casefold():
            raise Conflict("the hub's own name", field="operator")
        tx.execute(insert(tables.hub).values(id=1, name=name, currency=currency, decimals=decimals, created=now))
        tx.execute(insert(tables.log_state).values(id=1, size=0, frontier=b""))
        _store_key(tx, vault, 1, key, fact, sign_hub_key(fact, key))
        admitted = callers.admit(tx, "operator", operator[0], operator[1], now=now, not_before=now)
        return {"hub": name, "key": public.hex(), "operator": operator[0], "kid": admitted["kid"]}

    return database.write(unit)


def _store_key(
    tx: Connection, vault: Vault, number: int, key: Ed25519PrivateKey, fact: HubKey, document: bytes
) -> None:
    tx.execute(
        insert(tables.signing_keys).values(
            number=number, public=fact.key.hex(), not_before=fact.not_before, not_after=fact.not_after,
            sealed=vault.seal(key.private_bytes_raw(), purpose=f"signing-key/{number}"), document=document.decode(),
        )
    )  # fmt: skip


def key_documents(tx: Connection) -> list[Tree]:
    """The public chain of signing keys, oldest first."""
    rows = tx.execute(select(tables.signing_keys.c.document).order_by(tables.signing_keys.c.number))
    return [parse_json(row.document.encode(), name="hub-key") for row in rows]


def rotate_signing_key(ledger: Ledger, *, begins: int | None = None, seconds: int = KEY_SECONDS) -> Tree:
    """Appoint a new signing key, valid from ``begins`` (now by default); the present one stays valid to its end, so
    that readers have time to follow the chain. New facts are signed with the newest key that is valid.

    A reader that does not ask between the appointment and the end of the present key cannot follow any more. A new key
    ends no earlier than the present one, which would else sign again after it, and readers take nothing of a superseded
    key.
    """
    now = ledger.clock()
    start = now if begins is None else begins
    key = Ed25519PrivateKey.generate()

    def unit(tx: Connection) -> Tree:
        newest = every(SigningKeyRow).order_by(tables.signing_keys.c.number.desc()).limit(1)
        last = one(tx, SigningKeyRow, newest.with_for_update(key_share=True))
        if not max(now, last.not_before) <= start <= last.not_after:
            raise MalformedInput("must be from now on, while the present key is valid", field="begins")
        if start + seconds < last.not_after:
            raise MalformedInput("must end no earlier than the present key", field="days")
        number = last.number + 1
        fact = HubKey(ledger.name, raw_public(key), start, start + seconds, bytes.fromhex(last.public))
        secret = ledger.vault.open(last.sealed, purpose=f"signing-key/{last.number}")
        document = sign_hub_key(fact, Ed25519PrivateKey.from_private_bytes(secret))
        _store_key(tx, ledger.vault, number, key, fact, document)
        if start <= now:
            ledger.forget_signing_key()
            transparency.resign(ledger, tx)
        return {"key": fact.key.hex(), "not_before": fact.not_before, "not_after": fact.not_after}

    return ledger.database.write(unit)


def admit(ledger: Ledger, kind: str, name: str, key: str) -> Tree:
    """Register an operator or an oracle, or one more key of theirs."""

    def unit(tx: Connection) -> Tree:
        now = ledger.clock()
        names.expect_free(ledger, tx, kind, name)
        return callers.admit(tx, kind, name, key, now=now, not_before=now)

    return ledger.database.write(unit)


def _purposes() -> list[tuple[Table, Callable[[Any], str]]]:
    """Every table with sealed values, and what each is bound to."""
    t = tables
    return [
        (t.signing_keys, lambda row: f"signing-key/{row.number}"),
        (t.accounts, lambda row: epochs.sealed_purpose(row.id, row.epoch)),
        (t.events, lambda row: events.purpose(row.account, row.sequence)),
        (t.idempotency, lambda row: f"idempotency/{row.caller}/{row.key}"),
    ]


def reseal(ledger: Ledger, progress: Callable[[str], None] = lambda step: None) -> dict[str, int]:
    """Seal every value that is under an older storage key anew under the first; gives how many by table.

    Each row in its own small transaction under its lock, so the service goes on meanwhile. Until it is done, and while
    any process still runs with the old ring, keep the old key in the ring.
    """
    done: dict[str, int] = {}
    for table, purpose in _purposes():
        progress(table.name)
        keys = list(table.primary_key.columns)
        rows = ledger.database.read(
            lambda tx, table=table, keys=keys: [  # type: ignore[misc]
                tuple(row[:-1])
                for row in tx.execute(select(*keys, table.c.sealed))
                if row[-1] and not ledger.vault.current(bytes(row[-1]))
            ]
        )
        for place in rows:
            ledger.database.write(
                lambda tx, table=table, keys=keys, place=place, purpose=purpose: _reseal_row(  # type: ignore[misc]
                    ledger, tx, table, keys, place, purpose
                )
            )
        done[table.name] = len(rows)
    return done


def _reseal_row(
    ledger: Ledger, tx: Connection, table: Table, keys: list[Any], place: tuple[Any, ...], purpose: Callable[[Any], str]
) -> None:
    chosen = [column == value for column, value in zip(keys, place, strict=True)]
    row = tx.execute(select(table).where(*chosen).with_for_update(key_share=True)).one_or_none()
    if row is None or ledger.vault.current(bytes(row.sealed)):
        return
    plain = ledger.vault.open(bytes(row.sealed), purpose=purpose(row))
    tx.execute(update(table).where(*chosen).values(sealed=ledger.vault.seal(plain, purpose=purpose(row))))
