"""Portfolio, opening, statement and proof documents: between files and the domain types."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import FailFast, Field

from zkmargin.circuits import canonical
from zkmargin.circuits.documents.statement import VERSION_2, StatementModel, statement_from_model, to_tree
from zkmargin.circuits.errors import MalformedInput, StatementMismatch
from zkmargin.circuits.purpose import SHOW, Purpose
from zkmargin.circuits.schema import Decimal, Hex32, Hex48, ProofModel, Secret, dump, load, validate
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import Statement
from zkmargin.circuits.units import format_fraction, parse_decimal
from zkmargin.prover.commitment import Opening
from zkmargin.prover.portfolio import parse_portfolio
from zkmargin.verifier.facts.attestation import Attestation
from zkmargin.verifier.field import decode_scalar, encode_scalar
from zkmargin.verifier.proof_document import ProofDocument


class OpeningModel(Secret):
    """``zkmargin/opening/1``: everything that opens a commitment. Secret."""

    schema_: Literal["zkmargin/opening/1"] = Field(alias="schema")
    commitment: Hex48
    domain: Literal[256, 512, 1024, 2048]
    registry: Hex32
    lots: Annotated[list[Decimal], Field(min_length=1, max_length=2048), FailFast()]
    blinding: Annotated[list[Hex32], Field(min_length=2, max_length=2)]


def portfolio_lots(data: bytes, snapshot: Snapshot) -> list[int]:
    """The lots of :func:`zkmargin.prover.portfolio.parse_portfolio`: registry order, cash after entry prices."""
    return list(parse_portfolio(data, snapshot).lots)


def opening_bytes(opening: Opening, registry: bytes) -> bytes:
    """The opening document of lots that are rows of the registry with this digest. Secret."""
    return canonical.canonical_bytes(
        {
            "schema": "zkmargin/opening/1",
            "commitment": opening.commitment().hex(),
            "domain": opening.domain,
            "registry": registry.hex(),
            "lots": [str(lots) for lots in opening.lots],
            "blinding": [encode_scalar(b).hex() for b in opening.blinding],
        }
    )


def parse_opening(data: bytes, snapshot: Snapshot) -> Opening:
    """An opening document, checked against the registry and against the commitment it names."""
    model = load(OpeningModel, data, name="opening")
    if model.registry != snapshot.registry_digest.hex():
        raise StatementMismatch("the opening's lots are rows of another registry", field="opening.registry")
    if len(model.lots) != len(snapshot.instruments):
        raise MalformedInput("one entry for each instrument", field="opening.lots")
    lots: list[int] = []
    for i, text in enumerate(model.lots):
        value = parse_decimal(text, field=f"opening.lots.{i}")
        if value.denominator != 1:
            raise MalformedInput("not a whole number of lots", field=f"opening.lots.{i}")
        lots.append(value.numerator)
    blinding = tuple(
        decode_scalar(bytes.fromhex(b), field=f"opening.blinding.{i}") for i, b in enumerate(model.blinding)
    )
    opening = Opening(model.domain, tuple(lots), blinding)
    if opening.commitment().hex() != model.commitment:
        raise StatementMismatch("lots and blinding do not open this commitment", field="opening.commitment")
    return opening


def make_statement(
    snapshot: Snapshot,
    attestation: Attestation,
    *,
    venue: str,
    amount: str,
    expiry: int,
    level: str = "initial",
    multiplier: str = "1",
    horizon: int = 3600,
    delta: Sequence[tuple[str, str]] = (),
    elections: Mapping[str, str] | None = None,
    overlays: Sequence[str] = (),
    nonce: str | None = None,
    purpose: Purpose = SHOW,
) -> Statement:
    """A statement about an attested commitment; ``nonce`` is the venue's (32 hex digits), fresh by default.

    ``purpose`` is what it may be used for: nothing but to show solvency, unless said otherwise.
    ``StatementMismatch`` when the attested positions are rows of another registry than the snapshot's.
    """
    if attestation.registry != snapshot.registry_digest:
        raise StatementMismatch("the attested positions are rows of another registry", field="attestation.registry")
    tree: dict[str, Any] = {
        "schema": VERSION_2,
        "type": "account-solvency",
        "purpose": to_tree(purpose),
        "commitment": attestation.commitment.hex(),
        "domain": attestation.domain,
        "snapshot": snapshot.digest.hex(),
        "rule": snapshot.rule_id,
        "level": level,
        "multiplier": multiplier,
        "horizon": horizon,
        "amount": amount,
        "delta": [{"instrument": i, "quantity": q} for i, q in delta],
        "context": {
            "hub": attestation.hub,
            "account": attestation.account,
            "epoch": attestation.epoch,
            "spoke": venue,
            "nonce": secrets.token_hex(16) if nonce is None else nonce,
            "expiry": expiry,
        },
    }
    if elections:
        tree["elections"] = dict(elections)
    if overlays:
        tree["overlays"] = sorted(overlays)
    return statement_from_model(validate(StatementModel, tree, name="statement"))


def proof_bytes(statement: Statement, proof: bytes) -> bytes:
    """The proof document."""
    model = ProofModel(schema="zkmargin/proof/1", statement=statement.digest.hex(), proof=proof.hex())
    return canonical.canonical_bytes(dump(model))


def parse_proof(data: bytes, statement: Statement) -> bytes:
    """The proof's bytes, after checking that the document is about this statement."""
    return _about(ProofDocument.from_bytes(data, statement), statement)


def proof_of(model: ProofModel, statement: Statement) -> bytes:
    """The bytes of a validated proof document, which must be about this statement."""
    return _about(ProofDocument.from_model(model, statement), statement)


def _about(document: ProofDocument, statement: Statement) -> bytes:
    document.check_about(statement)
    return document.proof


def position_text(lots: int, snapshot: Snapshot, row: int) -> str:
    """A quantity in units, for the holder's eyes."""
    return format_fraction(lots * snapshot.instruments[row].lot)
