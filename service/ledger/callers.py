"""Who may call: registered public keys with validity, nonces used, grants of accounts to venues."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, delete, select, update

from zkmargin.circuits.errors import MalformedInput
from zkmargin.service.errors import NotFound
from zkmargin.service.keys.request_signatures import MAX_LIFETIME, key_id
from zkmargin.service.ledger.answers import Key
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.ledger.idempotency import insert_new
from zkmargin.service.refusals import Conflict, Forbidden, KeyNotValid, RequestReplayed
from zkmargin.service.store import tables
from zkmargin.service.store.rows import KeyRow, each, every, find, one

#: A key without an end is valid until the year 9999.
FOREVER = 253_402_300_799
#: Seconds by which the clocks of two hosts of one hub may differ: a nonce is kept so much longer.
NONCE_MARGIN = 120
#: Valid keys of one caller, those that begin later among them: two for a rotation, some for machines. Every key is a
#: way in, and a row that a caller makes by itself.
MAX_VALID_KEYS = 8
#: Keys of one caller that may end in a day. They are kept, as what they signed is evidence, and become many slowly.
MAX_ENDED_A_DAY = 32
#: Seconds after its end before a key that proves nothing may be registered again, by whoever: no request that it signed
#: is good any more.
RELEASE_SECONDS = MAX_LIFETIME + NONCE_MARGIN
#: Whose signatures the audit verifies again, under their keys of any time.
EVIDENCE = ("account", "oracle")
_DAY = 86_400


@dataclass(frozen=True)
class Principal:
    """Who signed a request."""

    kind: str
    name: str
    kid: str

    @property
    def caller(self) -> str:
        """Scope of idempotency keys and subject of diagnostics."""
        return f"{self.kind}/{self.name}"

    def expect(self, *kinds: str) -> None:
        """``Forbidden`` unless the caller is of one of these kinds."""
        if self.kind not in kinds:
            raise Forbidden(f"only for {' or '.join(kinds)}")


def admit(
    tx: Connection, kind: str, owner: str, public: str, *, now: int, not_before: int, not_after: int = FOREVER
) -> Key:
    """Register a public key (64 hex digits); ``Conflict`` for one that is registered, for anybody, and for more than
    :data:`MAX_VALID_KEYS` of one caller, or :data:`MAX_ENDED_A_DAY` that ended.
    """
    if not_before > not_after:
        raise MalformedInput("must not be before not_before", field="not_after")
    raw = bytes.fromhex(public)
    Ed25519PublicKey.from_public_bytes(raw)
    kid = key_id(raw)
    held = _locked(tx, kind, owner)
    if sum(row.not_after > now for row in held) >= MAX_VALID_KEYS:
        raise Conflict(f"a caller has at most {MAX_VALID_KEYS} valid keys: retire one first", field="key")
    if sum(now - _DAY < row.not_after <= now for row in held) >= MAX_ENDED_A_DAY:
        raise Conflict(f"{MAX_ENDED_A_DAY} keys of this caller ended within a day: wait", field="key")
    _release(tx, kid, now)
    if not insert_new(
        tx, tables.keys, kid=kid, kind=kind, owner=owner, public=public, not_before=not_before, not_after=not_after
    ):
        raise Conflict("this key is registered", field="key")
    return Key(kid, not_before, not_after)


def _locked(tx: Connection, kind: str, owner: str) -> list[KeyRow]:
    """All keys of a principal, locked in one order: two keys that retire each other cannot both go, and two that are
    added at once are counted one after the other.
    """
    c = tables.keys.c
    mine = every(KeyRow).where(c.kind == kind, c.owner == owner).order_by(c.kid)
    tx.execute(mine.with_for_update(key_share=True))
    # Read again: a statement that waited for a lock does not see what was added meanwhile.
    return list(each(tx, KeyRow, mine))


def _release(tx: Connection, kid: str, now: int) -> None:
    """Drop a key that ended and is no evidence, so that it can be registered again.

    Whoever sees a public key may register it first, and nobody shows that it has the private one. An operator revokes
    it, and its owner can come.
    """
    c = tables.keys.c
    chosen = (c.kid == kid, c.not_after < now - RELEASE_SECONDS, c.kind.not_in(EVIDENCE))
    tx.execute(delete(tables.keys).where(*chosen))


def keys_of(tx: Connection, kind: str, owner: str) -> list[KeyRow]:
    """All keys of a principal, oldest first."""
    c = tables.keys.c
    mine = every(KeyRow).where(c.kind == kind, c.owner == owner)
    return list(each(tx, KeyRow, mine.order_by(c.not_before, c.kid)))


def retire(tx: Connection, kind: str, owner: str, kid: str, now: int) -> Key:
    """End a key's validity now. The last valid key of a principal stays: nobody locks himself out. ``NotFound``."""
    valid = [row for row in _locked(tx, kind, owner) if row.not_after > now]
    if kid not in {row.kid for row in valid}:
        raise NotFound("no such valid key", field="kid")
    if not any(row.kid != kid and row.not_before <= now for row in valid):
        raise Conflict("the only valid key: add another first", field="kid")
    return _end(tx, kid, now)


