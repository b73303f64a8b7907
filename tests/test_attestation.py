"""Attestations: only the hub's own signature over the canonical payload counts."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from circuits.errors import MalformedInput, SignatureRejected, StaleStatement, StatementMismatch
from prover.documents import make_statement
from service import hub
from service.signing import sign_attestation
from verifier.attestation import TOKEN_TYPE, Attestation, check_attested, load_public_key, verify_attestation

from .test_documents import SNAPSHOT

KEY = hub.generate_key()
FACT = Attestation("hub", "acct", 7, bytes(range(48)), 256, SNAPSHOT.registry_digest, SNAPSHOT.time)


def wrap(token: str) -> bytes:
    return json.dumps({"schema": "zkmargin/attestation/1", "jws": token}).encode()


def sign(payload: bytes, key: Ed25519PrivateKey = KEY, **headers: str) -> bytes:
    return wrap(jwt.PyJWS().encode(payload, key, algorithm="EdDSA", headers={"typ": TOKEN_TYPE} | headers))


def test_round_trip() -> None:
    assert verify_attestation(sign_attestation(FACT, KEY), KEY.public_key()) == FACT


def test_another_hubs_key_is_rejected() -> None:
    with pytest.raises(SignatureRejected):
        verify_attestation(sign_attestation(FACT, KEY), hub.generate_key().public_key())


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_changed_part_is_refused(part: int) -> None:
    parts = json.loads(sign_attestation(FACT, KEY))["jws"].split(".")
    parts[part] = ("A" if parts[part][0] != "A" else "B") + parts[part][1:]
    with pytest.raises((SignatureRejected, MalformedInput)):
        verify_attestation(wrap(".".join(parts)), KEY.public_key())


def test_the_token_does_not_choose_its_algorithm() -> None:
    public = hub.public_pem(KEY)
    header = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": TOKEN_TYPE}).encode()).rstrip(b"=").decode()
    body = base64.urlsafe_b64encode(FACT.payload()).rstrip(b"=").decode()
    for token in (f"{header}.{body}.AA", jwt.PyJWS().encode(FACT.payload(), "k" * 32, algorithm="HS256")):
        with pytest.raises(MalformedInput):
            verify_attestation(wrap(token), load_public_key(public))


def test_other_headers_and_layouts_are_refused() -> None:
    for document in (
        sign(FACT.payload(), typ="JWT"),
        sign(FACT.payload(), kid="x"),
        sign(FACT.payload() + b" "),
        sign(b"{}"),
        sign(b"\xff"),
    ):
        with pytest.raises(MalformedInput):
            verify_attestation(document, KEY.public_key())


def test_keys_of_another_kind_are_refused() -> None:
    for load in (load_public_key, hub.load_private_key):
        for data in (b"", b"-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n", b"\xff" * 40):
            with pytest.raises(MalformedInput):
                load(data)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"hub": "other"}, "statement.context.hub"),
        ({"account": "other"}, "statement.context.account"),
        ({"epoch": 8}, "statement.context.epoch"),
        ({"commitment": bytes(48)}, "statement.commitment"),
        ({"domain": 512}, "statement.domain"),
        ({"registry": bytes(32)}, "attestation.registry"),
    ],
)
def test_a_statement_about_something_else_is_refused(change: dict[str, object], field: str) -> None:
    stated = make_statement(SNAPSHOT, FACT, spoke="s", amount="1", expiry=SNAPSHOT.time)
    check_attested(stated, SNAPSHOT, FACT, now=SNAPSHOT.time)
    with pytest.raises(StatementMismatch) as caught:
        check_attested(stated, SNAPSHOT, replace(FACT, **change))  # type: ignore[arg-type]
    assert caught.value.field == field


def test_an_attestation_from_the_future_is_refused() -> None:
    stated = make_statement(SNAPSHOT, FACT, spoke="s", amount="1", expiry=SNAPSHOT.time)
    with pytest.raises(StaleStatement):
        check_attested(stated, SNAPSHOT, FACT, now=SNAPSHOT.time - 3600)
