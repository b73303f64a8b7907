"""Authorisations: the account's key over exactly one statement, and everything that must not pass for its consent."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.vectors.accounts import EXPIRY, NOW
from tests.vectors.cases import Cases, text, without
from tests.vectors.seed import HUB, signing_key
from tests.vectors.tokens import MALFORMED, REJECTED, bad_tokens, document, token
from tests.vectors.topics.purposes import CREDIT, OUT, PURPOSES, SHOW, TRADE, VERSION_1, leg, stated
from zkmargin.circuits import canonical
from zkmargin.circuits.documents.statement import statement_from_bytes
from zkmargin.service.keys import signing, signing_keys
from zkmargin.service.vectors.case import Tree
from zkmargin.verifier.facts.attestation import TOKEN_TYPE as ATTESTATION_TYPE
from zkmargin.verifier.facts.authorisation import SCHEMA, TOKEN_TYPE, Authorisation

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NAME, TITLE = "authorisations", "Authorisations: the signature of the account's key over a statement"
MISMATCH, STALE = "statement-mismatch", "stale-statement"
HEADER = {"alg": "EdDSA", "typ": TOKEN_TYPE}


def digest_of(tree: Tree) -> bytes:
    """The digest of a statement."""
    return statement_from_bytes(canonical.canonical_bytes(tree)).digest


def consent_to(tree: Tree) -> Authorisation:
    """What the account's key signs for a statement."""
    return Authorisation(HUB, "alice", digest_of(tree), NOW)


def write(cases: Cases) -> None:
    """All cases."""
    key = signing_key("account")
    pem = cases.library.put("key-account", signing_keys.public_pem(key).decode())
    _accepted(cases, pem, key)
    _tokens(cases, pem, key)
    _payloads(cases, pem, key)
    _documents(cases, pem, key)
    _other_statements(cases, pem, key)
    _times(cases, pem, key)


def given(tree: Tree, signed: str, pem: str, now: int | None = NOW) -> Tree:
    """The input of ``authorisation``."""
    out: Tree = {"statement": text(tree), "authorisation": signed, "key": pem}
    return out if now is None else out | {"now": now}


def sign(consent: Authorisation, key: Ed25519PrivateKey) -> str:
    """The document as the holder makes it."""
    return signing.sign_authorisation(consent, key).decode()


def _accepted(cases: Cases, pem: str, key: Ed25519PrivateKey) -> None:
    for purpose in PURPOSES:
        tree = stated(purpose)
        cases.valid("authorisation", given(tree, sign(consent_to(tree), key), pem), f"what it is for: {purpose['for']}")
    tree = stated(CREDIT)
    consent = consent_to(tree)
    swapped = document(SCHEMA, token(consent.payload(), dict(reversed(list(HEADER.items()))), key))
    cases.valid("authorisation", given(tree, swapped, pem), "header members in another order")
    spaced = json.dumps(json.loads(sign(consent, key)), indent=1)
    cases.valid("authorisation", given(tree, spaced, pem), "white space in the document, none in what is signed")
    shuffled = dict(reversed(list(tree.items())))
    cases.valid("authorisation", given(shuffled, sign(consent, key), pem), "the statement's members in another order")
    old = without(stated(SHOW), "purpose") | {"schema": VERSION_1}
    signed = sign(consent_to(old), key)
    cases.valid("authorisation", given(old, signed, pem), "a statement of version 1: it only shows, signed or not")


def _tokens(cases: Cases, pem: str, key: Ed25519PrivateKey) -> None:
    tree = stated(CREDIT)
    consent = consent_to(tree)
    for flag, code, comment, jws in bad_tokens(consent.payload(), TOKEN_TYPE, key):
        cases.invalid("authorisation", given(tree, document(SCHEMA, jws), pem), flag, code, comment)
    for kind in (
        "zkmargin-snapshot+jws", "zkmargin-credit-entry+jws", "zkmargin-tree-head+jws", "zkmargin-hub-key+jws",
        "zkmargin-demand+jws", "zkmargin-statement+jws",
    ):  # fmt: skip
        jws = token(consent.payload(), HEADER | {"typ": kind}, key)
        wrong = given(tree, document(SCHEMA, jws), pem)
        cases.invalid("authorisation", wrong, "WrongTokenType", MALFORMED, f"the type {kind}")
    hub_key = signing_key("hub")
    public = cases.library.put("key-hub", signing_keys.public_pem(hub_key).decode())
    cases.invalid(
        "authorisation", given(tree, sign(consent, hub_key), pem), "WrongKey", REJECTED, "the hub's signature"
    )
    wrong = given(tree, sign(consent, key), public)
    cases.invalid("authorisation", wrong, "WrongKey", REJECTED, "looked at under the hub's key")
    private = signing_keys.private_pem(key).decode()
    for value, comment in (("", "no key"), (private, "a private key"), ("00" * 32, "a key in hex")):
        cases.invalid("authorisation", given(tree, sign(consent, key), value), "BadKey", MALFORMED, comment)


