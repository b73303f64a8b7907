"""Whole proofs: every shipped rule and several sizes, and everything that must not pass for one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from py_arkworks_bls12381 import G1Point

from tests.vectors.accounts import ACCOUNTS, EXPIRY, NOW
from tests.vectors.cases import Cases, text
from tests.vectors.topics.encodings import compressed, off_curve, outside_subgroup
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.layout import Layout
from zkmargin.circuits.system import FIELD_ORDER
from zkmargin.service.vectors.case import Tree
from zkmargin.service.vectors.eip2537 import BASE_FIELD
from zkmargin.verifier.argument.v1.encoding import HEADER_BYTES, point_names, scalar_names
from zkmargin.verifier.curve import G1_BYTES, G1_INFINITY, decode_g1, encode_g1
from zkmargin.verifier.field import SCALAR_BYTES

NAME, TITLE = "proofs", "Whole proofs"
REJECTED, MALFORMED = "proof-rejected", "malformed-proof"


def snapshot_ref(cases: Cases, name: str) -> str:
    """The shared snapshot of an account; accounts on one snapshot share it."""
    tree = ACCOUNTS[name].tree
    first = next(other for other, account in ACCOUNTS.items() if account.tree == tree)
    return cases.library.put(f"snapshot-{first}", tree)


def honest(cases: Cases, name: str, tag: str = "", **changes: Any) -> tuple[str, str, str]:
    """References to an account's statement, snapshot and honest proof; ``tag`` names other terms than the usual."""
    account, suffix = ACCOUNTS[name], f"-{tag}" if tag else ""
    stated = cases.library.put(f"statement-{name}{suffix}", account.statement_tree(**changes))
    return stated, snapshot_ref(cases, name), cases.library.put(f"proof-{name}{suffix}", account.proof(**changes))


def case(stated: str, snap: str, proof: str, now: int | None = None) -> Tree:
    """The input of ``verify``."""
    given: Tree = {"statement": stated, "snapshot": snap, "proof": proof}
    return given if now is None else given | {"now": now}


def elements(layout: Layout) -> Iterator[tuple[str, int, int]]:
    """(name, offset, length) of every element of a proof in wire order."""
    at = HEADER_BYTES
    for name in point_names(layout):
        yield name, at, G1_BYTES
        at += G1_BYTES
    for name in scalar_names(layout):
        yield name, at, SCALAR_BYTES
        at += SCALAR_BYTES


def splice(proof: bytes, at: int, new: bytes) -> bytes:
    """The proof with ``new`` at an offset."""
    return proof[:at] + new + proof[at + len(new) :]


#: (account, tag, changed terms, comment): what must be accepted.
HONEST: tuple[tuple[str, str, Tree, str], ...] = (
    ("cross", "", {}, "cross margin, n = 256, K = 1"),
    ("cross-position", "", {}, "rounded per position, at the initial level"),
    ("cross-position", "maintenance", {"level": "maintenance"}, "rounded per position, twice at maintenance"),
    ("cross-512", "", {}, "n = 512"),
    ("cross-1024", "", {}, "n = 1024"),
    ("cross-2048", "", {}, "n = 2048"),
    ("cross-k2", "", {}, "K = 2"),
    ("cross-k3", "", {}, "K = 3"),
    ("cross-k4", "", {}, "K = 4"),
    ("cross", "delta",
     {"delta": [{"instrument": "PERP-2", "quantity": "1.5"}, {"instrument": "USD", "quantity": "-96.38"}]},
     "after a trade"),
    ("cross", "amount", {"amount": "12345.67"}, "with an amount"),
    ("cross", "edge", {"amount": "999012.18"}, "the largest amount that proves: a slack of less than a quantum"),
    ("cross", "end", {"level": "liquidation-end"}, "liquidation end"),
    ("cross", "heavy", {"multiplier": "2.5", "horizon": 86400}, "a larger multiplier and horizon"),
    ("tiered", "", {}, "tiered margin"),
    ("tiered", "overlays", {"overlays": ["concentrated", "delta", "leverage", "slow"]}, "four sets of overlays"),
    ("loans", "", {}, "a loan outside every category"),
    ("loans", "stable", {"elections": {"emode": "stable"}, "level": "maintenance"}, "a loan in a category"),
    ("span", "", {}, "the scan, spread by the lemma"),
    ("span-election", "", {}, "the scan, spread by election"),
    ("portfolio", "", {}, "portfolio margin, a skew scenario elected"),
    ("portfolio", "end", {"level": "liquidation-end"}, "portfolio margin at liquidation end"),
)  # fmt: skip


