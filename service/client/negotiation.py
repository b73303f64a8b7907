"""What passes between a venue and a holder: the venue's demand, the holder's offer. Both public.

A holder that lies in an offer is caught by ``venue.check_offer``. A demand commits nobody, and a venue may demand
anything: what a holder's tools prove and sign on their own is what the holder's policy covers.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, StringConstraints

from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.documents.statement import PurposeModel, StatementModel, statement_from_model, to_tree
from zkmargin.circuits.documents.statement import purpose_from_model as from_document
from zkmargin.circuits.errors import MalformedInput, StatementMismatch
from zkmargin.circuits.purpose import SHOW, ForCredit, ForShow, ForWithdrawal, Purpose
from zkmargin.circuits.schema import Decimal, Name, ProofModel, Strict, dump, load
from zkmargin.circuits.statement import Statement
from zkmargin.circuits.strict_json import MAX_SAFE_INTEGER, parse_json
from zkmargin.circuits.units import parse_decimal
from zkmargin.prover.documents import make_statement, proof_bytes, proof_of
from zkmargin.prover.prove import prove
from zkmargin.service.client.holder import Holding, Prices, evidence_of
from zkmargin.service.client.policy import SHOW_ONLY, Policy
from zkmargin.service.keys.signing import sign_authorisation
from zkmargin.verifier.facts.attestation import Attestation, AttestationModel
from zkmargin.verifier.facts.authorisation import Authorisation, AuthorisationModel
from zkmargin.verifier.facts.credit_entry import Caip2

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

#: How long an offer is good for unless the holder says otherwise: to send, check and request the credit.
OFFER_SECONDS = 600
#: The least horizon that a venue takes unless it says otherwise, in seconds: what a hub's policy asks for by default.
MIN_HORIZON = 60


class _LegModel(Strict):
    """One leg of a public trade."""

    instrument: Name
    quantity: Decimal


class _DemandModel(Strict):
    """``zkmargin/demand/2``; ``zkmargin/demand/1`` has neither purpose nor a least horizon, and asks to be shown."""

    schema_: Literal["zkmargin/demand/1", "zkmargin/demand/2"] = Field(alias="schema")
    spoke: Name
    nonce: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    amount: Decimal
    multiplier: Decimal
    min_horizon: Annotated[int, Field(ge=1, le=366 * 86400)] | None = None
    max_horizon: Annotated[int, Field(ge=1, le=366 * 86400)]
    overlays: Annotated[list[Name], Field(max_length=16)]
    delta: Annotated[list[_LegModel], Field(max_length=64)]
    purpose: PurposeModel | None = None
    caip2: Caip2 | None = None


class _OfferModel(Strict):
    """``zkmargin/offer/2``; ``zkmargin/offer/1`` has no authorisation."""

    schema_: Literal["zkmargin/offer/1", "zkmargin/offer/2"] = Field(alias="schema")
    statement: StatementModel
    proof: ProofModel
    attestation: AttestationModel
    authorisation: AuthorisationModel | None = None
    leaf: Annotated[int, Field(ge=0, le=MAX_SAFE_INTEGER)]


@dataclass(frozen=True)
class Demand:
    """What a venue asks of a holder: the statement must say exactly this, or more.

    ``nonce`` is the venue's own for this request and used once. The horizon scales the latency buffer: from
    ``min_horizon``, so that the holder cannot shrink it, to ``max_horizon``, the oldest prices that the venue takes, in
    seconds. ``delta`` is a public trade after which the account must be good (no credit rests on one), ``purpose`` what
    the venue wants it for, ``caip2`` the venue's chain. The document writes ``venue`` as ``spoke``.
    """

    venue: str
    amount: str
    nonce: str = field(default_factory=lambda: secrets.token_hex(16))
    multiplier: str = "1"
    min_horizon: int = MIN_HORIZON
    max_horizon: int = 3600
    overlays: tuple[str, ...] = ()
    delta: tuple[tuple[str, str], ...] = ()
    purpose: Purpose = SHOW
    caip2: str | None = None

    @classmethod
    def credit(cls, venue: str, amount: str, *, expires: int, **more: Any) -> Demand:
        """A demand for a credit of ``amount`` until ``expires`` (Unix seconds)."""
        return cls(venue, amount, purpose=ForCredit(venue, amount, expires), **more)

    def to_bytes(self) -> bytes:
        """The document ``zkmargin/demand/2``."""
        tree = {name: value for name, value in vars(self).items() if name != "venue"} | {
            "schema": "zkmargin/demand/2",
            "spoke": self.venue,
            "overlays": list(self.overlays),
            "delta": [{"instrument": name, "quantity": quantity} for name, quantity in self.delta],
            "purpose": to_tree(self.purpose),
        }
        return canonical_bytes({name: value for name, value in tree.items() if value is not None})

    @classmethod
    def from_bytes(cls, data: bytes) -> Demand:
        """Read the document; ``MalformedInput`` names the field."""
        m = load(_DemandModel, data, name="demand")
        if {m.purpose is None, m.min_horizon is None} != {m.schema_ == "zkmargin/demand/1"}:
            raise MalformedInput("version 2 has purpose and min_horizon, version 1 neither", field="demand.schema")
        purpose = SHOW if m.purpose is None else from_document(m.purpose)
        if isinstance(purpose, ForWithdrawal):
            raise MalformedInput("nobody demands a withdrawal: it is the holder's own", field="demand.purpose")
        least = 1 if m.min_horizon is None else m.min_horizon
        if least > m.max_horizon:
            raise MalformedInput("must not be above max_horizon", field="demand.min_horizon")
        delta = tuple((leg.instrument, leg.quantity) for leg in m.delta)
        return cls(
            m.spoke, m.amount, m.nonce, m.multiplier, least, m.max_horizon, tuple(m.overlays), delta, purpose, m.caip2
        )  # fmt: skip

    def check(self, statement: Statement) -> None:
        """``StatementMismatch`` naming the field in which a statement is not the one demanded."""
        terms = statement.terms
        wanted = [
            ("context.spoke", statement.context.venue == self.venue),
            ("context.nonce", statement.context.nonce == self.nonce),
            ("amount", parse_decimal(statement.amount, field="amount") >= parse_decimal(self.amount, field="amount")),
            ("level", terms.level == "initial"),
            ("multiplier", terms.multiplier >= parse_decimal(self.multiplier, field="multiplier")),
            ("horizon", self.min_horizon <= terms.horizon <= self.max_horizon),
            ("overlays", set(self.overlays) <= set(terms.overlays)),
            ("delta", statement.delta == self.delta),
            ("purpose", statement.purpose == self.purpose),
        ]
        for name, holds in wanted:
            if not holds:
                raise StatementMismatch("is not what was demanded", field=f"statement.{name}")


@dataclass(frozen=True)
class Offer:
    """A holder's answer: a proved statement, the attestation of its epoch, and the attestation's leaf in the log.

    ``authorisation`` is the signature of the account's key, without which only solvency is shown.
    """

    statement: Statement
    proof: bytes = field(repr=False)
    attestation: bytes = field(repr=False)
    leaf: int
    authorisation: bytes | None = field(default=None, repr=False)

    def to_bytes(self) -> bytes:
        """The document ``zkmargin/offer/2``."""
        tree = {
            "schema": "zkmargin/offer/2",
            "statement": parse_json(self.statement.to_bytes(), name="statement"),
            "proof": parse_json(proof_bytes(self.statement, self.proof), name="proof"),
            "attestation": parse_json(self.attestation, name="attestation"),
            "leaf": self.leaf,
        }
        if self.authorisation is not None:
            tree["authorisation"] = parse_json(self.authorisation, name="authorisation")
        return canonical_bytes(tree)

    def evidence(self) -> dict[str, Any]:
        """The parts that a hub books on; ``StatementMismatch`` when the holder authorised nothing."""
        if self.authorisation is None:
            raise StatementMismatch("the holder authorised nothing", field="offer.authorisation")
        return evidence_of(self.statement, self.proof, self.authorisation)

    @classmethod
    def from_bytes(cls, data: bytes) -> Offer:
        """Read the document; ``MalformedInput`` or ``StatementMismatch`` names the field. Nothing is verified yet."""
        model = load(_OfferModel, data, name="offer")
        if model.authorisation is not None and model.schema_ == "zkmargin/offer/1":
            raise MalformedInput("version 1 has no authorisation", field="offer.schema")
        statement = statement_from_model(model.statement)
        proof, attestation = proof_of(model.proof, statement), canonical_bytes(dump(model.attestation))
        signed = None if model.authorisation is None else canonical_bytes(dump(model.authorisation))
        return cls(statement, proof, attestation, model.leaf, signed)


def authorise(statement: Statement, key: Ed25519PrivateKey, *, now: int) -> bytes:
    """As the holder: sign that the account allows what the statement is for. The holder has
    read what that is: ``in_words`` of ``zkmargin.service.cli.words``."""
    context = statement.context
    return sign_authorisation(Authorisation(context.hub, context.account, statement.digest, now), key)


def statement_for(
    demand: Demand,
    prices: Prices,
    holding: Holding,
    *,
    seconds: int = OFFER_SECONDS,
    elections: Mapping[str, str] = {},
    now: int | None = None,
) -> Statement:
    """As the holder: the statement that a venue demands, about the holding; nothing is proved or signed yet."""
    fact: Attestation = holding.attested.attestation
    expiry = (int(time.time()) if now is None else now) + seconds
    return make_statement(
        prices.snapshot, fact, venue=demand.venue, amount=demand.amount, expiry=expiry, multiplier=demand.multiplier,
        horizon=demand.max_horizon, delta=demand.delta, elections=elections, overlays=demand.overlays,
        nonce=demand.nonce, purpose=demand.purpose,
    )  # fmt: skip


def answer(
    demand: Demand,
    prices: Prices,
    holding: Holding,
    *,
    policy: Policy = SHOW_ONLY,
    key: Ed25519PrivateKey | None = None,
    seconds: int = OFFER_SECONDS,
    elections: Mapping[str, str] = {},
    now: int | None = None,
) -> Offer:
    """As the holder: prove what a venue demands, here on this machine, and authorise it with the account's ``key``.

    Only what ``policy`` covers: ``NotCovered`` names what it does not, and nothing is proved. ``NotSolvent`` when the
    statement is not true. ``elections`` are public choices that the rule asks for. The proof is of the holding's epoch:
    a change of the account makes it worthless, and the hub says ``stale-epoch``.
    """
    at = int(time.time()) if now is None else now
    statement = statement_for(demand, prices, holding, seconds=seconds, elections=elections, now=at)
    policy.check(statement, prices.snapshot, at, owed=holding.owed(prices.snapshot))
    return offer_for(statement, prices, holding, key=key, now=at)


def offer_for(
    statement: Statement, prices: Prices, holding: Holding, *, key: Ed25519PrivateKey | None, now: int
) -> Offer:
    """Prove a statement that the holder has agreed to, and authorise what it is for.

    ``MalformedInput`` without a key for what moves value.
    """
    shows = isinstance(statement.purpose, ForShow)
    if not shows and key is None:
        raise MalformedInput("what moves value needs the account's key", field="key")
    proof = prove(statement, prices.snapshot, holding.opening)
    signed = None if shows or key is None else authorise(statement, key, now=now)
    return Offer(statement, proof, holding.attested.document, holding.attested.leaf, signed)
