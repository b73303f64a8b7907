"""Operations on signed documents, and what they answer. Signatures are ``cryptography``'s in every engine of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from circuits import snapshot, statement
from verifier.attestation import Attestation, check_attested, load_public_key, verify_attestation
from verifier.snapshot_signature import verify_snapshot_signature

from .engine import Input, Operation

Values = Mapping[str, Any]


def attestation_of(given: Input) -> Attestation:
    """The verified attestation of an input, under the input's key."""
    return verify_attestation(given.data("attestation"), load_public_key(given.data("key")))


def op_public_key(given: Input) -> Values:
    """An Ed25519 public key from PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = load_public_key(given.data("key"))
    return {"bytes": key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()}


def op_attestation(given: Input) -> Values:
    """A hub's signed fact."""
    fact = attestation_of(given)
    return {
        "hub": fact.hub, "account": fact.account, "epoch": fact.epoch, "commitment": fact.commitment.hex(),
        "domain": fact.domain, "registry": fact.registry.hex(), "time": fact.time,
    }  # fmt: skip


def op_attested(given: Input) -> Values:
    """Whether a statement speaks of exactly what the hub attested."""
    stated, snap = statement.from_bytes(given.data("statement")), snapshot.from_bytes(given.data("snapshot"))
    check_attested(stated, snap, attestation_of(given), now=given.optional_number("now"))
    return {}


def op_signed_snapshot(given: Input) -> Values:
    """An oracle's signature of a snapshot; with ``now``, whether it is in force."""
    snap, key = snapshot.from_bytes(given.data("snapshot")), load_public_key(given.data("key"))
    signed = verify_snapshot_signature(given.data("signed"), snap, key, now=given.optional_number("now"))
    return {"oracle": signed.oracle, "time": signed.time, "valid_until": signed.valid_until}


OPERATIONS: dict[str, Operation] = {
    "public-key": op_public_key,
    "attestation": op_attestation,
    "attested": op_attested,
    "signed-snapshot": op_signed_snapshot,
}