def write(cases: Cases) -> None:
    """All cases."""
    for name, tag, terms, comment in HONEST:
        flags = ("EdgeCase",) if tag == "edge" else ()
        cases.valid("verify", case(*honest(cases, name, tag, **terms)), comment, *flags)
    _every_rule(cases)
    _times(cases)
    _bytes(cases)
    _elements(cases)
    _other_statements(cases)
    _documents(cases)


def _every_rule(cases: Cases) -> None:
    """The same three faults for every rule and size: a larger amount, a changed value, another element."""
    for name, tag, terms, comment in HONEST[1:]:
        account = ACCOUNTS[name]
        stated, snap, proof = honest(cases, name, tag, **terms)
        amount = {"amount": "12345.68", "edge": "999012.19"}.get(tag, "0.01")
        raised = text(account.statement_tree(**terms | {"amount": amount}))
        cases.invalid("verify", case(raised, snap, proof), "AmountRaised", REJECTED, f"a cent more: {comment}")
        made = bytearray.fromhex(account.proof(**terms))
        made[-1] ^= 1
        given = case(stated, snap, made.hex())
        cases.invalid("verify", given, "ChangedEvaluation", REJECTED, f"acc(omega zeta) with a changed bit: {comment}")
        made = bytearray.fromhex(account.proof(**terms))
        made[HEADER_BYTES : HEADER_BYTES + G1_BYTES] = encode_g1(G1Point())
        given = case(stated, snap, made.hex())
        cases.invalid("verify", given, "ChangedElement", REJECTED, f"the generator as first column: {comment}")


def _times(cases: Cases) -> None:
    refs = honest(cases, "cross")
    short = honest(cases, "cross", "short", horizon=60)
    for now, comment in (
        (NOW, "the snapshot's own time"),
        (NOW - 30, "30 seconds of skew"),
        (EXPIRY, "the last second"),
    ):
        cases.valid("verify", case(*refs, now), comment, "EdgeCase")
    cases.valid("verify", case(*short, NOW + 60), "the last second of the horizon", "EdgeCase")
    for now, flag, comment in (
        (EXPIRY + 1, "Expired", "a second after the expiry"),
        (EXPIRY + 10**9, "Expired", "long after"),
        (NOW - 31, "FromTheFuture", "31 seconds before the snapshot"),
        (0, "FromTheFuture", "a clock at zero"),
    ):
        cases.invalid("verify", case(*refs, now), flag, "stale-statement", comment)
    cases.invalid(
        "verify", case(*short, NOW + 61), "StaleSnapshot", "stale-statement", "a second after the horizon, not expired"
    )


def _bytes(cases: Cases) -> None:
    stated, snap, _ = honest(cases, "cross")
    proof = bytes.fromhex(ACCOUNTS["cross"].proof())

    def refuse(data: bytes, flag: str, comment: str) -> None:
        cases.invalid("verify", case(stated, snap, data.hex()), flag, MALFORMED, comment)

    for length in (0, 1, 2, 3, 50, 51, 200, len(proof) - 32, len(proof) - 1):
        refuse(proof[:length], "Truncated", f"the first {length} bytes")
    for tail, comment in ((b"\x00", "a zero byte"), (bytes(32), "a zero scalar"), (G1_INFINITY, "a point")):
        refuse(proof + tail, "TrailingBytes", f"{comment} after the end")
    refuse(proof + proof, "TrailingBytes", "the proof twice")
    for version in (0, 2, 128, 255):
        refuse(splice(proof, 0, bytes([version])), "WrongVersion", f"version {version}")
    for w in (0, 7, 9, 10, 11, 12, 255):
        refuse(splice(proof, 1, bytes([w])), "WrongHeader", f"n = 2^{w} in the header")
    for k in (0, 2, 3, 32, 33, 255):
        refuse(splice(proof, 2, bytes([k])), "WrongHeader", f"K = {k} in the header, the length that of K = 1")
    for k in (2, 3, 32):
        body = proof[3:51] * (2 * k + 6) + bytes(32) * (k + 1)
        refuse(bytes([1, 8, k]) + body, "WrongHeader", f"a proof of the length and header of K = {k}")
    two = bytes.fromhex(ACCOUNTS["cross-k2"].proof())
    refuse(two, "WrongHeader", "an honest proof for K = 2 where the statement has K = 1")
    refuse(bytes.fromhex(ACCOUNTS["cross-512"].proof()), "WrongHeader", "an honest proof for n = 512")


