"""What the hub's calls take and give. Amounts and quantities are decimal strings, times Unix seconds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from zkmargin.circuits.documents.snapshot import SnapshotModel
from zkmargin.circuits.documents.statement import StatementModel
from zkmargin.circuits.schema import Decimal, Hex32, Name, ProofModel, Strict, Time
from zkmargin.circuits.units import DECIMAL_FORM
from zkmargin.verifier.facts.attestation import AttestationModel
from zkmargin.verifier.facts.authorisation import AuthorisationModel
from zkmargin.verifier.facts.snapshot_signature import SignedSnapshotModel

#: Names that stand in paths.
ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
_CAIP2_PATTERN = r"^[-a-z0-9]{3,8}:[-_a-zA-Z0-9]{1,32}$"
Caip2 = Annotated[str, StringConstraints(pattern=_CAIP2_PATTERN)]
PublicKey = Annotated[
    str, StringConstraints(pattern=r"^[0-9a-f]{64}$"), Field(description="raw Ed25519 public key, hex")
]
Kid = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
CreditId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
_AMOUNT_PATTERN = r"^(0|[1-9][0-9]{0,40})(\.[0-9]{1,30})?$"
Amount = Annotated[str, StringConstraints(pattern=_AMOUNT_PATTERN, max_length=80)]
#: What callers are told instead of a regular expression, besides what the documents' own types say.
FORMS = {
    ID_PATTERN: "must be a name of at most 64 letters, digits and . _ -, beginning with a letter or digit",
    _CAIP2_PATTERN: "must be a chain as CAIP-2 writes it, such as eip155:1",
    _AMOUNT_PATTERN: f"{DECIMAL_FORM}; not negative",
}
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
Sequence = Annotated[int, Field(ge=1, le=2**53 - 1)]
Token = Annotated[str, StringConstraints(max_length=8192)]


class Answer(BaseModel):
    """Base of what the service gives."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SignedDocument(Answer):
    """A fact signed by the hub: JWS compact serialisation over canonical JSON."""

    schema_: str = Field(alias="schema")
    jws: Token


class PublishBody(Strict):
    """A snapshot and its oracle's signature."""

    snapshot: SnapshotModel
    signed: SignedSnapshotModel


class PublishedView(Answer):
    """A published snapshot's name and validity."""

    digest: Hex32
    registry: Hex32
    oracle: Name
    time: Time
    valid_until: Time


class SnapshotView(PublishedView):
    """With the documents themselves."""

    snapshot: dict[str, Any]
    signed: SignedDocument


class CapBody(Strict):
    """A cap on live credit."""

    cap: Amount


class ZoneView(Answer):
    """A partition of exposure."""

    zone: Id
    cap: Amount
    exposure: Amount


class VenueBody(Strict):
    """A venue to admit; ``key`` signs its requests, ``caip2`` names its chain (CAIP-2)."""

    venue: Id
    caip2: Caip2
    zone: Id
    cap: Amount
    key: PublicKey


class VenueView(Answer):
    """A venue. ``exposure`` is its live credit."""

    venue: Id
    caip2: Caip2
    zone: Id
    cap: Amount
    exposure: Amount
    state: Literal["active", "suspended"]
    registered: Time


class VenueList(Answer):
    """All venues."""

    venues: list[VenueView]


class BreakerBody(Strict):
    """What a breaker is for: ``hub`` or ``venue/ID``."""

    scope: Annotated[str, StringConstraints(pattern=r"^(hub|venue/[A-Za-z0-9][A-Za-z0-9._-]{0,63})$")]


class BreakerView(Answer):
    """An open circuit breaker: exposure may only fall in its scope."""

    scope: str
    reason: Literal["operator", "price-jump", "failed-proofs", "reconciliation"]
    opened: Time


class BreakerList(Answer):
    """All open breakers."""

    breakers: list[BreakerView]


class KeyBody(Strict):
    """One more public key of the caller; without times valid from now on."""

    key: PublicKey
    not_before: Time | None = None
    not_after: Time | None = None


class KeyView(Answer):
    """A registered key."""

    kid: Kid
    not_before: Time
    not_after: Time


