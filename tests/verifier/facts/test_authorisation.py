"""Authorisations: only a key of the account, over exactly this statement, in exactly this form."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.support.toy import NOW, load_statement, sample_account, statement_tree
from zkmargin.circuits.errors import MalformedInput, SignatureRejected, StaleStatement, StatementMismatch
from zkmargin.service.keys import signing_keys
from zkmargin.service.keys.signing import sign_authorisation, sign_document
from zkmargin.verifier.facts.authorisation import (
    SCHEMA,
    TOKEN_TYPE,
    Authorisation,
    AuthorisationModel,
    check_authorises,
    verify_authorisation,
)

ACCOUNT = sample_account(1)
STATED = load_statement(statement_tree(ACCOUNT.snapshot, ACCOUNT.commitment))
KEY = signing_keys.generate_key()
CONSENT = Authorisation("hub-1", "alice", STATED.digest, NOW)


def sign(payload: bytes, key: Ed25519PrivateKey = KEY, *, schema: str = SCHEMA, kind: str = TOKEN_TYPE) -> bytes:
    return sign_document(payload, key, schema=schema, token_type=kind)


def test_round_trip() -> None:
    document = sign_authorisation(CONSENT, KEY)
    assert verify_authorisation(document, KEY.public_key()) == CONSENT
    assert AuthorisationModel.model_validate(json.loads(document)).schema_ == SCHEMA
    check_authorises(CONSENT, STATED, now=NOW)


def test_the_payload_is_the_documented_one() -> None:
    assert json.loads(CONSENT.payload()) == {
        "schema": "zkmargin/authorisation/1", "hub": "hub-1", "account": "alice",
        "statement": STATED.digest.hex(), "time": NOW,
    }  # fmt: skip
    assert TOKEN_TYPE == "zkmargin-authorisation+jws"


def test_another_key_signs_for_nobody() -> None:
    with pytest.raises(SignatureRejected):
        verify_authorisation(sign_authorisation(CONSENT, signing_keys.generate_key()), KEY.public_key())


def test_no_other_document_of_the_key_is_an_authorisation() -> None:
    """Another schema, another type of token, a payload of another layout, of other members, with one more."""
    tree = json.loads(CONSENT.payload())
    spaced = json.dumps(tree).encode()
    for document in (
        sign(CONSENT.payload(), schema="zkmargin/attestation/1"),
        sign(CONSENT.payload(), kind="zkmargin-attestation+jws"),
        sign(spaced),
        sign(CONSENT.payload()[:-1] + b',"x":1}'),
        sign(json.dumps({k: v for k, v in tree.items() if k != "hub"}).encode()),
        sign(b"{}"),
        b"{}",
        b"\xff",
    ):
        with pytest.raises(MalformedInput):
            verify_authorisation(document, KEY.public_key())


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"hub": "hub-2"}, "authorisation.hub"),
        ({"account": "bob"}, "authorisation.account"),
        ({"statement": bytes(32)}, "authorisation.statement"),
    ],
)
def test_another_statement_is_not_authorised(change: dict[str, object], field: str) -> None:
    with pytest.raises(StatementMismatch) as refused:
        check_authorises(replace(CONSENT, **change), STATED, now=NOW)  # type: ignore[arg-type]
    assert refused.value.field == field


def test_an_authorisation_from_the_future_is_refused() -> None:
    check_authorises(CONSENT, STATED, now=NOW - 30)
    check_authorises(replace(CONSENT, time=253_402_300_799), STATED)
    with pytest.raises(StaleStatement) as refused:
        check_authorises(CONSENT, STATED, now=NOW - 31)
    assert refused.value.field == "authorisation.time"
