"""A hub's beginning and its keys: initialise, migrate, rotate the signing key, seal anew under a new storage key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias, assert_never

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, insert, select, update

from zkmargin.circuits.errors import MalformedInput
from zkmargin.service.keys.signing import raw_public, sign_hub_key
from zkmargin.service.keys.vault import Vault
from zkmargin.service.ledger import answers, callers, epochs, events, names, transparency
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.refusals import Conflict
from zkmargin.service.store import tables
from zkmargin.service.store.database import Database
from zkmargin.service.store.migrate import upgrade
from zkmargin.service.store.rows import (
    AccountRow,
    EventRow,
    HubRow,
    IdempotencyRow,
    SigningKeyRow,
    Value,
    every,
    find,
    one,
)
from zkmargin.verifier.facts.hub_keys import HubKey

#: Rows with a value that is sealed under a storage key.
SealedRow: TypeAlias = SigningKeyRow | AccountRow | EventRow | IdempotencyRow
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
) -> answers.Hub:
    """Make an empty ledger with its first signing key and its first operator (name, public key as hex).

    ``Conflict`` on a database that holds a hub.
    """
    upgrade(database)
    key = Ed25519PrivateKey.generate()
    public = raw_public(key)
    fact = HubKey(name, public, now, now + KEY_SECONDS, b"")

    def unit(tx: Connection) -> answers.Hub:
        if find(tx, HubRow, id=1) is not None:
            raise Conflict("the database holds a hub already", field="database")
        if operator[0].casefold() == name.casefold():
            raise Conflict("the hub's own name", field="operator")
        tx.execute(insert(tables.hub).values(id=1, name=name, currency=currency, decimals=decimals, created=now))
        tx.execute(insert(tables.log_state).values(id=1, size=0, frontier=b""))
        _store_key(tx, vault, 1, key, fact, sign_hub_key(fact, key))
        admitted = callers.admit(tx, "operator", operator[0], operator[1], now=now, not_before=now)
        return answers.Hub(name, public.hex(), operator[0], admitted.kid)

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


def key_documents(tx: Connection) -> answers.HubKeys:
    """The public chain of signing keys, oldest first."""
    c = tables.signing_keys.c
    hub = one(tx, HubRow, every(HubRow))
    return answers.HubKeys(hub.name, tuple(tx.execute(select(c.document).order_by(c.number)).scalars()))


def rotate_signing_key(ledger: Ledger, *, begins: int | None = None, seconds: int = KEY_SECONDS) -> answers.SigningKey:
    """Appoint a new signing key, valid from ``begins`` (now by default); the present one stays valid to its end, so
    that readers have time to follow the chain. New facts are signed with the newest key that is valid.

    A reader that does not ask between the appointment and the end of the present key cannot follow any more. A new key
    ends no earlier than the present one, which would else sign again after it, and readers take nothing of a superseded
    key.
    """
    now = ledger.clock()
    start = now if begins is None else begins
    key = Ed25519PrivateKey.generate()

    def unit(tx: Connection) -> answers.SigningKey:
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
        return answers.SigningKey(fact.key.hex(), fact.not_before, fact.not_after)

    return ledger.database.write(unit)


def admit(ledger: Ledger, kind: str, name: str, key: str) -> answers.Key:
    """Register an operator or an oracle, or one more key of theirs."""

    def unit(tx: Connection) -> answers.Key:
        now = ledger.clock()
        names.expect_free(ledger, tx, kind, name)
        return callers.admit(tx, kind, name, key, now=now, not_before=now)

    return ledger.database.write(unit)


#: The types of rows with sealed values, in the order in which they are sealed anew.
_SEALED: tuple[type[SealedRow], ...] = (SigningKeyRow, AccountRow, EventRow, IdempotencyRow)


def _purpose(row: SealedRow) -> str:
    """What a row's sealed value is bound to."""
    match row:
        case SigningKeyRow():
            return f"signing-key/{row.number}"
        case AccountRow():
            return epochs.sealed_purpose(row.id, row.epoch)
        case EventRow():
            return events.purpose(row.account, row.sequence)
        case IdempotencyRow():
            return f"idempotency/{row.caller}/{row.key}"
        case _:
            assert_never(row)


def reseal(ledger: Ledger, progress: Callable[[str], None] = lambda step: None) -> dict[str, int]:
    """Seal every value that is under an older storage key anew under the first; gives how many by table.

    Each row in its own small transaction under its lock, so the service goes on meanwhile. Until it is done, and while
    any process still runs with the old ring, keep the old key in the ring.
    """
    done: dict[str, int] = {}
    for kind in _SEALED:
        progress(kind.table.name)
        places = ledger.database.read(partial(_outdated, ledger, kind))
        for place in places:
            ledger.database.write(partial(_reseal_row, ledger, kind, place))
        done[kind.table.name] = len(places)
    return done


def _outdated(ledger: Ledger, kind: type[SealedRow], tx: Connection) -> list[dict[str, Value]]:
    """The primary keys of the rows that are sealed under an older key. A request at work has nothing sealed yet."""
    names = [column.name for column in kind.table.primary_key.columns]
    found = tx.execute(select(*kind.table.primary_key.columns, kind.table.c.sealed))
    return [
        dict(zip(names, row[:-1], strict=True)) for row in found if row.sealed and not ledger.vault.current(row.sealed)
    ]


def _reseal_row(ledger: Ledger, kind: type[SealedRow], place: Mapping[str, Value], tx: Connection) -> None:
    row = find(tx, kind, lock=True, **place)
    if row is None or ledger.vault.current(row.sealed):
        return
    purpose = _purpose(row)
    sealed = ledger.vault.seal(ledger.vault.open(row.sealed, purpose=purpose), purpose=purpose)
    chosen = [kind.table.c[name] == value for name, value in place.items()]
    tx.execute(update(kind.table).where(*chosen).values(sealed=sealed))
