"""Signed documents: attestations, accounts as a venue sees them, signed snapshots."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.vectors.accounts import ACCOUNTS, EXPIRY, NOW
from tests.vectors.cases import Cases, text
from tests.vectors.seed import HUB, Stream, signing_key
from tests.vectors.tokens import MALFORMED, REJECTED, bad_tokens, document, token
from tests.vectors.topics.proofs import case, honest, snapshot_ref
from zkmargin.circuits import canonical
from zkmargin.service.keys import signing, signing_keys
from zkmargin.service.vectors.case import Tree
from zkmargin.verifier.facts.attestation import TOKEN_TYPE, Attestation
from zkmargin.verifier.facts.snapshot_signature import TOKEN_TYPE as SNAPSHOT_TYPE
from zkmargin.verifier.facts.snapshot_signature import SnapshotSignature

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NAME, TITLE = "signed", "Signed documents: attestations, signed snapshots"
MISMATCH, STALE = "statement-mismatch", "stale-statement"


def fact_of(name: str) -> Attestation:
    """What the vectors' hub attests of an account."""
    account = ACCOUNTS[name]
    return Attestation(HUB, "alice", 7, account.commitment, account.domain, account.snapshot.registry_digest, NOW - 10)


def write(cases: Cases) -> None:
    """All cases."""
    key = signing_key("hub")
    pem = cases.library.put("key-hub", signing_keys.public_pem(key).decode())
    _keys(cases, pem)
    _attestations(cases, pem, key)
    _attested(cases, pem, key)
    _accounts(cases, pem, key)
    _snapshots(cases)


def _keys(cases: Cases, pem: str) -> None:
    cases.valid("public-key", {"key": pem}, "an Ed25519 key")
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    number = int.from_bytes(Stream("p256").bytes()[:31], "big")
    point = ec.derive_private_key(number, ec.SECP256R1()).public_key()
    curve = point.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    for value, comment in (
        ("", "empty"),
        (curve, "a key of another kind"),
        ("-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n", "no key in the PEM"),
        (signing_keys.private_pem(signing_key("hub")).decode(), "a private key"),
        ("00" * 32, "hex"),
    ):
        cases.invalid("public-key", {"key": value}, "BadKey", MALFORMED, comment)


def _attestations(cases: Cases, pem: str, key: Ed25519PrivateKey) -> None:
    schema = "zkmargin/attestation/1"
    for name in ("cross", "portfolio"):
        signed = signing.sign_attestation(fact_of(name), key).decode()
        cases.valid("attestation", {"attestation": signed, "key": pem}, f"the attestation of {name}")
    payload = fact_of("cross").payload()
    swapped = document(schema, token(payload, {"typ": TOKEN_TYPE, "alg": "EdDSA"}, key))
    cases.valid("attestation", {"attestation": swapped, "key": pem}, "header members in another order")
    for flag, code, comment, jws in bad_tokens(payload, TOKEN_TYPE, key):
        cases.invalid("attestation", {"attestation": document(schema, jws), "key": pem}, flag, code, comment)
    header = {"alg": "EdDSA", "typ": TOKEN_TYPE}
    tree = json.loads(payload)
    for change, flag, comment in (
        ({"schema": "zkmargin/attestation/2"}, "WrongSchema", "version 2"),
        ({"schema": "zkmargin/signed-snapshot/1"}, "WrongSchema", "another kind of payload"),
        ({"epoch": -1}, "OutOfRange", "a negative epoch"),
        ({"epoch": "7"}, "WrongType", "an epoch as a string"),
        ({"domain": 128}, "OtherDomain", "a domain that does not exist"),
        ({"commitment": tree["commitment"][:-2]}, "BadHex", "a commitment of 47 bytes"),
        ({"registry": tree["registry"].upper()}, "BadHex", "upper case"),
        ({"hub": ""}, "BadName", "an empty hub"),
    ):
        data = canonical.canonical_bytes(tree | change)
        given = {"attestation": document(schema, token(data, header, key)), "key": pem}
        cases.invalid("attestation", given, flag, MALFORMED, comment)
    good = token(payload, header, key)
    for source, flag, comment in (
        (document("zkmargin/attestation/2", good), "WrongSchema", "version 2 of the document"),
        (text({"schema": schema, "jws": good, "kid": "1"}), "UnknownKey", "a member more in the document"),
        (good, "NotJson", "the bare token"),
        (f'{{"schema":"{schema}","jws":"{good}","jws":"{good}"}}', "DuplicateKey", "the token twice"),
    ):
        cases.invalid("attestation", {"attestation": source, "key": pem}, flag, MALFORMED, comment)


