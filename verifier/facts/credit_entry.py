"""The hub's signed fact: this venue has this much credit from this account, proved by this statement.

An entry is signed again at every change, with the next ``sequence``; the highest one seen is the credit's state.
Signing lives with the hub, in ``service``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, StringConstraints

from zkmargin.circuits import canonical
from zkmargin.circuits.errors import MalformedInput, StaleStatement, StatementMismatch
from zkmargin.circuits.schema import Decimal, Hex32, Name, Strict, Time, dump, validate
from zkmargin.circuits.statement import CLOCK_SKEW, Statement
from zkmargin.circuits.strict_json import MAX_SAFE_INTEGER
from zkmargin.circuits.units import format_fraction, parse_decimal
from zkmargin.verifier.facts.attestation import Attestation, check_attested
from zkmargin.verifier.facts.jws import open_document

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from zkmargin.circuits.snapshot import Snapshot

SCHEMA = "zkmargin/credit/1"
TOKEN_TYPE = "zkmargin-credit+jws"  # noqa: S105 - a media type, no secret

#: A chain's name by CAIP-2: namespace and reference.
Caip2 = Annotated[str, StringConstraints(pattern=r"^[-a-z0-9]{3,8}:[-_a-zA-Z0-9]{1,32}$")]
Count = Annotated[int, Field(ge=0, le=MAX_SAFE_INTEGER)]


class CreditEntryPayloadModel(Strict):
    """``zkmargin/credit/1``: what the hub signs."""

    schema_: Literal["zkmargin/credit/1"] = Field(alias="schema")
    hub: Name
    credit: Name
    account: Name
    venue: Name
    caip2: Caip2
    amount: Decimal
    currency: Name
    statement: Hex32
    epoch: Count
    snapshot: Hex32
    state: Literal["live", "closed"]
    used: Decimal
    released: Decimal
    sequence: Count
    issued: Time
    expires: Time
    time: Time


@dataclass(frozen=True)
class CreditEntry:
    """A verified credit entry; amounts are the document's decimal strings, in their shortest form.

    ``used`` is what the venue has drawn and not given back, ``released`` what it has given back for good; the rest of
    ``amount`` is open. ``epoch`` is the one proved at, ``sequence`` counts the changes since issue, ``time`` is when
    this state was signed.
    """

    hub: str
    credit: str
    account: str
    venue: str
    caip2: str
    amount: str
    currency: str
    statement: bytes
    epoch: int
    snapshot: bytes
    state: str
    used: str
    released: str
    sequence: int
    issued: int
    expires: int
    time: int

    @property
    def open(self) -> Fraction:
        """What may still be drawn, in units of ``currency``."""
        amount, used, released = self._amounts()
        return amount - used - released

    def payload(self) -> bytes:
        """RFC 8785 bytes that the hub signs; ``MalformedInput`` names the field that breaks an invariant."""
        tree = dict(vars(self)) | {"schema": SCHEMA, "statement": self.statement.hex(), "snapshot": self.snapshot.hex()}
        model = validate(CreditEntryPayloadModel, tree, name="credit.payload")
        self._check()
        return canonical.canonical_bytes(dump(model))

    def _amounts(self) -> tuple[Fraction, Fraction, Fraction]:
        out = []
        for name in ("amount", "used", "released"):
            value = parse_decimal(getattr(self, name), field=f"credit.payload.{name}")
            if value < 0 or format_fraction(value) != getattr(self, name):
                raise MalformedInput("must be a decimal >= 0 in its shortest form", field=f"credit.payload.{name}")
            out.append(value)
        return out[0], out[1], out[2]

    def _check(self) -> None:
        """The invariants of every state of a credit."""
        amount, used, released = self._amounts()
        faults = [
            ("amount", not amount, "must be above 0"),
            ("used", used + released > amount, "used and released are more than the amount"),
            ("state", (self.state == "closed") != (released == amount), "closed means all released, and only that"),
            ("sequence", not self.sequence and (used or released), "the first entry of a credit is untouched"),
            ("expires", self.expires <= self.issued, "must be after the time of issue"),
            ("time", self.time < self.issued, "must not be before the time of issue"),
        ]
        for name, broken, message in faults:
            if broken:
                raise MalformedInput(message, field=f"credit.payload.{name}")


def verify_credit_entry(data: bytes, key: Ed25519PublicKey) -> CreditEntry:
    """Parse a credit entry document and check its signature under the hub's key, and its invariants.

    Raises ``MalformedInput`` for bytes of another form or numbers that no credit has, ``SignatureRejected`` for a
    wrong signature.
    """
    model, payload = open_document(
        data, key, CreditEntryPayloadModel, schema=SCHEMA, token_type=TOKEN_TYPE, name="credit"
    )
    entry = CreditEntry(
        hub=model.hub, credit=model.credit, account=model.account, venue=model.venue, caip2=model.caip2,
        amount=model.amount, currency=model.currency, statement=bytes.fromhex(model.statement), epoch=model.epoch,
        snapshot=bytes.fromhex(model.snapshot), state=model.state, used=model.used, released=model.released,
        sequence=model.sequence, issued=model.issued, expires=model.expires, time=model.time,
    )  # fmt: skip
    if entry.payload() != payload:
        raise MalformedInput("payload is not in canonical form", field="credit.payload")
    return entry


def check_credit(
    entry: CreditEntry,
    statement: Statement,
    attestation: Attestation,
    snapshot: Snapshot,
    *,
    caip2: str | None = None,
    now: int | None = None,
) -> None:
    """Check that an entry is the credit that this statement asked for, of an account that the hub attested.

    The statement's proof is checked apart (``zkmargin.verifier.verify``). ``caip2`` is the chain that the venue takes
    itself to be on. With ``now``, the credit may be drawn on: it is live and has not expired.

    Raises ``StatementMismatch`` naming the field that differs; ``StaleStatement`` if the entry was issued outside the
    statement's time, is from the future, or may not be drawn on.
    """
    check_attested(statement, snapshot, attestation, now=now)
    context = statement.context
    pairs: list[tuple[str, object, object]] = [
        ("hub", entry.hub, context.hub),
        ("account", entry.account, context.account),
        ("venue", entry.venue, context.venue),
        ("caip2", entry.caip2, entry.caip2 if caip2 is None else caip2),
        ("currency", entry.currency, snapshot.currency),
        ("statement", entry.statement, statement.digest),
        ("epoch", entry.epoch, context.epoch),
        ("snapshot", entry.snapshot, statement.snapshot),
        ("snapshot", entry.snapshot, snapshot.digest),
    ]
    for name, has, asked in pairs:
        if has != asked:
            raise StatementMismatch("differs from what was asked for and proved", field=f"credit.{name}")
    if Fraction(entry.amount) > parse_decimal(statement.amount, field="statement.amount"):
        raise StatementMismatch("more than was proved", field="credit.amount")
    statement.check_time(snapshot, entry.issued)
    if now is None:
        return
    if entry.time > now + CLOCK_SKEW:
        raise StaleStatement("the entry is from the future", field="credit.time")
    if now > entry.expires:
        raise StaleStatement("the credit has expired", field="credit.expires")
    if entry.state != "live":
        raise StaleStatement("the credit is closed", field="credit.state")


#: What stays the same over the whole life of a credit.
FIXED = ("hub", "credit", "account", "venue", "caip2", "amount", "currency", "statement", "epoch", "snapshot", "issued")


def check_follows(old: CreditEntry, new: CreditEntry) -> None:
    """Check that a newer entry continues the same credit; ``StatementMismatch`` names the field that does not.

    Of one sequence the hub may sign one state. When its key is superseded it signs that anew, with the time at which it
    does. What was released stays released.
    """
    for name in FIXED:
        if getattr(old, name) != getattr(new, name):
            raise StatementMismatch("differs from the earlier entry of this credit", field=f"credit.{name}")
    if new.sequence < old.sequence:
        raise StatementMismatch("older than the entry held: check it the other way round", field="credit.sequence")
    if new.sequence == old.sequence and replace(new, time=old.time) != old:
        raise StatementMismatch("the hub signed two entries of one sequence", field="credit.sequence")
    if new.sequence > old.sequence and new.time < old.time:
        raise StatementMismatch("signed before the earlier entry of this credit", field="credit.time")
    if Fraction(new.released) < Fraction(old.released):
        raise StatementMismatch("what was released is taken back", field="credit.released")
