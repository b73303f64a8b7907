"""The holder's flows: prices, own opening and attestation, withdrawals, grants. Whatever the hub says is checked."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.errors import MalformedInput, SignatureRejected, StatementMismatch
from zkmargin.circuits.purpose import ForWithdrawal
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import Statement
from zkmargin.circuits.strict_json import MAX_JSON_BYTES, parse_json
from zkmargin.prover.commitment import Opening
from zkmargin.prover.documents import make_statement, parse_opening, proof_bytes
from zkmargin.prover.prove import prove
from zkmargin.service.client.exchange import Flow, Request, get, new_idempotency_key, post, segment
from zkmargin.service.client.trust import Trust, accept_inclusion, checked, document_of, member, octets
from zkmargin.service.keys.sealing import open_sealed
from zkmargin.verifier.facts.attestation import Attestation
from zkmargin.verifier.facts.snapshot_signature import SnapshotSignature, verify_snapshot_signature

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey


@dataclass(frozen=True)
class Prices:
    """A snapshot that a trusted oracle signed and that is in force."""

    snapshot: Snapshot
    signature: SnapshotSignature
    document: bytes = field(repr=False)
    signed: bytes = field(repr=False)


@dataclass(frozen=True)
class Attested:
    """An attestation that the hub signed and logged, and its leaf in the log."""

    attestation: Attestation
    document: bytes = field(repr=False)
    leaf: int

    def expect_after(self, epoch: int) -> Attested:
        """Itself; ``StatementMismatch`` unless of the epoch after the one proved at: what a change on a proof makes."""
        if self.attestation.epoch != epoch + 1:
            raise StatementMismatch("not the epoch after the one proved at", field="attestation.epoch")
        return self


@dataclass(frozen=True)
class Holding:
    """The holder's own: the opening of the attested commitment. Secret; the opening's repr shows only the domain."""

    opening: Opening
    attested: Attested

    def owed(self, snapshot: Snapshot) -> Fraction:
        """The account's live credit in the quote currency, as committed, on a snapshot of the opening's registry."""
        pairs = zip(snapshot.instruments, self.opening.lots, strict=False)
        return sum((count * inst.lot for inst, count in pairs if inst.kind == "credit"), Fraction(0))


def fetch_prices(
    oracle_keys: Sequence[Ed25519PublicKey], *, digest: str | None = None, now: int | None = None
) -> Flow[Prices]:
    """The newest snapshot, or one by digest, checked: its digest, its oracle's signature, that it is in force.

    Raises ``SignatureRejected`` when none of the trusted oracles signed it, ``StaleStatement`` out of force.
    """
    name = "latest" if digest is None else segment(digest)
    answer = (yield get(f"/v1/snapshots/{name}", max_response=MAX_JSON_BYTES)).json()
    document = canonical_bytes(member(answer, "snapshot", dict))
    signed = document_of(member(answer, "signed", dict))
    prices = check_prices(document, signed, oracle_keys, now=now)
    if digest is not None and prices.snapshot.digest.hex() != digest:
        raise StatementMismatch("the hub answered with another snapshot", field="response.snapshot")
    return prices


def check_prices(
    document: bytes, signed: bytes, oracle_keys: Sequence[Ed25519PublicKey], *, now: int | None = None
) -> Prices:
    """A snapshot document and its signature as prices; raises as :func:`fetch_prices`."""
    snapshot = snapshot_from_bytes(document)
    at = int(time.time()) if now is None else now
    for key in oracle_keys:
        try:
            fact = verify_snapshot_signature(signed, snapshot, key, now=at)
        except SignatureRejected:
            continue
        return Prices(snapshot, fact, document, signed)
    raise SignatureRejected("no trusted oracle signed this snapshot", field="signed-snapshot.jws")


def fetch_attestation(trust: Trust, account: str, *, epoch: int | None = None) -> Flow[Attested]:
    """An account's attestation, the latest by default: signed by the hub, and in its log, which has one history."""
    floor = trust.newest(account) if epoch is None else -1
    query = () if epoch is None else (("epoch", str(epoch)),)
    answer = (yield Request("GET", f"/v1/accounts/{segment(account)}/attestation", query)).json()
    attested = yield from _accept(trust, account, answer, floor=floor)
    if epoch is not None and attested.attestation.epoch != epoch:
        raise StatementMismatch("the attestation is of another epoch", field="attestation.epoch")
    return attested


def _accept(trust: Trust, account: str, answer: Any, *, floor: int = -1) -> Flow[Attested]:
    document = document_of(member(answer, "attestation", dict))
    attestation: Attestation = yield from checked(trust, "attestation", document)
    if attestation.account != account:
        raise StatementMismatch("the attestation is another account's", field="attestation.account")
    leaf = member(answer, "leaf", int)
    inclusion = answer.get("inclusion")
    if inclusion is None:
        inclusion = (yield get("/v1/log/inclusion", leaf=leaf)).json()
    if member(inclusion, "leaf", int) != leaf:
        raise StatementMismatch("the inclusion proof is of another leaf", field="inclusion.leaf")
    yield from accept_inclusion(trust, document, inclusion)
    trust.see(attestation, floor=floor)
    return Attested(attestation, document, leaf)