def _faulty_elements() -> Iterator[tuple[str, str, bytes]]:
    """(flag, comment, bytes) of a point that none may be."""
    good = encode_g1(G1Point())
    yield "Infinity", "the neutral element", G1_INFINITY
    yield "FlagBits", "no compression flag", bytes([good[0] & 0x7F]) + good[1:]
    yield "FlagBits", "the infinity flag on a point", bytes([good[0] | 0x40]) + good[1:]
    yield "NotOnCurve", "no point of the curve", next(off_curve(1))
    yield "NotInSubgroup", "outside the subgroup", next(outside_subgroup(1))
    yield "CoordinateNotReduced", "x = p", compressed(BASE_FIELD, larger=False)


def _elements(cases: Cases) -> None:
    account = ACCOUNTS["cross-k2"]
    stated, snap, _ = honest(cases, "cross-k2")
    proof = bytes.fromhex(account.proof())
    places = list(elements(Layout(256, 2)))
    points = [(name, at) for name, at, length in places if length == G1_BYTES]
    scalars = [(name, at) for name, at, length in places if length == SCALAR_BYTES]

    def refuse(data: bytes, flag: str, code: str, comment: str) -> None:
        cases.invalid("verify", case(stated, snap, data.hex()), flag, code, comment)

    faults = list(_faulty_elements())
    for i, (name, at) in enumerate(points):
        for flag, comment, data in (faults[i % len(faults)], faults[(i + 1) % len(faults)]):
            refuse(splice(proof, at, data), flag, MALFORMED, f"{name}: {comment}")
        negated = encode_g1(-decode_g1(proof[at : at + G1_BYTES], field=name))
        refuse(splice(proof, at, negated), "NegatedElement", REJECTED, f"{name}: its negative")
        moved = encode_g1(decode_g1(proof[at : at + G1_BYTES], field=name) + G1Point())
        refuse(splice(proof, at, moved), "ChangedElement", REJECTED, f"{name}: plus the generator")
    for name, at in scalars:
        for value, comment in ((FIELD_ORDER, "r"), ((1 << 256) - 1, "2^256 - 1")):
            data = splice(proof, at, value.to_bytes(32, "big"))
            refuse(data, "ScalarNotReduced", MALFORMED, f"{name}: {comment}")
        own = int.from_bytes(proof[at : at + SCALAR_BYTES], "big")
        if own + FIELD_ORDER < 1 << 256:
            data = splice(proof, at, (own + FIELD_ORDER).to_bytes(32, "big"))
            refuse(data, "ScalarNotReduced", MALFORMED, f"{name}: its own value plus r")
        for value, flag, comment in (
            ((own + 1) % FIELD_ORDER, "ChangedEvaluation", "one more"),
            (0, "ZeroedElements", "zero"),
            (FIELD_ORDER - own, "ChangedEvaluation", "its negative"),
        ):
            refuse(splice(proof, at, value.to_bytes(32, "big")), flag, REJECTED, f"{name}: {comment}")
    for (left, a), (right, b) in pairwise(points):
        data = splice(splice(proof, a, proof[b : b + G1_BYTES]), b, proof[a : a + G1_BYTES])
        refuse(data, "SwappedElements", REJECTED, f"{left} and {right} swapped")
    for (left, a), (right, b) in pairwise(scalars):
        data = splice(splice(proof, a, proof[b : b + 32]), b, proof[a : a + 32])
        refuse(data, "SwappedElements", REJECTED, f"{left} and {right} swapped")
    zeroed = splice(proof, scalars[0][1], bytes(SCALAR_BYTES * len(scalars)))
    refuse(zeroed, "ZeroedElements", REJECTED, "every opened value zero")
    generator = encode_g1(G1Point())
    equal = proof[:HEADER_BYTES] + generator * len(points) + bytes(SCALAR_BYTES * len(scalars))
    refuse(equal, "ZeroedElements", REJECTED, "every point the generator, every value zero")
    other = bytes.fromhex(account.proof(amount="1"))
    for name, at, length in places:
        if name.rpartition(".")[2] in ("multiplicities", "accumulator", "quotient", "opening", "0"):
            data = splice(proof, at, other[at : at + length])
            refuse(data, "MixedProofs", REJECTED, f"{name} of the same account's proof of another statement")