def _payloads(cases: Cases, pem: str, key: Ed25519PrivateKey) -> None:
    """Well signed, and no authorisation."""
    tree = stated(CREDIT)
    payload = json.loads(consent_to(tree).payload())
    faults: list[tuple[Tree, str, str]] = [
        ({"schema": "zkmargin/authorisation/2"}, "WrongSchema", "version 2"),
        ({"schema": "zkmargin/attestation/1"}, "WrongSchema", "another kind of payload"),
        ({"schema": "zkmargin/statement/2"}, "WrongSchema", "the schema of the statement"),
        ({"hub": ""}, "BadName", "an empty hub"),
        ({"hub": "a" * 65}, "BadName", "a hub of 65 characters"),
        ({"account": "a b"}, "BadName", "an account with a space"),
        ({"account": 7}, "WrongType", "an account as a number"),
        ({"statement": payload["statement"].upper()}, "BadHex", "upper case"),
        ({"statement": payload["statement"][:-2]}, "BadHex", "a digest of 31 bytes"),
        ({"statement": payload["statement"] + "00"}, "BadHex", "a digest of 33 bytes"),
        ({"statement": "0x" + payload["statement"][2:]}, "BadHex", "a digest with a prefix"),
        ({"statement": tree}, "WrongType", "the statement itself"),
        ({"time": str(NOW)}, "WrongType", "a time as a string"),
        ({"time": True}, "WrongType", "a time as a boolean"),
        ({"time": -1}, "OutOfRange", "a time before 1970"),
        ({"time": 253_402_300_800}, "OutOfRange", "a time in year 10000"),
        ({"purpose": CREDIT}, "UnknownKey", "the purpose besides"),
        ({"expiry": EXPIRY}, "UnknownKey", "an end of its own"),
    ]
    faults += [({name: None}, "EmptyOptional", f"{name} that is null") for name in payload]
    for change, flag, comment in faults:
        data = canonical.canonical_bytes(payload | change)
        wrong = given(tree, document(SCHEMA, token(data, HEADER, key)), pem)
        cases.invalid("authorisation", wrong, flag, MALFORMED, f"signed: {comment}")
    for name in payload:
        data = canonical.canonical_bytes(without(payload, name))
        wrong = given(tree, document(SCHEMA, token(data, HEADER, key)), pem)
        cases.invalid("authorisation", wrong, "MissingKey", MALFORMED, f"signed: without {name}")
    floated = json.dumps(payload, separators=(",", ":"), sort_keys=True).replace(f"{NOW}", f"{NOW}.0").encode()
    for data, flag, comment in (
        (floated, "Float", "a time with a point"),
        (canonical.canonical_bytes([payload]), "WrongType", "a list"),
        (payload["statement"].encode(), "NotJson", "the bare digest"),
    ):
        wrong = given(tree, document(SCHEMA, token(data, HEADER, key)), pem)
        cases.invalid("authorisation", wrong, flag, MALFORMED, f"signed: {comment}")


def _documents(cases: Cases, pem: str, key: Ed25519PrivateKey) -> None:
    tree = stated(CREDIT)
    good = token(consent_to(tree).payload(), HEADER, key)
    for source, flag, comment in (
        (document("zkmargin/authorisation/2", good), "WrongSchema", "version 2 of the document"),
        (document("zkmargin/attestation/1", good), "WrongSchema", "the document of another kind"),
        (text({"schema": SCHEMA, "jws": good, "kid": "1"}), "UnknownKey", "a member more in the document"),
        (text({"schema": SCHEMA}), "MissingKey", "no token"),
        (text({"jws": good}), "MissingKey", "no schema"),
        (text({"schema": SCHEMA, "jws": [good]}), "WrongType", "a list of tokens"),
        (text({"schema": SCHEMA, "jws": None}), "EmptyOptional", "a token that is null"),
        (good, "NotJson", "the bare token"),
        ("", "NotJson", "nothing"),
        (f'{{"schema":"{SCHEMA}","jws":"{good}","jws":"{good}"}}', "DuplicateKey", "the token twice"),
    ):
        cases.invalid("authorisation", given(tree, source, pem), flag, MALFORMED, comment)
    elsewhere = token(consent_to(tree).payload(), HEADER | {"typ": ATTESTATION_TYPE}, key)
    wrong = given(tree, document("zkmargin/attestation/1", elsewhere), pem)
    cases.invalid("authorisation", wrong, "WrongSchema", MALFORMED, "an attestation that the account's key signed")


