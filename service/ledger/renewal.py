"""Credit entries as they are shown: signed anew when the key that signed them has been superseded.

The log has no entries, so no head vouches for one of an earlier key, and readers take none. What is stored stays: the
state, its sequence and its journal are the same, and only the time at which it is said is later.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, select

from zkmargin.circuits.errors import CorruptData, SignatureRejected
from zkmargin.service.keys.signing import sign_credit_entry
from zkmargin.service.ledger.answers import CreditState
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.ledger.json_tree import Fields, parsed
from zkmargin.service.store import tables
from zkmargin.verifier.facts.credit_entry import CreditEntry, verify_credit_entry
from zkmargin.verifier.facts.hub_keys import KEY_GRACE, public_key


def shown(ledger: Ledger, tx: Connection, credit: CreditState) -> CreditState:
    """A credit with its entry signed by the hub's newest key."""
    now = ledger.clock()
    key = ledger.signing_key(tx, now)
    # Most entries are much younger than the key, and need no check of their signature.
    if _time_of(credit.entry) >= key.not_before + KEY_GRACE:
        return credit
    newest = public_key(bytes.fromhex(key.public))
    entry, signer = _opened(credit.entry.encode(), [newest, *_keys(tx)])
    if signer is newest:
        return credit
    renewed = sign_credit_entry(replace(entry, time=max(now, entry.time)), key.private)
    return replace(credit, entry=renewed.decode())


def _time_of(document: str) -> int:
    """The time in a stored entry, which is the hub's own: its signature is not looked at."""
    payload = Fields(parsed(document, name="entry"), "entry").text("jws").split(".")[1]
    claims = parsed(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), name="entry")
    return Fields(claims, "entry").number("time")


def _keys(tx: Connection) -> Iterator[Ed25519PublicKey]:
    for row in tx.execute(select(tables.signing_keys.c.public).order_by(tables.signing_keys.c.number.desc())):
        yield public_key(bytes.fromhex(row.public))


def _opened(document: bytes, keys: list[Ed25519PublicKey]) -> tuple[CreditEntry, Ed25519PublicKey]:
    """The entry, and the key that signed it."""
    for key in keys:
        try:
            return verify_credit_entry(document, key), key
        except SignatureRejected:
            continue
    raise CorruptData("a stored credit entry is signed with no key of the hub", field="credits.entry")
