"""Files of earlier versions: what was valid once stays valid, and nothing else becomes so."""

from __future__ import annotations

import pytest

from tests.support.places import FROZEN
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.documents.statement import VERSION_1, VERSION_2, statement_from_bytes
from zkmargin.circuits.errors import SignatureRejected, StatementMismatch, ZkMarginError
from zkmargin.circuits.purpose import SHOW, ForCredit
from zkmargin.circuits.statement import Statement
from zkmargin.prover.documents import parse_proof
from zkmargin.verifier.facts.attestation import load_public_key, verify_attestation
from zkmargin.verifier.facts.authorisation import check_authorises, verify_authorisation
from zkmargin.verifier.verdict import verify_account
from zkmargin.verifier.verify import verify

NOW = 1_777_917_454
VERSIONS = sorted(p.name for p in FROZEN.iterdir())
every = pytest.mark.parametrize("version", VERSIONS)


def load(version: str, name: str) -> Statement:
    return statement_from_bytes((FROZEN / version / f"{name}.statement.json").read_bytes())


@every
@pytest.mark.parametrize("name", ["a", "b"])
def test_a_frozen_proof_still_verifies(version: str, name: str) -> None:
    folder = FROZEN / version
    snap = snapshot_from_bytes((folder / "snapshot.json").read_bytes())
    stated = load(version, name)
    key = load_public_key((folder / "hub.pub").read_bytes())
    attested = verify_attestation((folder / f"{name}.attestation.json").read_bytes(), key)
    proof = parse_proof((folder / f"{name}.proof.json").read_bytes(), stated)
    verify_account(stated, snap, proof, attested, now=NOW)
    for others in VERSIONS:
        other = load(others, "b" if name == "a" else "a")
        with pytest.raises(ZkMarginError):
            verify(other, snap, proof, now=NOW)


def test_each_version_is_read_as_what_it_was() -> None:
    """Version 1 only shows; of version 2, one is a credit and one shows what an order would leave."""
    for name in ("a", "b"):
        old = load("v1", name)
        assert (old.tree["schema"], old.purpose) == (VERSION_1, SHOW)
        assert load("v2", name).tree["schema"] == VERSION_2
    credit, shown = load("v2", "a"), load("v2", "b")
    assert credit.purpose == ForCredit("spoke-a", "500000", NOW + 3600)
    assert (shown.purpose, len(shown.delta)) == (SHOW, 2)


def test_a_frozen_authorisation_is_still_one_and_of_its_statement_only() -> None:
    folder = FROZEN / "v2"
    signed = (folder / "a.authorisation.json").read_bytes()
    consent = verify_authorisation(signed, load_public_key((folder / "holder.pub").read_bytes()))
    check_authorises(consent, load("v2", "a"), now=NOW)
    for version, name in (("v2", "b"), ("v1", "a"), ("v1", "b")):
        with pytest.raises(StatementMismatch):
            check_authorises(consent, load(version, name), now=NOW)
    with pytest.raises(SignatureRejected):
        verify_authorisation(signed, load_public_key((folder / "hub.pub").read_bytes()))
