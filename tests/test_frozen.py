"""Frozen files of every wire version: what was valid once stays valid, and nothing else becomes so."""

from __future__ import annotations

from pathlib import Path

import pytest

from circuits import snapshot, statement
from circuits.errors import ZkMarginError
from prover.documents import parse_proof
from verifier.attestation import load_public_key, verify_attestation
from verifier.verify import verify, verify_account

FROZEN = Path(__file__).parent / "frozen"
NOW = 1_777_917_454


@pytest.mark.parametrize("version", sorted(p.name for p in FROZEN.iterdir()))
@pytest.mark.parametrize("name", ["a", "b"])
def test_a_frozen_proof_still_verifies(version: str, name: str) -> None:
    folder = FROZEN / version
    snap = snapshot.from_bytes((folder / "snapshot.json").read_bytes())
    stated = statement.from_bytes((folder / f"{name}.statement.json").read_bytes())
    key = load_public_key((folder / "hub.pub").read_bytes())
    attested = verify_attestation((folder / f"{name}.attestation.json").read_bytes(), key)
    proof = parse_proof((folder / f"{name}.proof.json").read_bytes(), stated)
    verify_account(stated, snap, proof, attested, now=NOW)
    other = statement.from_bytes((folder / f"{'b' if name == 'a' else 'a'}.statement.json").read_bytes())
    with pytest.raises(ZkMarginError):
        verify(other, snap, proof, now=NOW)
