"""Whole proofs of statements of version 2: each purpose, and a proof made for one use shown for another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from typing import Any

from tests.vectors.accounts import ACCOUNTS, EXPIRY, NOW
from tests.vectors.cases import Cases, text, without
from tests.vectors.seed import HUB, signing_key
from tests.vectors.topics.proofs import case, honest, snapshot_ref
from tests.vectors.topics.purposes import (
    CREDIT,
    OUT,
    PURPOSES,
    SHOW,
    TRADE,
    VERSION_1,
    VERSION_2,
    leg,
    stated,
    terms,
)
from tests.vectors.topics.signed import fact_of
from tests.vectors.weak import prove_weakly
from zkmargin.circuits import canonical
from zkmargin.service.keys import signing, signing_keys
from zkmargin.service.vectors.case import Tree
from zkmargin.verifier.argument.v1.encoding import HEADER_BYTES

NAME, TITLE = "purpose-proofs", "Whole proofs of statements of version 2, and their purpose changed"
REJECTED, MISMATCH, MALFORMED = "proof-rejected", "statement-mismatch", "malformed-input"
USD = leg("USD", "-5")

#: (account, tag, purpose, other terms, comment): what must be accepted.
HONEST: tuple[tuple[str, str, Tree, Tree, str], ...] = (
    *(("cross", purpose["for"], purpose, {}, f"cross margin, to {purpose['for']}") for purpose in PURPOSES),
    ("cross", "whole", CREDIT | {"amount": "999012.18"}, {"amount": "999012.18"}, "a credit of all that proves"),
    ("cross", "order", TRADE | {"limit": "0"}, {"delta": [leg("PERP-2", "1.5"), leg("USD", "-96.37")]},
     "an order below the mark, with any account"),
    ("cross", "exact", TRADE | {"limit": "0.005", "counterparty": "bob"},
     {"delta": [leg("PERP-2", "1.5"), leg("USD", "-96.38")]}, "an order at exactly its limit, with one account"),
    ("cross", "old-terms", OUT, {"level": "maintenance", "multiplier": "2.5", "horizon": 86400},
     "a withdrawal at maintenance, a larger multiplier and horizon"),
    ("cross-k2", "credit", CREDIT, {}, "a credit, K = 2"),
    ("cross-512", "withdrawal", OUT, {}, "a withdrawal, n = 512"),
    ("tiered", "trade", TRADE, {"delta": [leg("GOLD", "-0.1")], "overlays": ["leverage"]}, "a trade, tiered margin"),
    ("loans", "credit", CREDIT, {}, "a credit on a loan"),
    ("span", "trade", TRADE, {"delta": [leg("F1", "0.1"), leg("USD", "-10")]}, "a trade, the scan"),
    ("portfolio", "withdrawal", OUT, {}, "a withdrawal, portfolio margin"),
)  # fmt: skip


def write(cases: Cases) -> None:
    """All cases."""
    for name, tag, purpose, more, comment in HONEST:
        refs = honest(cases, name, tag, **terms(purpose, **more))
        cases.valid("verify", case(*refs), comment)
        cases.valid("challenges", case(*refs), f"its challenges: {comment}")
        made = bytearray.fromhex(ACCOUNTS[name].proof(**terms(purpose, **more)))
        made[-1] ^= 1
        given = case(refs[0], refs[1], made.hex())
        cases.invalid("verify", given, "ChangedEvaluation", REJECTED, f"a changed bit: {comment}")
    for now, comment in ((NOW, "the snapshot's own time"), (EXPIRY, "the last second")):
        cases.valid("verify", case(*proved(cases, CREDIT), now), comment, "EdgeCase")
    expired = case(*proved(cases, CREDIT), EXPIRY + 1)
    cases.invalid("verify", expired, "Expired", "stale-statement", "a second after the statement's expiry")
    over = CREDIT | {"expires": 0}
    ended = case(*honest(cases, "cross", "ended", **terms(over)), NOW)
    cases.valid("verify", ended, "a credit whose own end has passed: whoever books looks at that", "EdgeCase")
    _relabelled(cases)
    _members(cases)
    _versions(cases)
    _unbound(cases)
    _bound(cases)
    _accounts(cases)
    _documents(cases)


def proved(cases: Cases, purpose: Tree) -> tuple[str, str, str]:
    """The shared statement, snapshot and proof of the smallest account for a purpose."""
    return honest(cases, "cross", purpose["for"], **terms(purpose))


def shown(cases: Cases, tree: Tree, proof: str) -> Tree:
    """The input of ``verify``: another statement with this proof."""
    return case(text(tree), snapshot_ref(cases, "cross"), proof, NOW)


def twins() -> Iterator[tuple[Tree, Tree, Tree]]:
    """(proved for, shown for, other terms): equal statements but for the purpose, wherever two purposes allow it."""
    outflow: Tree = {"delta": [USD], "spoke": HUB}
    for one, other in permutations(PURPOSES, 2):
        if CREDIT not in (one, other):
            yield one, other, outflow
        elif SHOW in (one, other):
            yield one, other, {}


def _relabelled(cases: Cases) -> None:
    """A proof made for one use, shown for another."""
    for one, other, more in twins():
        proof = ACCOUNTS["cross"].proof(**terms(one, **more))
        comment = f"proved to {one['for']}, used to {other['for']}, all else equal"
        cases.invalid("verify", shown(cases, stated(other, **more), proof), "OtherPurpose", REJECTED, comment)
    for one, other in permutations(PURPOSES, 2):
        proof = proved(cases, one)[2]
        comment = f"proved to {one['for']}, used to {other['for']} as that is asked for"
        cases.invalid("verify", shown(cases, stated(other), proof), "OtherPurpose", REJECTED, comment)
    good, credit = proved(cases, SHOW), proved(cases, CREDIT)
    items = [case(*good), case(*credit), case(credit[0], credit[1], good[2])]
    cases.invalid("verify-batch", {"items": items}, "BadProofInBatch", REJECTED, "a proof that shows, as a credit's")
    cases.valid(
        "verify-batch", {"items": [case(*proved(cases, purpose)) for purpose in PURPOSES]}, "one of each purpose"
    )


def _members(cases: Cases) -> None:
    """Each member of a purpose changed after proving, with what must go along."""
    tries: tuple[tuple[Tree, Tree, Tree, str], ...] = (
        (CREDIT, {"amount": "6"}, {}, "a larger credit"),
        (CREDIT, {"amount": "10"}, {}, "a credit of all that is proved"),
        (CREDIT, {"amount": "4.99"}, {}, "a smaller credit"),
        (CREDIT, {"amount": "5.0"}, {}, "the same credit in other digits"),
        (CREDIT, {"expires": EXPIRY + 1}, {}, "a credit that ends a second later"),
        (CREDIT, {"expires": EXPIRY + 7 * 86400}, {}, "a credit of another week"),
        (CREDIT, {"expires": 0}, {}, "a credit that has ended"),
        (CREDIT, {"venue": "spoke-2"}, {"spoke": "spoke-2"}, "another venue's credit"),
        (TRADE, {"limit": "11"}, {}, "a higher limit"),
        (TRADE, {"limit": "5"}, {}, "a lower limit that still holds"),
        (TRADE, {"limit": "10.0"}, {}, "the same limit in other digits"),
        (TRADE, {"counterparty": "bob"}, {}, "one account instead of any"),
        (TRADE, {"counterparty": "Any"}, {}, "an account called almost any"),
        (TRADE, {}, {"delta": [leg("USD", "-6")]}, "a leg that takes more, within the limit"),
        (TRADE, {}, {"delta": [USD, leg("PERP-2", "0.01")]}, "a leg more"),
        (TRADE, {}, {"delta": [leg("USD", "-5.00")]}, "the same leg in other digits"),
        (TRADE, {}, {"spoke": "spoke-2"}, "the same trade at another venue"),
        (OUT, {"destination": "bank account 8"}, {}, "another destination"),
        (OUT, {"destination": "Bank account 7"}, {}, "the destination in other letters"),
        (OUT, {"destination": "bank  account 7"}, {}, "a space more in the destination"),
        (OUT, {}, {"delta": [leg("USD", "-5.01")]}, "a cent more"),
        (OUT, {}, {"delta": [leg("SPOT-3", "-0.001")]}, "another thing"),
        (SHOW, {}, {"spoke": "spoke-2"}, "shown to another venue"),
    )
    for purpose, change, more, comment in tries:
        tree = stated(purpose | change, **more)
        flag = "OtherPurpose" if change else "OtherContext" if "spoke" in more else "OtherDelta"
        given = shown(cases, tree, proved(cases, purpose)[2])
        cases.invalid("verify", given, flag, REJECTED, f"{purpose['for']}: {comment}")
    named = honest(cases, "cross", "exact", **terms(TRADE | {"limit": "0.005", "counterparty": "bob"},
                   delta=[leg("PERP-2", "1.5"), leg("USD", "-96.38")]))[2]  # fmt: skip
    opened = stated(TRADE | {"limit": "0.005"}, delta=[leg("PERP-2", "1.5"), leg("USD", "-96.38")])
    cases.invalid("verify", shown(cases, opened, named), "OtherPurpose", REJECTED, "trade: any account instead of one")


def _versions(cases: Cases) -> None:
    """A proof of one version under the twin of the other."""
    account = ACCOUNTS["cross"]
    for delta, comment in (([], "without a delta"), ([USD], "with a delta")):
        new = terms(SHOW, delta=delta)
        old = {"amount": "10", "delta": delta}
        tree = account.statement_tree(**old)
        given = shown(cases, tree, account.proof(**new))
        cases.invalid("verify", given, "OtherVersion", REJECTED, f"proved in version 2, shown in version 1, {comment}")
        cases.valid("verify", shown(cases, tree, account.proof(**old)), f"control: the twin of version 1, {comment}")
        for purpose in (SHOW, TRADE if delta else CREDIT):
            given = shown(cases, stated(purpose, delta=delta), account.proof(**old))
            comment_2 = f"proved in version 1, shown in version 2 to {purpose['for']}, {comment}"
            cases.invalid("verify", given, "OtherVersion", REJECTED, comment_2)


def _unbound(cases: Cases) -> None:
    """Provers whose transcript has another digest: who digests without the purpose, or a part of it, accepts them."""
    account = ACCOUNTS["cross"]

    def refuse(purpose: Tree, digested: Tree, domain: str, flag: str, comment: str) -> None:
        made = account.statement(**terms(purpose))
        digest = canonical.digest(digested, domain=domain)
        proof = prove_weakly(account, made, f"digest/{digest.hex()}", digest=digest)
        given = shown(cases, stated(purpose), proof)
        cases.invalid("verify", given, flag, REJECTED, f"{purpose['for']}: a prover that digests {comment}")

    for purpose in PURPOSES:
        tree = stated(purpose)
        bare = without(tree, "purpose")
        refuse(purpose, bare, VERSION_2, "MissingMessage", "without the purpose")
        refuse(purpose, bare | {"schema": VERSION_1}, VERSION_1, "OtherVersion", "the twin of version 1")
        refuse(purpose, tree, VERSION_1, "WrongDomainSeparation", "under the domain of version 1")
        for name in purpose:
            refuse(purpose, without(tree, f"purpose.{name}"), VERSION_2, "MissingMessage", f"without purpose.{name}")
    control = account.statement(**terms(CREDIT))
    proof = prove_weakly(account, control, "digest/control", digest=control.digest)
    cases.valid("verify", shown(cases, stated(CREDIT), proof), "control: the right digest")


def _bound(cases: Cases) -> None:
    """What binding refuses, whatever the proof."""
    proof = proved(cases, TRADE)[2]
    tight = stated(TRADE | {"limit": "4.99"})
    cases.invalid("verify", shown(cases, tight, proof), "OverLimit", MISMATCH, "the limit lowered below what is taken")
    indebted = stated(TRADE, delta=[leg("CREDIT", "-1")])
    cases.invalid("verify", shown(cases, indebted, proof), "CreditLeg", MISMATCH, "a leg in credit")
    for purpose, more, comment in (
        (CREDIT | {"amount": "10.01"}, {}, "a credit of more than is proved"),
        (CREDIT, {"spoke": "spoke-2"}, "a credit of another venue than the spoke"),
        (TRADE | {"counterparty": "alice"}, {}, "a trade with itself"),
        (OUT, {"spoke": "spoke-1"}, "a withdrawal at a venue"),
    ):
        refs = proved(cases, next(p for p in PURPOSES if p["for"] == purpose["for"]))
        given = shown(cases, stated(purpose, **more), refs[2])
        cases.invalid("verify", given, "BadPurpose", MALFORMED, comment)


def _accounts(cases: Cases) -> None:
    """What a venue wants: proof and attestation together."""
    key = signing_key("hub")
    pem = cases.library.put("key-hub", signing_keys.public_pem(key).decode())
    fact = fact_of("cross")

    def given(purpose: Tree, **more: Any) -> Tree:
        signed = signing.sign_attestation(fact, key).decode()
        return case(*proved(cases, purpose), NOW) | {"attestation": signed, "key": pem} | more

    for purpose in PURPOSES:
        cases.valid("verify-account", given(purpose), f"proof and attestation, to {purpose['for']}")
    later = signing.sign_attestation(replace(fact, epoch=8), key).decode()
    for purpose in PURPOSES:
        wrong = given(purpose, attestation=later)
        cases.invalid("verify-account", wrong, "OtherContext", MISMATCH, f"after the next epoch, to {purpose['for']}")
    stolen = given(SHOW, statement=text(stated(CREDIT)))
    cases.invalid("verify-account", stolen, "OtherPurpose", REJECTED, "a proof that shows, as a credit's")


def _documents(cases: Cases) -> None:
    account = ACCOUNTS["cross"]
    for purpose in PURPOSES:
        made = account.statement(**terms(purpose))
        proof = account.proof(**terms(purpose))
        tree: Tree = {"schema": "zkmargin/proof/1", "statement": made.digest.hex(), "proof": proof}
        given = {"statement": proved(cases, purpose)[0], "document": text(tree)}
        cases.valid("proof-document", given, f"a proof document, to {purpose['for']}")
        for other in PURPOSES:
            if other is not purpose:
                wrong = given | {"statement": proved(cases, other)[0]}
                comment = f"the document of a proof to {purpose['for']}, beside a statement to {other['for']}"
                cases.invalid("proof-document", wrong, "OtherPurpose", MISMATCH, comment)
    proof = account.proof(**terms(CREDIT))
    for version in (0, 2):
        given = shown(cases, stated(CREDIT), f"{version:02x}{proof[2:]}")
        comment = f"the proof's version is {version}: it is the statement that has a version 2"
        cases.invalid("verify", given, "WrongVersion", "malformed-proof", comment)
    short = shown(cases, stated(CREDIT), proof[: 2 * HEADER_BYTES])
    cases.invalid("verify", short, "Truncated", "malformed-proof", "a header alone")
