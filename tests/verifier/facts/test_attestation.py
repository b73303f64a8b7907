"""Attestations: only the hub's own signature over the canonical payload counts."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.prover.test_documents import SNAPSHOT
from zkmargin.circuits.errors import MalformedInput, SignatureRejected, StaleStatement, StatementMismatch
from zkmargin.prover.documents import make_statement
from zkmargin.service.keys import signing_keys
from zkmargin.service.keys.signing import sign_attestation
from zkmargin.verifier.facts.attestation import (
    TOKEN_TYPE,
    Attestation,
    check_attested,
    load_public_key,
    verify_attestation,
)

KEY = signing_keys.generate_key()
FACT = Attestation("hub", "acct", 7, bytes(range(48)), 256, SNAPSHOT.registry_digest, SNAPSHOT.time)


def wrap(token: str) -> bytes:
    return json.dumps({"schema": "zkmargin/attestation/1", "jws": token}).encode()


def sign(payload: bytes, key: Ed25519PrivateKey = KEY, **headers: str) -> bytes:
    return wrap(jwt.PyJWS().encode(payload, key, algorithm="EdDSA", headers={"typ": TOKEN_TYPE} | headers))


def test_round_trip() -> None:
    assert verify_attestation(sign_attestation(FACT, KEY), KEY.public_key()) == FACT


def test_another_hubs_key_is_rejected() -> None:
    with pytest.raises(SignatureRejected):
        verify_attestation(sign_attestation(FACT, KEY), signing_keys.generate_key().public_key())


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_changed_part_is_refused(part: int) -> None:
    parts = json.loads(sign_attestation(FACT, KEY))["jws"].split(".")
    parts[part] = ("A" if parts[part][0] != "A" else "B") + parts[part][1:]
    with pytest.raises((SignatureRejected, MalformedInput)):
        verify_attestation(wrap(".".join(parts)), KEY.public_key())


def test_the_token_does_not_choose_its_algorithm() -> None:
    public = signing_keys.public_pem(KEY)
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
    for load in (load_public_key, signing_keys.load_private_key):
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
    stated = make_statement(SNAPSHOT, FACT, venue="s", amount="1", expiry=SNAPSHOT.time)
    check_attested(stated, SNAPSHOT, FACT, now=SNAPSHOT.time)
    with pytest.raises(StatementMismatch) as caught:
        check_attested(stated, SNAPSHOT, replace(FACT, **change))  # type: ignore[arg-type]
    assert caught.value.field == field


def test_an_attestation_from_the_future_is_refused() -> None:
    stated = make_statement(SNAPSHOT, FACT, venue="s", amount="1", expiry=SNAPSHOT.time)
    check_attested(stated, SNAPSHOT, FACT, now=SNAPSHOT.time - 30)
    for early in (31, 3600, SNAPSHOT.time):
        with pytest.raises(StaleStatement) as caught:
            check_attested(stated, SNAPSHOT, FACT, now=SNAPSHOT.time - early)
        assert caught.value.field == "attestation.time"


def test_without_a_clock_the_time_is_the_callers() -> None:
    stated = make_statement(SNAPSHOT, FACT, venue="s", amount="1", expiry=SNAPSHOT.time)
    check_attested(stated, SNAPSHOT, replace(FACT, time=253_402_300_799))


def test_the_payload_is_the_documented_one() -> None:
    assert json.loads(FACT.payload()) == {
        "schema": "zkmargin/attestation/1",
        "hub": "hub",
        "account": "acct",
        "epoch": 7,
        "commitment": bytes(range(48)).hex(),
        "domain": 256,
        "registry": SNAPSHOT.registry_digest.hex(),
        "time": SNAPSHOT.time,
    }
    assert TOKEN_TYPE == "zkmargin-attestation+jws"


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (wrap("a.b"), "attestation.jws"),
        (wrap("a.b.c"), "attestation.jws"),
        (b"{}", "attestation.schema"),
        (b"[]", "attestation"),
        (sign(b"{}"), "attestation.payload.schema"),
        (sign(FACT.payload() + b" "), "attestation.payload"),
        (sign(FACT.payload(), typ="JWT"), "attestation.jws"),
    ],
    ids=range(7),
)
def test_another_form_is_refused_by_name(data: bytes, field: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        verify_attestation(data, KEY.public_key())
    assert caught.value.field == field


def test_a_rejected_signature_is_named() -> None:
    with pytest.raises(SignatureRejected) as caught:
        verify_attestation(sign(FACT.payload(), signing_keys.generate_key()), KEY.public_key())
    assert caught.value.field == "attestation.jws"


def other_public_keys() -> dict[str, bytes]:
    """PEM files that are public keys, and none of Ed25519; and one of a kind that the library does not know."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    keys = {
        "RSA": rsa.generate_private_key(65537, 2048).public_key(),
        "P-256": ec.generate_private_key(ec.SECP256R1()).public_key(),
        "X25519": x25519.X25519PrivateKey.generate().public_key(),
    }
    return {name: key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) for name, key in keys.items()}


@pytest.mark.parametrize("kind", ["RSA", "P-256", "X25519"])
def test_a_public_key_that_is_not_ed25519_is_refused(kind: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        load_public_key(other_public_keys()[kind])
    assert (caught.value.field, caught.value.message) == ("hub-key", "not an Ed25519 public key")


def unknown_algorithm() -> bytes:
    """A SubjectPublicKeyInfo whose algorithm has the object identifier 1.2.3.4."""
    der = bytes.fromhex("300c3005 06032a0304 0303000000".replace(" ", ""))
    return b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(der) + b"\n-----END PUBLIC KEY-----\n"


@pytest.mark.parametrize("pem", [b"", b"\xff" * 40, unknown_algorithm()], ids=["empty", "binary", "unknown"])
def test_what_is_no_public_key_is_refused_by_name(pem: bytes) -> None:
    with pytest.raises(MalformedInput) as caught:
        load_public_key(pem)
    assert (caught.value.field, caught.value.message) == ("hub-key", "not a PEM public key")


def test_a_key_that_the_library_stumbles_over_is_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL's own errors are no ValueError; fuzzing of private keys found one."""
    from cryptography.exceptions import InternalError
    from cryptography.hazmat.primitives import serialization

    def stumble(_: bytes) -> None:
        raise InternalError("raw key", [])

    monkeypatch.setattr(serialization, "load_pem_public_key", stumble)
    with pytest.raises(MalformedInput):
        load_public_key(signing_keys.public_pem(KEY))