def _attested(cases: Cases, pem: str, key: Ed25519PrivateKey) -> None:
    stated, snap, _ = honest(cases, "cross")
    fact = fact_of("cross")

    def given(attested: Attestation, **more: Any) -> Tree:
        return {
            "statement": stated, "snapshot": snap, "attestation": signing.sign_attestation(attested, key).decode(),
            "key": pem,
        } | more  # fmt: skip

    cases.valid("attested", given(fact, now=NOW), "the statement is about what the hub attested")
    cases.valid("attested", given(replace(fact, time=NOW + 30), now=NOW), "30 seconds of skew", "EdgeCase")
    changes: tuple[tuple[str, str, Tree], ...] = (
        ("OtherContext", "another hub", {"hub": "hub-2"}),
        ("OtherContext", "another account", {"account": "bob"}),
        ("OtherContext", "the next epoch", {"epoch": 8}),
        ("OtherContext", "the epoch before", {"epoch": 6}),
        ("OtherCommitment", "another commitment", {"commitment": ACCOUNTS["cross-other"].commitment}),
        ("OtherDomain", "another domain", {"domain": 512}),
        ("OtherRegistry", "another registry", {"registry": ACCOUNTS["tiered"].snapshot.registry_digest}),
    )
    for flag, comment, change in changes:
        cases.invalid("attested", given(replace(fact, **change)), flag, MISMATCH, comment)
    late = given(replace(fact, time=NOW + 31), now=NOW)
    cases.invalid("attested", late, "FromTheFuture", STALE, "attested 31 seconds ahead")


def _accounts(cases: Cases, pem: str, key: Ed25519PrivateKey) -> None:
    def given(name: str, fact: Attestation, now: int = NOW, **more: Any) -> Tree:
        signed = signing.sign_attestation(fact, key).decode()
        return case(*honest(cases, name), now) | {"attestation": signed, "key": pem} | more

    for name in ("cross", "cross-k2", "loans", "portfolio"):
        cases.valid("verify-account", given(name, fact_of(name)), f"proof and attestation of {name}")
    fact = fact_of("cross")
    tries: tuple[tuple[str, str, str, Tree], ...] = (
        ("OtherContext", MISMATCH, "an old epoch's proof after the next attestation",
         given("cross", replace(fact, epoch=8))),
        ("OtherCommitment", MISMATCH, "the attestation of another account's commitment",
         given("cross", replace(fact, commitment=ACCOUNTS["cross-k2"].commitment))),
        ("Expired", STALE, "expired", given("cross", fact, EXPIRY + 1)),
        ("FromTheFuture", STALE, "attested in the future", given("cross", replace(fact, time=NOW + 31))),
        ("MixedProofs", "malformed-proof", "another account's proof",
         given("cross", fact, proof=honest(cases, "cross-k2")[2])),
        ("OtherStatement", "proof-rejected", "another statement's proof",
         given("cross", fact, proof=honest(cases, "cross", "amount", amount="12345.67")[2])),
        ("WrongKey", REJECTED, "another hub's signature",
         given("cross", fact, attestation=signing.sign_attestation(fact, signing_key("stranger")).decode())),
    )  # fmt: skip
    for flag, code, comment, tree in tries:
        cases.invalid("verify-account", tree, flag, code, comment)


def _snapshots(cases: Cases) -> None:
    key = signing_key("oracle")
    pem = cases.library.put("key-oracle", signing_keys.public_pem(key).decode())
    account, schema = ACCOUNTS["cross"], "zkmargin/signed-snapshot/1"
    header = {"alg": "EdDSA", "typ": SNAPSHOT_TYPE}
    fact = SnapshotSignature("oracle.invalid", account.snapshot.digest, NOW, NOW + 300)

    def given(signed: SnapshotSignature | str, now: int | None = None, snapshot: str | None = None) -> Tree:
        jws = signed if isinstance(signed, str) else token(signed.payload(), header, key)
        tree: Tree = {"signed": document(schema, jws), "snapshot": snapshot or snapshot_ref(cases, "cross"), "key": pem}
        return tree if now is None else tree | {"now": now}

    cases.valid("signed-snapshot", given(fact), "signed, times not looked at")
    for now, comment in ((NOW, "at its time"), (NOW - 30, "30 seconds of skew"), (NOW + 300, "the last second")):
        cases.valid("signed-snapshot", given(fact, now), comment, "EdgeCase")
    for now, flag, comment in ((NOW - 31, "FromTheFuture", "not in force yet"), (NOW + 301, "StaleSnapshot", "over")):
        cases.invalid("signed-snapshot", given(fact, now), flag, STALE, comment)
    other = given(fact, snapshot=snapshot_ref(cases, "tiered"))
    cases.invalid("signed-snapshot", other, "OtherSnapshot", MISMATCH, "another snapshot")
    twin = "@snapshot-equal-prefix"
    cases.invalid("signed-snapshot", given(fact, snapshot=twin), "EqualDigestPrefix", MISMATCH, "two equal bytes")
    shifted = given(replace(fact, time=NOW + 1))
    cases.invalid("signed-snapshot", shifted, "OtherSnapshot", MISMATCH, "a time that is not the snapshot's")
    for flag, code, comment, jws in bad_tokens(fact.payload(), SNAPSHOT_TYPE, key):
        cases.invalid("signed-snapshot", given(jws), flag, code, comment)
