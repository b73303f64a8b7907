"""Credit entries: the hub's signed word that a venue has credit from an account."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.vectors.accounts import ACCOUNTS, EXPIRY, NOW
from tests.vectors.cases import Cases
from tests.vectors.seed import HUB, signing_key
from tests.vectors.tokens import MALFORMED, bad_tokens, document, token
from tests.vectors.topics.proofs import honest
from tests.vectors.topics.signed import fact_of
from zkmargin.circuits import canonical
from zkmargin.service.keys import signing, signing_keys
from zkmargin.service.vectors.case import Tree
from zkmargin.verifier.facts.credit_entry import SCHEMA, TOKEN_TYPE, CreditEntry

NAME, TITLE = "credits", "Credit entries"
MISMATCH, STALE = "statement-mismatch", "stale-statement"
DAY = 86_400


def entry_of() -> CreditEntry:
    """The credit that the statement with an amount asked for."""
    account = ACCOUNTS["cross"]
    return CreditEntry(
        hub=HUB, credit="credit-1", account="alice", venue="spoke-1", caip2="eip155:1", amount="12345.67",
        currency="USD", statement=account.statement(amount="12345.67").digest, epoch=7,
        snapshot=account.snapshot.digest, state="live", used="0", released="0", sequence=0, issued=NOW + 5,
        expires=NOW + DAY, time=NOW + 5,
    )  # fmt: skip


#: (flag, comment, change): states that no credit has.
IMPOSSIBLE: tuple[tuple[str, str, Tree], ...] = (
    ("OutOfRange", "no amount", {"amount": "0"}),
    ("OutOfRange", "a negative amount", {"amount": "-1"}),
    ("BadDecimal", "an amount that is not in its shortest form", {"amount": "12345.670"}),
    ("BadDecimal", "an exponent", {"amount": "1e4"}),
    ("WrongType", "an amount as a number", {"amount": 12345}),
    ("OutOfRange", "more used than there is", {"used": "12345.68", "sequence": 1}),
    ("OutOfRange", "used and released are more than the amount", {"used": "12345.67", "released": "1", "sequence": 1}),
    ("OutOfRange", "a negative use", {"used": "-1", "sequence": 1}),
    ("ImpossibleState", "used at issue", {"used": "1"}),
    ("ImpossibleState", "closed with something open", {"state": "closed", "sequence": 1}),
    ("ImpossibleState", "live with nothing left", {"released": "12345.67", "sequence": 1}),
    ("ImpossibleState", "an unknown state", {"state": "frozen"}),
    ("ImpossibleState", "expired when issued", {"expires": NOW + 5}),
    ("ImpossibleState", "signed before it was issued", {"time": NOW + 4}),
    ("BadName", "a chain without a reference", {"caip2": "eip155"}),
    ("BadName", "a chain in capitals", {"caip2": "EIP155:1"}),
    ("BadHex", "a statement of 31 bytes", {"statement": "00" * 31}),
    ("OutOfRange", "a negative sequence", {"sequence": -1}),
    ("WrongSchema", "version 2", {"schema": "zkmargin/credit/2"}),
)


def write(cases: Cases) -> None:
    """All cases."""
    key = signing_key("hub")
    pem = cases.library.put("key-hub", signing_keys.public_pem(key).decode())
    entry = entry_of()
    used = replace(entry, used="345.67", sequence=1, time=NOW + 60)
    partly = replace(used, used="300", released="45.67", sequence=2, time=NOW + 90)
    closed = replace(entry, state="closed", released="12345.67", sequence=3, time=NOW + 120)

    def signed(one: CreditEntry) -> str:
        return signing.sign_credit_entry(one, key).decode()

    for one, comment in ((entry, "as issued"), (used, "drawn on"), (partly, "partly released"), (closed, "closed")):
        cases.valid("credit-entry", {"entry": signed(one), "key": pem}, comment)
    payload = entry.payload()
    for flag, code, comment, jws in bad_tokens(payload, TOKEN_TYPE, key):
        cases.invalid("credit-entry", {"entry": document(SCHEMA, jws), "key": pem}, flag, code, comment)
    header = {"alg": "EdDSA", "typ": TOKEN_TYPE}
    for flag, comment, change in IMPOSSIBLE:
        data = canonical.canonical_bytes(json.loads(payload) | change)
        given = {"entry": document(SCHEMA, token(data, header, key)), "key": pem}
        cases.invalid("credit-entry", given, flag, MALFORMED, comment)
    other = {"entry": document("zkmargin/attestation/1", token(payload, header, key)), "key": pem}
    cases.invalid("credit-entry", other, "WrongSchema", MALFORMED, "a document of another kind")
    _checked(cases, pem)
    for old, new, comment in (
        (entry, used, "drawn on"), (used, partly, "given back"), (partly, closed, "closed"),
        (entry, closed, "two later"), (used, used, "the same entry again"),
    ):  # fmt: skip
        cases.valid("credit-follows", {"old": signed(old), "new": signed(new), "key": pem}, comment)
    for flag, comment, new in (
        ("OlderEntry", "an older entry", entry),
        ("TwoHistories", "another entry of the same sequence", replace(used, used="1")),
        ("ImpossibleState", "signed before the one held", replace(used, sequence=5, time=NOW + 30)),
        ("OtherContext", "another credit", replace(closed, credit="credit-2")),
        ("OtherContext", "another venue", replace(closed, venue="spoke-2")),
        ("OtherContext", "another account", replace(closed, account="bob")),
        ("AmountRaised", "a larger amount", replace(used, amount="20000", sequence=9)),
        ("OtherStatement", "another statement", replace(closed, statement=bytes(32))),
    ):
        given = {"old": signed(used), "new": signed(new), "key": pem}
        cases.invalid("credit-follows", given, flag, MISMATCH, comment)
    back = {"old": signed(partly), "new": signed(replace(partly, released="0", sequence=3)), "key": pem}
    cases.invalid("credit-follows", back, "ImpossibleState", MISMATCH, "what was released is taken back")


def _checked(cases: Cases, pem: str) -> None:
    """An entry against the statement that asked for it."""
    key = signing_key("hub")
    stated, snap, _ = honest(cases, "cross", "amount", amount="12345.67")
    attested = signing.sign_attestation(fact_of("cross"), key).decode()
    entry = entry_of()

    def given(one: CreditEntry, **more: object) -> Tree:
        return {
            "entry": signing.sign_credit_entry(one, key).decode(), "statement": stated, "snapshot": snap,
            "attestation": attested, "key": pem,
        } | more  # fmt: skip

    cases.valid("check-credit", given(entry), "the credit that was asked for")
    cases.valid("check-credit", given(entry, now=NOW + 5, caip2="eip155:1"), "on this chain, now")
    cases.valid("check-credit", given(replace(entry, amount="100")), "less than was proved", "EdgeCase")
    last = given(replace(entry, used="1", sequence=1), now=NOW + DAY)
    cases.valid("check-credit", last, "drawn on, in its last second", "EdgeCase")
    changes: tuple[tuple[str, str, Tree], ...] = (
        ("OtherContext", "another hub", {"hub": "hub-2"}),
        ("OtherContext", "another account", {"account": "bob"}),
        ("OtherContext", "another venue", {"venue": "spoke-2"}),
        ("OtherContext", "another epoch", {"epoch": 8}),
        ("AmountRaised", "a cent more than was proved", {"amount": "12345.68"}),
        ("AmountRaised", "ten times as much", {"amount": "123456.7"}),
        ("OtherContext", "another currency", {"currency": "EUR"}),
        ("OtherStatement", "another statement", {"statement": bytes(32)}),
        ("OtherSnapshot", "another snapshot", {"snapshot": ACCOUNTS["tiered"].snapshot.digest}),
    )
    for flag, comment, change in changes:
        cases.invalid("check-credit", given(replace(entry, **change)), flag, MISMATCH, comment)
    chain = given(entry, caip2="eip155:10")
    cases.invalid("check-credit", chain, "OtherContext", MISMATCH, "a credit on another chain")
    elsewhere = given(entry) | {"statement": honest(cases, "cross")[0]}
    cases.invalid("check-credit", elsewhere, "OtherStatement", MISMATCH, "another statement of the account")
    stranger = signing.sign_attestation(replace(fact_of("cross"), epoch=8), key).decode()
    other = given(entry) | {"attestation": stranger}
    cases.invalid("check-credit", other, "OtherContext", MISMATCH, "an attestation of another epoch")
    late = replace(entry, issued=EXPIRY + 1, time=EXPIRY + 1)
    closed = replace(entry, state="closed", released="12345.67", sequence=1)
    for flag, comment, one, now in (
        ("Expired", "issued after the request had expired", late, None),
        ("FromTheFuture", "signed 31 seconds ahead", replace(entry, time=NOW + 36), NOW + 5),
        ("Expired", "the credit has expired", entry, NOW + DAY + 1),
        ("ImpossibleState", "drawn on when closed", closed, NOW + 5),
    ):
        tree = given(one) if now is None else given(one, now=now)
        cases.invalid("check-credit", tree, flag, STALE, comment)