def accept_attested(trust: Trust, account: str, answer: Any, *, name: str = "attested") -> Flow[Attested]:
    """Check the attestation inside another call's answer, and its place in the log.

    A repeated call gets its first answer, so this may be an earlier epoch than the newest seen.
    """
    return (yield from _accept(trust, account, member(answer, name, dict)))


def fetch_holding(trust: Trust, account: str, key: X25519PrivateKey, snapshot: Snapshot) -> Flow[Holding]:
    """The holder's latest opening, decrypted here: it opens the commitment that the hub attested and logged.

    ``StatementMismatch`` on ``opening.registry`` means that the snapshot lists other instruments than those attested:
    run :func:`recommit` and fetch again.
    """
    floor = trust.newest(account)
    answer = (yield get(f"/v1/accounts/{segment(account)}/opening", signed=True)).json()
    attested = yield from _accept(trust, account, answer, floor=floor)
    (sealed,) = octets([member(answer, "sealed_opening", str)], "sealed_opening")
    plain = open_sealed(key, sealed, attested.attestation.commitment)
    opening = parse_opening(plain, snapshot)
    if opening.commitment() != attested.attestation.commitment:
        raise StatementMismatch("the opening is of another commitment", field="opening.commitment")
    if opening.domain != attested.attestation.domain:
        raise StatementMismatch("the opening is of another domain", field="opening.domain")
    return Holding(opening, attested)


def fetch_account(account: str) -> Flow[Any]:
    """The account without its positions, as the hub says."""
    return (yield get(f"/v1/accounts/{segment(account)}", signed=True)).json()


def withdrawal_statement(
    prices: Prices,
    holding: Holding,
    *,
    instrument: str,
    quantity: str,
    destination: str,
    elections: Mapping[str, str] = {},
    overlays: Sequence[str] = (),
    horizon: int = 3600,
    now: int | None = None,
) -> Statement:
    """The statement of a withdrawal to ``destination`` as custody names it: amount 0 after taking ``quantity`` out,
    for the hub itself as venue. ``overlays`` name the account's jurisdiction, if it has one.
    """
    fact = holding.attested.attestation
    if not quantity[:1].isdigit():
        raise MalformedInput("must be a positive decimal", field="quantity")
    at = int(time.time()) if now is None else now
    return make_statement(
        prices.snapshot, fact, venue=fact.hub, amount="0", expiry=at + 600, horizon=horizon,
        delta=[(instrument, f"-{quantity}")], elections=elections, overlays=overlays,
        purpose=ForWithdrawal(destination),
    )  # fmt: skip


def evidence_of(statement: Statement, proof: bytes, authorisation: bytes) -> dict[str, Any]:
    """What a hub books on, as a request has it."""
    return {
        "statement": parse_json(statement.to_bytes(), name="statement"),
        "proof": parse_json(proof_bytes(statement, proof), name="proof"),
        "authorisation": parse_json(authorisation, name="authorisation"),
    }


def withdraw(
    trust: Trust,
    prices: Prices,
    holding: Holding,
    *,
    statement: Statement,
    authorisation: bytes,
    key: str | None = None,
) -> Flow[Attested]:
    """Prove here that the account can do without it, and withdraw it; gives the new epoch's attestation.

    ``statement`` is :func:`withdrawal_statement`'s, ``authorisation`` the account's signature of it
    (``offer.authorise``). Raises ``NotSolvent`` when the account cannot do without.
    """
    fact = holding.attested.attestation
    ((instrument, quantity),) = statement.delta
    proof = prove(statement, prices.snapshot, holding.opening)
    body = {
        "instrument": instrument,
        "quantity": quantity.removeprefix("-"),
        **evidence_of(statement, proof, authorisation),
    }
    path = f"/v1/accounts/{segment(fact.account)}/withdrawals"
    answer = (yield post(path, body, idempotency_key=key or new_idempotency_key())).json()
    return (yield from accept_attested(trust, fact.account, answer)).expect_after(fact.epoch)


def recommit(trust: Trust, account: str, *, key: str | None = None) -> Flow[Attested]:
    """Ask for a new epoch on the newest registry, with fresh blinding."""
    request = Request(
        "POST", f"/v1/accounts/{segment(account)}/epochs", idempotency_key=key or new_idempotency_key()
    )  # fmt: skip
    return (yield from accept_attested(trust, account, (yield request).json()))


def set_grant(account: str, venue: str, *, granted: bool, key: str | None = None) -> Flow[None]:
    """Let a venue see the account's attestations, or no longer."""
    path = f"/v1/accounts/{segment(account)}/grants/{segment(venue)}"
    yield Request("PUT" if granted else "DELETE", path, idempotency_key=key or new_idempotency_key())
