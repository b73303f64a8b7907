"""The holder's consent: nothing is booked on a proof alone, and nothing but what the account's key authorised.

A statement says what it is for, and the proof binds it; the account's key signs the statement. So a venue cannot turn
a proof that shows solvency into a credit, nor one order into another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, TypeVar

from sqlalchemy import Connection

from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.documents.statement import StatementModel, statement_from_model
from zkmargin.circuits.errors import SignatureRejected
from zkmargin.circuits.purpose import Purpose
from zkmargin.circuits.schema import validate
from zkmargin.circuits.statement import Statement
from zkmargin.service.ledger import callers
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.ledger.json_tree import Fields, Tree, parsed
from zkmargin.service.refusals import NotAuthorised, StatementRefused
from zkmargin.verifier.facts.authorisation import check_authorises, verify_authorisation
from zkmargin.verifier.facts.hub_keys import public_key

P = TypeVar("P", bound=Purpose)


@dataclass(frozen=True)
class Proved:
    """A statement, its proof, and the document in which the account's key authorises it."""

    statement: Statement
    proof: bytes
    authorisation: bytes

    def to_json(self) -> Tree:
        """What the journal keeps, so that the audit can verify all of it again."""
        return {
            "statement": parsed(self.statement.to_bytes(), name="statement"),
            "proof": self.proof.hex(),
            "authorisation": parsed(self.authorisation, name="authorisation"),
        }

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Inverse of :meth:`to_json`; ``CorruptData`` or ``MalformedInput``."""
        statement = statement_from_model(validate(StatementModel, fields.tree("statement"), name="statement"))
        return cls(statement, fields.raw("proof"), canonical_bytes(fields.tree("authorisation")))


def expect_purpose(statement: Statement, kind: type[P]) -> P:
    """The statement's purpose, which must be of this kind; ``StatementRefused``. Version 1 only shows."""
    purpose = statement.purpose
    if not isinstance(purpose, kind):
        raise StatementRefused(f"was made for another use ({purpose.name})", field="statement.purpose")
    return purpose


def expect_authorised(ledger: Ledger, tx: Connection, proved: Proved) -> None:
    """``NotAuthorised`` unless a key of the account that is valid now signed this statement; ``StatementMismatch`` for
    an authorisation of another one.
    """
    now = ledger.clock()
    for row in callers.keys_of(tx, "account", proved.statement.context.account):
        if not row.not_before <= now <= row.not_after:
            continue
        try:
            signed = verify_authorisation(proved.authorisation, public_key(bytes.fromhex(row.public)))
        except SignatureRejected:
            continue
        check_authorises(signed, proved.statement, now=now)
        return
    raise NotAuthorised("no valid key of the account signed this", field="authorisation")