def _other_statements(cases: Cases) -> None:
    account = ACCOUNTS["cross"]
    _, snap, proof = honest(cases, "cross")
    mismatch, malformed = "statement-mismatch", "malformed-input"

    def refuse(flag: str, code: str, comment: str, **changes: Any) -> None:
        tree = account.statement_tree(**changes)
        cases.invalid("verify", case(text(tree), snap, proof, NOW), flag, code, comment)

    for name, value in (("hub", "hub-2"), ("account", "bob"), ("epoch", 8), ("epoch", 6), ("spoke", "spoke-2"),
                        ("nonce", "00112233445566778899aabbccddeefe"), ("expiry", EXPIRY + 1)):  # fmt: skip
        refuse("OtherContext", REJECTED, f"another {name}: {value}", **{name: value})
    refuse("AmountRaised", REJECTED, "one cent more", amount="0.01")
    refuse("AmountRaised", REJECTED, "all the account is worth", amount="999012.18")
    refuse("OtherStatement", REJECTED, "the same amount in other digits", amount="0.00")
    for changes, comment in (
        ({"level": "maintenance"}, "maintenance"), ({"level": "liquidation-end"}, "liquidation end"),
        ({"multiplier": "1.0"}, "the same multiplier in other digits"), ({"multiplier": "0.5"}, "half the multiplier"),
        ({"multiplier": "2"}, "twice the multiplier"), ({"horizon": 3599}, "a second less"),
        ({"horizon": 86400}, "a longer horizon"),
    ):  # fmt: skip
        refuse("OtherTerms", REJECTED, comment, **changes)
    refuse("OtherDelta", REJECTED, "a trade of one lot", delta=[{"instrument": "PERP-2", "quantity": "0.01"}])
    refuse("OtherDelta", REJECTED, "a gift", delta=[{"instrument": "USD", "quantity": "1"}])
    refuse("OtherDelta", REJECTED, "a trade of nothing", delta=[{"instrument": "PERP-2", "quantity": "0"}])
    refuse("OffGrid", malformed, "half a lot", delta=[{"instrument": "PERP-2", "quantity": "0.005"}])
    refuse("OutOfRange", malformed, "2^63 lots", delta=[{"instrument": "PERP-2", "quantity": f"{2**63 // 100}.08"}])
    refuse("UnknownInstrument", malformed, "no such instrument", delta=[{"instrument": "PERP-9", "quantity": "1"}])
    refuse("OffGrid", malformed, "an amount of half a cent", amount="0.005")
    refuse("OutOfRange", malformed, "a negative amount", amount="-1")
    refuse("OutOfRange", malformed, "2^128 quanta", amount=f"{2**128 // 100}.56")
    refuse("BadElection", mismatch, "an election that the rule does not ask for", elections={"emode": "none"})
    refuse("BadOverlay", mismatch, "an overlay that the snapshot does not have", overlays=["leverage"])
    refuse("OtherRule", mismatch, "another shipped rule", rule="tiered-margin/1")
    refuse("OtherRule", mismatch, "another version of the rule", rule="cross-margin/2")
    digest = account.snapshot.digest.hex()
    refuse("EqualDigestPrefix", mismatch, "31 right bytes", snapshot=digest[:-2] + f"{int(digest[-2:], 16) ^ 1:02x}")
    refuse("OtherSnapshot", mismatch, "a digest of zeros", snapshot="00" * 32)
    refuse("OtherCommitment", REJECTED, "another account's commitment",
           commitment=ACCOUNTS["cross-other"].commitment.hex())  # fmt: skip
    for flag, comment, data in _faulty_elements():
        refuse(flag, malformed, f"the commitment: {comment}", commitment=data.hex())
    refuse("WrongHeader", MALFORMED, "another domain", domain=512)
    _other_snapshots(cases)
    elected: tuple[tuple[str, str, Tree, str], ...] = (
        ("loans", "loans", {"elections": {"emode": "stable"}}, "in a category, proved outside"),
        ("span-election", "span", {"elections": {"A.spreads": "long"}}, "the other side"),
        ("portfolio", "portfolio", {"elections": {"skew/far": "short", "skew/near": "short"}}, "another sign"),
        ("tiered", "tiered", {"overlays": ["leverage"]}, "an overlay that was not proved"),
    )
    for name, tag, changes, comment in elected:
        tree = ACCOUNTS[name].statement_tree(**changes)
        given = case(text(tree), snapshot_ref(cases, name), honest(cases, name)[2])
        cases.invalid("verify", given, "OtherTerms", REJECTED, f"{tag}: {comment}")
    for wrong, comment in (({"skew/far": "long"}, "one missing"),
                           ({"skew/far": "long", "skew/near": "up"}, "no such piece")):  # fmt: skip
        tree = ACCOUNTS["portfolio"].statement_tree(elections=wrong)
        given = case(text(tree), snapshot_ref(cases, "portfolio"), honest(cases, "portfolio")[2])
        cases.invalid("verify", given, "BadElection", mismatch, f"elections: {comment}")


