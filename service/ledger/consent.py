"""The holder's consent: nothing is booked on a proof alone, and nothing but what the account's key authorised.

A statement says what it is for, and the proof binds it; the account's key signs the statement. So a venue cannot turn
a proof that shows solvency into a credit, nor one order into another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection

from circuits.canonical import parse_json
from circuits.errors import SignatureRejected
from circuits.purpose import Purpose
from circuits.statement import Statement
from verifier.authorisation import check_authorises, verify_authorisation
from verifier.hub_keys import public_key

from ..refusals import NotAuthorised, StatementRefused
from . import access
from .book import Book
from .events import Tree

P = TypeVar("P", bound=Purpose)


@dataclass(frozen=True)
class Proved:
    """A statement, its proof, and the document in which the account's key authorises it."""

    statement: Statement
    proof: bytes
    authorisation: bytes

    def evidence(self) -> Tree:
        """What the journal keeps, so that the audit can verify all of it again."""
        return {
            "statement": parse_json(self.statement.to_bytes(), name="statement"),
            "proof": self.proof.hex(),
            "authorisation": parse_json(self.authorisation, name="authorisation"),
        }


def expect_purpose(statement: Statement, kind: type[P]) -> P:
    """The statement's purpose, which must be of this kind; ``StatementRefused``. Version 1 only shows."""
    purpose = statement.purpose
    if not isinstance(purpose, kind):
        raise StatementRefused(f"was made for another use ({purpose.name})", field="statement.purpose")
    return purpose


def expect_authorised(book: Book, tx: Connection, proved: Proved) -> None:
    """``NotAuthorised`` unless a key of the account that is valid now signed this statement; ``StatementMismatch`` for
    an authorisation of another one.
    """
    now = book.clock()
    for row in access.keys_of(tx, "account", proved.statement.context.account):
        if not row.not_before <= now <= row.not_after:
            continue
        try:
            signed = verify_authorisation(proved.authorisation, public_key(bytes.fromhex(row.public)))
        except SignatureRejected:
            continue
        check_authorises(signed, proved.statement, now=now)
        return
    raise NotAuthorised("no valid key of the account signed this", field="authorisation")