def revoke_key(tx: Connection, kid: str, now: int) -> Key:
    """As an operator: end anybody's key now, even the last. Not an operator's last. ``NotFound``."""
    row = lookup(tx, kid)
    if row is None or row.not_after <= now:
        raise NotFound("no such valid key", field="kid")
    if row.kind == "operator":
        return retire(tx, "operator", row.owner, kid, now)
    return _end(tx, kid, now)


def _end(tx: Connection, kid: str, now: int) -> Key:
    tx.execute(update(tables.keys).where(tables.keys.c.kid == kid).values(not_after=now))
    row = one(tx, KeyRow, every(KeyRow).where(tables.keys.c.kid == kid))
    return Key(row.kid, row.not_before, row.not_after)


def lookup(tx: Connection, kid: str) -> KeyRow | None:
    """The row of a registered key, valid or not, or None."""
    return find(tx, KeyRow, kid=kid)


def expect_valid(row: KeyRow, *, created: int, now: int) -> None:
    """``KeyNotValid`` outside a key's time, with the clocks of both sides: the caller can tell whose is wrong."""
    if row.not_before <= now <= row.not_after:
        return
    if row.not_before <= created <= row.not_after:
        why = f"the key is valid by the request's clock ({created}) and not by this server's ({now}): set the clocks"
    else:
        why = f"the key begins at {row.not_before}" if now < row.not_before else f"the key ended at {row.not_after}"
        why += f"; this server's clock says {now}, the request's {created}"
    raise KeyNotValid(
        why, field="keyid", not_before=row.not_before, not_after=row.not_after, created=created, server_time=now
    )


def burn_nonce(ledger: Ledger, kid: str, nonce: str, expires: int, ticket: str) -> None:
    """Use up a nonce, in a transaction of its own so that a refused request cannot be sent again; ``RequestReplayed``.

    ``ticket`` is fresh for each request received: a commit that was repeated finds its own row.
    """

    def unit(tx: Connection) -> None:
        c = tables.nonces.c
        if insert_new(tx, tables.nonces, kid=kid, nonce=nonce, expires=expires, ticket=ticket):
            return
        held = tx.execute(select(c.ticket).where(c.kid == kid, c.nonce == nonce)).scalar_one_or_none()
        if held != ticket:
            raise RequestReplayed("this signed request was received before", field="signature-input.nonce")

    ledger.database.apart(unit)


def forget_nonces(ledger: Ledger) -> int:
    """Drop nonces whose signatures have expired by any host's clock; gives how many."""
    table, limit = tables.nonces, ledger.clock() - NONCE_MARGIN
    return ledger.database.write(lambda tx: tx.execute(delete(table).where(table.c.expires < limit)).rowcount)


def grant(tx: Connection, account: str, venue: str) -> None:
    """Let a venue see an account's attestations."""
    insert_new(tx, tables.grants, account=account, venue=venue)


def revoke(tx: Connection, account: str, venue: str) -> None:
    """Take a grant back; ``NotFound``."""
    c = tables.grants.c
    if tx.execute(delete(tables.grants).where(c.account == account, c.venue == venue)).rowcount == 0:
        raise NotFound("no such grant", field="venue")


def may_see(tx: Connection, principal: Principal, account: str) -> None:
    """Owner, operators and granted venues see an account's attestations; to others it does not exist: ``NotFound``."""
    if principal.kind == "operator" or (principal.kind, principal.name) == ("account", account):
        return
    c = tables.grants.c
    if principal.kind == "venue" and (
        tx.execute(select(c.venue).where(c.account == account, c.venue == principal.name)).one_or_none() is not None
    ):
        return
    raise NotFound("no such account", field="account")