def _other_snapshots(cases: Cases) -> None:
    account = ACCOUNTS["cross"]
    stated, _, proof = honest(cases, "cross")
    for name in ("cross-other", "cross-position", "tiered"):
        given = case(stated, snapshot_ref(cases, name), proof)
        cases.invalid("verify", given, "OtherSnapshot", "statement-mismatch", f"the snapshot of {name}")
    twin = cases.library.put("snapshot-equal-prefix", equal_prefix(account.tree, account.snapshot.digest))
    given = case(stated, twin, proof)
    cases.invalid("verify", given, "EqualDigestPrefix", "statement-mismatch", "another snapshot, two equal bytes")
    from zkmargin.circuits import canonical

    digest = snapshot_from_bytes(canonical.canonical_bytes(cases.library.texts[twin[1:]])).digest.hex()
    retold = account.statement_tree(snapshot=digest)
    given = case(text(retold), twin, proof)
    cases.invalid("verify", given, "OtherStatement", REJECTED, "the proof of equal prices under another snapshot")


def equal_prefix(tree: Tree, digest: bytes) -> Tree:
    """The same prices from another source, whose digest begins with the same two bytes: 2^16 trials."""
    import hashlib

    from zkmargin.circuits import canonical

    mark = "########"
    head, tail = canonical.canonical_bytes(tree | {"source": mark}).split(mark.encode())
    start = hashlib.sha256(b"zkmargin/snapshot/1\x00" + head)
    for i in range(10**8):
        trial = start.copy()
        trial.update(b"%08d" % i + tail)
        if trial.digest()[:2] == digest[:2]:
            return tree | {"source": f"{i:08d}"}
    raise ValueError("no such snapshot")


def _documents(cases: Cases) -> None:
    account = ACCOUNTS["cross"]
    stated, _, _ = honest(cases, "cross")
    tree: Tree = {
        "schema": "zkmargin/proof/1", "statement": account.statement().digest.hex(), "proof": account.proof(),
    }  # fmt: skip

    def given(document: str) -> Tree:
        return {"statement": stated, "document": document}

    cases.valid("proof-document", given(text(tree)), "a proof document")
    other = account.statement(amount="1").digest.hex()
    cases.invalid("proof-document", given(text(tree | {"statement": other})), "OtherStatement", "statement-mismatch",
                 "the digest of another statement")  # fmt: skip
    for change, flag, comment in (
        ({"proof": account.proof().upper()}, "BadHex", "upper case"),
        ({"proof": account.proof()[:-1]}, "BadHex", "an odd number of digits"),
        ({"proof": "00" * 65537}, "OutOfRange", "longer than any proof"),
        ({"schema": "zkmargin/proof/2"}, "WrongSchema", "version 2"),
        ({"now": 1}, "UnknownKey", "a member more"),
        ({"proof": None}, "WrongType", "no proof"),
    ):  # fmt: skip
        cases.invalid("proof-document", given(text(tree | change)), flag, "malformed-input", comment)
