"""What passes between a spoke and a holder: the spoke's demand, the holder's offer. Both public, neither signed.

A holder that lies in an offer is caught by ``spoke.check_offer``; a demand commits nobody.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from circuits.canonical import MAX_SAFE_INTEGER, canonical_bytes, parse_json
from circuits.errors import StatementMismatch
from circuits.schema import AttestationModel, Decimal, Name, ProofModel, StatementModel, Strict, dump, load
from circuits.statement import Statement, from_model
from circuits.units import parse_decimal
from prover.documents import make_statement, proof_bytes, proof_of
from prover.prove import prove
from verifier.attestation import Attestation
from verifier.credit_entry import Caip2

from .holder import Attested, Holding, Prices

#: How long an offer is good for unless the holder says otherwise: to send, check and request the credit.
OFFER_SECONDS = 600


class _LegModel(Strict):
    """One leg of a public trade."""

    instrument: Name
    quantity: Decimal


class _DemandModel(Strict):
    """``zkmargin/demand/1``."""

    schema_: Literal["zkmargin/demand/1"] = Field(alias="schema")
    spoke: Name
    nonce: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    amount: Decimal
    multiplier: Decimal
    max_horizon: Annotated[int, Field(ge=1, le=366 * 86400)]
    overlays: Annotated[list[Name], Field(max_length=16)]
    delta: Annotated[list[_LegModel], Field(max_length=64)]
    caip2: Caip2 | None = None


class _OfferModel(Strict):
    """``zkmargin/offer/1``."""

    schema_: Literal["zkmargin/offer/1"] = Field(alias="schema")
    statement: StatementModel
    proof: ProofModel
    attestation: AttestationModel
    leaf: Annotated[int, Field(ge=0, le=MAX_SAFE_INTEGER)]


@dataclass(frozen=True)
class Demand:
    """What a spoke asks of a holder: the statement must say exactly this, or more.

    ``nonce`` is the spoke's own for this request and used once, ``max_horizon`` the oldest prices it takes, in seconds,
    ``delta`` a public trade after which the account must be good (no credit rests on one), ``caip2`` the spoke's chain.
    """

    spoke: str
    amount: str
    nonce: str = field(default_factory=lambda: secrets.token_hex(16))
    multiplier: str = "1"
    max_horizon: int = 3600
    overlays: tuple[str, ...] = ()
    delta: tuple[tuple[str, str], ...] = ()
    caip2: str | None = None

    def to_bytes(self) -> bytes:
        """The document ``zkmargin/demand/1``."""
        tree = dict(vars(self)) | {
            "schema": "zkmargin/demand/1",
            "overlays": list(self.overlays),
            "delta": [{"instrument": name, "quantity": quantity} for name, quantity in self.delta],
        }
        return canonical_bytes({name: value for name, value in tree.items() if value is not None})

    @classmethod
    def from_bytes(cls, data: bytes) -> Demand:
        """Read the document; ``MalformedInput`` names the field."""
        m = load(_DemandModel, data, name="demand")
        delta = tuple((leg.instrument, leg.quantity) for leg in m.delta)
        return cls(m.spoke, m.amount, m.nonce, m.multiplier, m.max_horizon, tuple(m.overlays), delta, m.caip2)

    def check(self, statement: Statement) -> None:
        """``StatementMismatch`` naming the field in which a statement is not the one demanded."""
        terms = statement.terms
        wanted = [
            ("context.spoke", statement.context.spoke == self.spoke),
            ("context.nonce", statement.context.nonce == self.nonce),
            ("amount", parse_decimal(statement.amount, field="amount") >= parse_decimal(self.amount, field="amount")),
            ("level", terms.level == "initial"),
            ("multiplier", terms.multiplier >= parse_decimal(self.multiplier, field="multiplier")),
            ("horizon", terms.horizon <= self.max_horizon),
            ("overlays", set(self.overlays) <= set(terms.overlays)),
            ("delta", statement.delta == self.delta),
        ]
        for name, holds in wanted:
            if not holds:
                raise StatementMismatch("is not what was demanded", field=f"statement.{name}")


@dataclass(frozen=True)
class Offer:
    """A holder's answer: a proved statement, the attestation of its epoch, and the attestation's leaf in the log."""

    statement: Statement
    proof: bytes = field(repr=False)
    attestation: bytes = field(repr=False)
    leaf: int

    def to_bytes(self) -> bytes:
        """The document ``zkmargin/offer/1``."""
        tree = {
            "schema": "zkmargin/offer/1",
            "statement": parse_json(self.statement.to_bytes(), name="statement"),
            "proof": parse_json(proof_bytes(self.statement, self.proof), name="proof"),
            "attestation": parse_json(self.attestation, name="attestation"),
            "leaf": self.leaf,
        }
        return canonical_bytes(tree)

    @classmethod
    def from_bytes(cls, data: bytes) -> Offer:
        """Read the document; ``MalformedInput`` or ``StatementMismatch`` names the field. Nothing is verified yet."""
        model = load(_OfferModel, data, name="offer")
        statement = from_model(model.statement)
        return cls(statement, proof_of(model.proof, statement), canonical_bytes(dump(model.attestation)), model.leaf)


def answer(
    demand: Demand, prices: Prices, holding: Holding, *, seconds: int = OFFER_SECONDS, elections: Mapping[str, str] = {}
) -> Offer:
    """As the holder: prove what a spoke demands, here on this machine. ``NotSolvent`` when it is not true.

    ``elections`` are public choices that the rule asks for. The proof is of the holding's epoch: a change of the
    account makes it worthless, and the hub says ``stale-epoch``.
    """
    fact: Attestation = holding.attested.attestation
    expiry = int(time.time()) + seconds
    statement = make_statement(
        prices.snapshot, fact, spoke=demand.spoke, amount=demand.amount, expiry=expiry, multiplier=demand.multiplier,
        horizon=demand.max_horizon, delta=demand.delta, elections=elections, overlays=demand.overlays,
        nonce=demand.nonce,
    )  # fmt: skip
    return offer_of(statement, prove(statement, prices.snapshot, holding.opening), holding.attested)


def offer_of(statement: Statement, proof: bytes, attested: Attested) -> Offer:
    """An offer of a statement that is proved already."""
    return Offer(statement, proof, attested.document, attested.leaf)