class HubKeys(Answer):
    """The hub's chain of signing keys, oldest first; pin the first and follow."""

    hub: Name
    keys: list[SignedDocument]


class AccountBody(Strict):
    """An account to open. ``encryption_key`` is the holder's raw X25519 public key, to which openings are encrypted."""

    account: Id
    key: PublicKey
    encryption_key: PublicKey
    jurisdiction: Name | None = None


class AttestedView(Answer):
    """An attested epoch; ``leaf`` is its place in the transparency log."""

    account: Id
    epoch: Count
    leaf: Count
    attestation: AttestationModel


class AccountView(Answer):
    """An account without its positions."""

    account: Id
    rule: Name
    jurisdiction: Name | None
    state: Literal["open", "frozen"]
    epoch: Count
    live_credit: Amount
    attested: AttestedView


class GrantView(Answer):
    """Whether a venue may see an account's attestations."""

    account: Id
    venue: Id
    granted: bool


class InclusionView(Answer):
    """RFC 9162 inclusion proof of a leaf under a signed tree head."""

    leaf: Count
    size: Count
    path: Annotated[list[Hex32], Field(max_length=64)]
    head: SignedDocument


class AttestationProof(AttestedView):
    """An attestation and the proof that it is in the log."""

    inclusion: InclusionView


class ConsistencyView(Answer):
    """RFC 9162 consistency proof between two sizes."""

    first: Count
    second: Count
    path: Annotated[list[Hex32], Field(max_length=64)]


class HeadView(Answer):
    """A signed tree head."""

    size: Count
    head: SignedDocument


class OpeningView(AttestedView):
    """The latest opening, encrypted to the holder: HPKE (RFC 9180), as hex."""

    sealed_opening: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]+$")]


class DepositBody(Strict):
    """What custody received; ``reference`` is custody's and books once."""

    instrument: Name
    quantity: Decimal
    reference: Name


class ProvedBody(Strict):
    """A statement, its proof, and the signature of the account's key that authorises the statement's purpose."""

    statement: StatementModel
    proof: ProofModel
    authorisation: AuthorisationModel


class WithdrawalBody(ProvedBody):
    """What to pay out, with a proof that the account does without: ``statement.delta`` is this one leg, negative.

    The statement's purpose names the destination, and the account's key authorises it.
    """

    instrument: Name
    quantity: Decimal


class CreditBody(ProvedBody):
    """A credit on a proof that the account's key authorises: at most the purpose's amount, until its end at most."""

    amount: Decimal
    expires: Time


class FillBody(Strict):
    """One leg of a trade: signed quantity in units."""

    instrument: Name
    quantity: Decimal


class ConsumeBody(Strict):
    """A venue's report: so much more is used, for these fills. ``sequence`` counts the credit's changes."""

    sequence: Sequence
    amount: Amount
    fills: Annotated[list[FillBody], Field(max_length=64)] = Field(default_factory=list)


class ReleaseBody(Strict):
    """Parts of a credit to give back. ``paid``, at most ``used``, is what the account pays the venue of it."""

    sequence: Sequence
    free: Amount = "0"
    used: Amount = "0"
    paid: Amount = "0"


class SideBody(ProvedBody):
    """One side of a trade: the statement says that the account is solvent after its legs (``delta``), and its key
    authorises them.
    """


class TradeBody(Strict):
    """A trade between two accounts: what one gives the other receives, leg by leg."""

    maker: SideBody
    taker: SideBody


class TradeView(Answer):
    """A booked trade and the new epochs of its two accounts."""

    trade: CreditId
    venue: Id
    maker: AttestedView
    taker: AttestedView


class CreditView(Answer):
    """A credit and its signed entry."""

    credit: CreditId
    account: Id
    venue: Id
    epoch: Count
    amount: Amount
    free: Amount
    used: Amount
    released: Amount
    state: Literal["live", "closed"]
    sequence: Count
    issued: Time
    expires: Time
    entry: SignedDocument


class CreditChange(CreditView):
    """A credit after a change; ``attested`` is the account's new epoch, or null when positions did not change."""

    attested: AttestedView | None


class CreditList(Answer):
    """A page of credits, oldest first; ``next`` continues it."""

    credits: list[CreditView]
    next: Count | None