def _other_statements(cases: Cases, pem: str, key: Ed25519PrivateKey) -> None:
    """Consent to one statement is none to another, however like it."""
    tree = stated(CREDIT)
    signed = sign(consent_to(tree), key)

    def refuse(other: Tree, flag: str, comment: str) -> None:
        cases.invalid("authorisation", given(other, signed, pem), flag, MISMATCH, comment)

    for purpose in (SHOW, TRADE, OUT):
        refuse(stated(purpose), "OtherPurpose", f"signed for a credit, used to {purpose['for']}")
        back = given(tree, sign(consent_to(stated(purpose)), key), pem)
        comment = f"signed for a {purpose['for']}, used for a credit"
        cases.invalid("authorisation", back, "OtherPurpose", MISMATCH, comment)
    refuse(without(tree, "purpose") | {"schema": VERSION_1}, "OtherVersion", "the twin of version 1")
    twin = consent_to(without(tree, "purpose") | {"schema": VERSION_1})
    cases.invalid("authorisation", given(tree, sign(twin, key), pem), "OtherVersion", MISMATCH,
                 "signed for the twin of version 1")  # fmt: skip
    for change, comment in (
        ({"amount": "6"}, "a larger credit"), ({"amount": "5.0"}, "the same credit in other digits"),
        ({"amount": "4"}, "a smaller credit"), ({"expires": EXPIRY + 1}, "a credit that ends a second later"),
    ):  # fmt: skip
        refuse(stated(CREDIT | change), "OtherPurpose", comment)
    refuse(stated(CREDIT | {"venue": "spoke-2"}, spoke="spoke-2"), "OtherContext", "the same credit at another venue")
    context: Tree = {"hub": "hub-2", "account": "bob", "epoch": 8, "nonce": "00" * 16, "expiry": EXPIRY + 1}
    for name, value in context.items():
        refuse(stated(CREDIT, **{name: value}), "OtherContext", f"another {name}: {value}")
    refuse(stated(CREDIT, amount="11"), "OtherStatement", "a larger amount is proved")
    for purpose, changes, comment in (
        (TRADE, {"delta": [leg("USD", "-6")]}, "another leg"),
        (TRADE | {"limit": "11"}, {}, "another limit"),
        (TRADE | {"counterparty": "bob"}, {}, "another counterparty"),
        (OUT | {"destination": "bank account 8"}, {}, "another destination"),
        (OUT, {"delta": [leg("USD", "-5.01")]}, "a cent more taken out"),
    ):
        first = consent_to(stated(TRADE if purpose["for"] == "trade" else OUT))
        wrong = given(stated(purpose, **changes), sign(first, key), pem)
        cases.invalid("authorisation", wrong, "OtherPurpose", MISMATCH, f"{purpose['for']}: {comment}")
    consent = consent_to(tree)
    data = canonical.canonical_bytes(tree)
    faults: list[tuple[dict[str, Any], str, str]] = [
        ({"hub": "hub-2"}, "OtherContext", "another hub in what is signed"),
        ({"account": "bob"}, "OtherContext", "another account in what is signed"),
        ({"account": "Alice"}, "OtherContext", "the account in other letters"),
        ({"statement": bytes(32)}, "OtherStatement", "a digest of zeros"),
        ({"statement": consent.statement[::-1]}, "WrongDigest", "the digest's bytes reversed"),
        ({"statement": consent.statement[:31] + bytes([consent.statement[31] ^ 1])}, "EqualDigestPrefix",
         "31 right bytes"),
        ({"statement": hashlib.sha256(data).digest()}, "WrongDomainSeparation", "a digest under no domain"),
        ({"statement": hashlib.sha256(VERSION_1.encode() + b"\x00" + data).digest()}, "WrongDomainSeparation",
         "a digest under the domain of version 1"),
    ]  # fmt: skip
    for change, flag, comment in faults:
        wrong = given(tree, sign(replace(consent, **change), key), pem)
        cases.invalid("authorisation", wrong, flag, MISMATCH, comment)
    broken = stated(CREDIT | {"amount": "11"})
    cases.invalid("authorisation", given(broken, signed, pem), "BadPurpose", MALFORMED, "a statement that is none")


def _times(cases: Cases, pem: str, key: Ed25519PrivateKey) -> None:
    tree = stated(CREDIT)

    def at(time: int, now: int | None) -> Tree:
        return given(tree, sign(replace(consent_to(tree), time=time), key), pem, now)

    for time, now, comment in (
        (NOW, NOW, "signed now"), (NOW + 30, NOW, "30 seconds of skew"), (0, NOW, "signed in 1970"),
        (NOW, EXPIRY + 1, "after the statement's expiry, which is not looked at here"),
        (253_402_300_799, None, "signed in the year 9999, no clock"), (NOW, None, "no clock"),
    ):  # fmt: skip
        cases.valid("authorisation", at(time, now), comment, "EdgeCase")
    for time, now, comment in (
        (NOW + 31, NOW, "31 seconds ahead"), (NOW, 0, "a clock at zero"), (31, 0, "31 seconds ahead of zero"),
        (253_402_300_799, NOW, "signed in the year 9999"),
    ):  # fmt: skip
        cases.invalid("authorisation", at(time, now), "FromTheFuture", STALE, comment)
    wrong = given(tree, sign(replace(consent_to(tree), account="bob", time=NOW + 31), key), pem)
    cases.invalid("authorisation", wrong, "OtherContext", MISMATCH, "another account, and from the future")
