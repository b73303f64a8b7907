"""Books taken over from elsewhere: what accounts hold in contracts when they come, signed by an operator or a venue.

A deposit brings what custody received, and contracts are no such thing: each has another side. So an import is of whole
accounts at once, the other side (a venue's clearing account, say) among them, and conserved: over its accounts every
contract sums to zero, and so does the cash that was charged for them. It makes no value and takes none. It is for
accounts that were opened and hold nothing yet: nobody's position moves without his key. Collateral comes by deposit,
afterwards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field, StringConstraints
from sqlalchemy import Connection

from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.errors import (
    MalformedInput,
    SignatureRejected,
    StaleStatement,
    StatementMismatch,
    ZkMarginError,
)
from zkmargin.circuits.schema import Decimal, Name, Secret, Strict, Time, dump, validate
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import CLOCK_SKEW
from zkmargin.circuits.strict_json import parse_json
from zkmargin.circuits.units import parse_decimal, to_lots
from zkmargin.service.keys.signing import sign_token
from zkmargin.service.ledger import answers, epochs, portfolio, snapshots, venues
from zkmargin.service.ledger.changes import Imported, SignedImport
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.refusals import Conflict, Forbidden, VenueSuspended
from zkmargin.service.store import tables
from zkmargin.service.store.rows import KeyRow, each, every
from zkmargin.verifier.facts.hub_keys import public_key
from zkmargin.verifier.facts.jws import open_token

SCHEMA = "zkmargin/import/1"
TOKEN_TYPE = "zkmargin-import+jws"  # noqa: S105 - a media type, no secret
#: What has another side. Spot assets are custody's, credits the ledger's own.
CONTRACTS = ("perpetual", "future", "option")
#: A book is signed for today: who finds an old one cannot use it for accounts that were opened later.
MAX_AGE_SECONDS = 86_400
#: Each account is a commitment, made while the log is locked.
MAX_ACCOUNTS = 64
_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


class LineModel(Secret):
    """Signed quantity of a contract, or of the quote currency that was charged for contracts."""

    instrument: Name
    quantity: Decimal


class HoldingModel(Secret):
    """What one account brings."""

    account: Name
    positions: Annotated[list[LineModel], Field(min_length=1, max_length=2048)]


class PayloadModel(Secret):
    """What is signed. ``signer`` is whose key signs: operator/NAME or venue/NAME."""

    schema_: Literal["zkmargin/import/1"] = Field(alias="schema")
    hub: Name
    signer: Annotated[str, StringConstraints(pattern=rf"^(operator|venue)/{_ID}$")]
    time: Time
    accounts: Annotated[list[HoldingModel], Field(min_length=2, max_length=MAX_ACCOUNTS)]


class ImportModel(Strict):
    """``zkmargin/import/1``: JWS compact serialisation (EdDSA) over the canonical payload. Secret, as positions are."""

    schema_: Literal["zkmargin/import/1"] = Field(alias="schema")
    jws: Annotated[str, StringConstraints(max_length=8 * 1024 * 1024)]


@dataclass(frozen=True)
class Import:
    """A validated, conserved import, whose signature is still to be checked under a key of ``signer``."""

    signer: str
    hub: str
    time: int
    public: bytes
    holdings: Mapping[str, Mapping[str, str]] = field(repr=False)
    token: str = field(repr=False)

    @property
    def digest(self) -> str:
        """Its name in the journal."""
        return hashlib.sha256(self.token.encode()).hexdigest()


def sign_import(payload: object, key: Ed25519PrivateKey) -> bytes:
    """As an operator or venue: check a payload and sign it; gives the document."""
    model = validate(PayloadModel, payload, name="import")
    _holdings(model)
    token = sign_token(canonical_bytes(dump(model)), key, TOKEN_TYPE)
    return canonical_bytes({"schema": SCHEMA, "jws": token})


def read_import(data: bytes, public: bytes) -> Import:
    """An import signed under a raw public key.

    ``MalformedInput`` for another form or a book that is not conserved, ``SignatureRejected`` for a wrong signature.
    """
    token = validate(ImportModel, parse_json(data, name="import"), name="import").jws
    payload = open_token(token, public_key(public), TOKEN_TYPE, field="import.jws")
    model = validate(PayloadModel, parse_json(payload, name="import.payload"), name="import.payload")
    if canonical_bytes(dump(model)) != payload:
        raise MalformedInput("not in canonical form", field="import.payload")
    return Import(model.signer, model.hub, model.time, public, _holdings(model), token)


def _signed(tx: Connection, data: bytes, now: int) -> Import:
    """An import under a key that its signer, an operator or an active venue, has now; else ``SignatureRejected``."""
    c = tables.keys.c
    valid = every(KeyRow).where(c.kind.in_(("operator", "venue")), c.not_before <= now, c.not_after >= now)
    for row in list(each(tx, KeyRow, valid.order_by(c.kid))):
        try:
            taken = read_import(data, bytes.fromhex(row.public))
        except SignatureRejected:
            continue
        if taken.signer != f"{row.kind}/{row.owner}":
            raise SignatureRejected("signed by another than it names", field="import.signer")
        if row.kind == "venue" and venues.read(tx, row.owner).state != "active":
            raise VenueSuspended("a suspended venue's book is not taken over", field="import.signer")
        return taken
    raise SignatureRejected("no valid key of an operator or venue signed this", field="import.jws")


def _holdings(model: PayloadModel) -> dict[str, dict[str, str]]:
    """Quantities by account; ``MalformedInput`` for repeats, and for anything that does not sum to zero."""
    out: dict[str, dict[str, str]] = {}
    total: dict[str, Fraction] = {}
    for i, holding in enumerate(model.accounts):
        lines = {line.instrument: line.quantity for line in holding.positions}
        if holding.account in out or len(lines) != len(holding.positions):
            raise MalformedInput("an account or instrument twice", field=f"import.accounts.{i}")
        for name, quantity in lines.items():
            total[name] = total.get(name, Fraction(0)) + parse_decimal(quantity, field=f"import.accounts.{i}.positions")
        out[holding.account] = lines
    if left := sorted(name for name, quantity in total.items() if quantity):
        raise MalformedInput(f"not conserved: {', '.join(left[:8])} do not sum to zero", field="import.accounts")
    return out


def book_import(ledger: Ledger, tx: Connection, data: bytes) -> answers.Import:
    """Take over a signed book: every account gets its contracts and the cash charged for them, under a new epoch.

    ``StatementMismatch`` for another hub, ``StaleStatement`` outside a day, ``Conflict`` for an account that has done
    anything since it was opened, ``Forbidden`` for a line that is no contract and not the quote currency.
    """
    now = ledger.clock()
    taken = _signed(tx, data, now)
    if taken.hub != ledger.name:
        raise StatementMismatch("is for another hub", field="import.hub")
    if not now - MAX_AGE_SECONDS <= taken.time <= now + CLOCK_SKEW:
        raise StaleStatement("was signed more than a day ago, or in the future", field="import.time")
    snapshot = snapshots.in_force(ledger, tx, now)
    made: list[answers.Attested] = []
    # Rows are locked in one order; the document is kept once, with the first, and with the key that signed it, since
    # the keys of operators and venues may be forgotten after their end.
    for i, name in enumerate(sorted(taken.holdings)):
        account = epochs.read_account(ledger, tx, name, lock=True)
        if account.events != 1 or account.state != "open":
            raise Conflict("only an account that was just opened can take over a book", field=f"import.{name}")
        lots = _lots(taken.holdings[name], snapshot, name)
        portfolio.check(lots, list(lots), snapshot, field=f"import.{name}")
        change = Imported(
            taken.digest, dict(taken.holdings[name]), SignedImport(data, taken.public) if i == 0 else None
        )
        _, state = epochs.advance(ledger, tx, account, snapshot, lots, change, live=0, now=now)
        made.append(state)
    return answers.Import(taken.digest, taken.signer, tuple(made))


def _lots(lines: Mapping[str, str], snapshot: Snapshot, account: str) -> dict[str, int]:
    """Quantities in lots, of contracts and of the one quote currency only."""
    out: dict[str, int] = {}
    for name, quantity in lines.items():
        inst = snapshot.instruments[snapshot.row_of(name, field=f"import.{account}.{name}")]
        if inst.kind not in CONTRACTS and name != portfolio.cash_line(snapshot):
            raise Forbidden("assets come by deposit and credits from proofs, not by import", field=f"import.{account}")
        out[name] = to_lots(quantity, inst.lot, field=f"import.{account}.{name}")
    return {name: count for name, count in out.items() if count}


@dataclass
class Replayed:
    """An import as its events tell it: what each account got, and the document."""

    moved: dict[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    signed: list[SignedImport] = field(default_factory=list, repr=False)

    def event(self, account: str, change: Imported) -> None:
        """Add the event of one account."""
        self.moved[account] = change.delta
        if change.signed is not None:
            self.signed.append(change.signed)

    def findings(self, name: str, hub: str) -> list[str]:
        """What is wrong with it: positions other than what was signed, or nobody's signature."""
        if len(self.signed) != 1:
            return [f"import {name}: its document is there {len(self.signed)} times"]
        held = self.signed[0]
        try:
            taken = read_import(held.document, held.key)
        except ZkMarginError as err:
            return [f"import {name}: {err}"]
        same = (taken.digest, taken.hub, taken.holdings) == (name, hub, self.moved)
        return [] if same else [f"import {name}: moved other than was signed"]
