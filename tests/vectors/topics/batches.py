"""Batches: many proofs at once, and one bad proof at every place."""

from __future__ import annotations

from tests.vectors.accounts import ACCOUNTS, EXPIRY, NOW
from tests.vectors.cases import Cases, text
from tests.vectors.topics.proofs import case, honest
from zkmargin.service.vectors.case import Tree

NAME, TITLE = "batches", "Batch verification"
NAMES = ("cross", "cross-k2", "tiered", "portfolio", "span", "loans", "cross-512")


def bad_items(cases: Cases, good: list[Tree]) -> list[tuple[str, str, Tree]]:
    """(code, comment, item) of proofs that spoil a batch, each in another way."""
    account = ACCOUNTS["cross"]
    stated, snap, proof = honest(cases, "cross")
    changed_proof = bytearray.fromhex(account.proof())
    changed_proof[-1] ^= 1
    return [
        ("proof-rejected", "an opened value with a changed bit", case(stated, snap, changed_proof.hex())),
        ("proof-rejected", "another statement", case(text(account.statement_tree(amount="1")), snap, proof)),
        ("malformed-proof", "no proof at all", case(stated, snap, "")),
        ("malformed-proof", "a byte too many", case(stated, snap, account.proof() + "00")),
        ("statement-mismatch", "another snapshot", good[2] | {"statement": stated}),
        ("stale-statement", "expired", case(stated, snap, proof, EXPIRY + 1)),
        ("malformed-proof", "a neutral element", case(stated, snap, account.proof()[:6] + "c0" + "00" * 47 +
                                                       account.proof()[102:])),
    ]  # fmt: skip


def write(cases: Cases) -> None:
    """All cases."""
    good = [case(*honest(cases, name)) for name in NAMES]
    cases.valid("verify-batch", {"items": []}, "nothing to verify", "EdgeCase")
    cases.valid("verify-batch", {"items": good[:1]}, "one proof", "EdgeCase")
    cases.valid("verify-batch", {"items": good}, "seven proofs of five rules and three layouts")
    cases.valid("verify-batch", {"items": [good[0]] * 3}, "one proof three times")
    cases.valid("verify-batch", {"items": [item | {"now": NOW} for item in good[:3]]}, "with a clock")
    bad = bad_items(cases, good)
    for place in range(len(good)):
        code, comment, item = bad[place % len(bad)]
        items = [*good[:place], item, *good[place + 1 :]]
        cases.invalid("verify-batch", {"items": items}, "BadProofInBatch", code, f"place {place}: {comment}")
    for place in range(4):
        items = [*good[:place], bad[0][2], *good[place + 1 : 4]]
        cases.invalid(
            "verify-batch", {"items": items}, "BadProofInBatch", bad[0][0], f"place {place} of four: a changed bit"
        )
    _cancelling(cases)
    everything = [item for _, _, item in bad]
    cases.invalid("verify-batch", {"items": everything}, "BadProofInBatch", bad[0][0], "only bad proofs")
    twice = [bad[0][2], good[0], bad[1][2], good[1], bad[0][2]]
    cases.invalid("verify-batch", {"items": twice}, "BadProofInBatch", bad[0][0], "three bad ones among five")


def _cancelling(cases: Cases) -> None:
    """Two proofs whose errors are opposite: their plain sum holds, so a batch without random weights accepts them."""
    from py_arkworks_bls12381 import G1Point

    from zkmargin.verifier.curve import G1_BYTES, decode_g1, encode_g1

    account = ACCOUNTS["cross"]
    stated, snap, _ = honest(cases, "cross")
    proof = bytes.fromhex(account.proof())
    # The last point, W', enters the transcript before mu only; the shift of W moves both sides of the equation.
    at = 3 + 48 * 6
    opening = decode_g1(proof[at : at + G1_BYTES], field="opening")
    moved = [proof[:at] + encode_g1(opening + shift) + proof[at + G1_BYTES :] for shift in (G1Point(), -G1Point())]
    items = [case(stated, snap, one.hex()) for one in moved]
    cases.invalid(
        "verify-batch", {"items": items}, "BadProofInBatch", "proof-rejected", "two proofs with opposite errors"
    )
