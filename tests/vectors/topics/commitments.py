"""Commitments to positions, their sums, opening documents, and openings of polynomials at a point."""

from __future__ import annotations

from typing import Any

from py_arkworks_bls12381 import G1Point, Scalar

from tests.vectors.accounts import ACCOUNTS
from tests.vectors.cases import Cases, changed, text, without
from tests.vectors.seed import Stream
from tests.vectors.topics.encodings import compressed, off_curve, outside_subgroup
from tests.vectors.topics.proofs import snapshot_ref
from zkmargin.circuits.system import FIELD_ORDER
from zkmargin.prover import polynomial as poly
from zkmargin.prover.commitment import Opening, commitment_key, sum_openings
from zkmargin.prover.documents import opening_bytes
from zkmargin.service.vectors.case import Tree
from zkmargin.verifier.curve import G1_INFINITY, encode_g1, msm
from zkmargin.verifier.field import ZERO, encode_scalar, scalar

NAME, TITLE = "commitments", "Account commitments, opening documents, polynomial openings"
MALFORMED, MISMATCH, CLAIM = "malformed-input", "statement-mismatch", "value-mismatch"


def opening(label: str, lots: tuple[int, ...], domain: int = 256) -> Opening:
    """An opening with blinding from the seed."""
    return Opening(domain, lots, tuple(Stream(f"commitments/{label}").scalars(2)))


def given(made: Opening, **changes: Any) -> Tree:
    """The input of ``commit``."""
    return {
        "domain": made.domain,
        "lots": [str(lots) for lots in made.lots],
        "blinding": [encode_scalar(b).hex() for b in made.blinding],
    } | changes


def write(cases: Cases) -> None:
    """All cases."""
    _commits(cases)
    _sums(cases)
    _openings(cases)
    _polynomials(cases)


def _commits(cases: Cases) -> None:
    mixed = (5, -3, 0, 10**12)
    for lots, domain, comment in (
        (mixed, 256, "positive, negative and no positions"),
        (mixed, 512, "the same on 512 rows: another point"),
        (mixed, 1024, "on 1024 rows"),
        (mixed, 2048, "on 2048 rows"),
        ((0,) * 8, 256, "nothing held: the blinding alone"),
        ((2**63 - 1, -(2**63 - 1)), 256, "the largest positions"),
        (tuple(range(-128, 128)), 256, "a position in every row"),
    ):
        flags = ("EdgeCase",) if max(map(abs, lots)) >= 2**63 - 1 or not any(lots) else ()
        cases.valid("commit", given(opening(comment, lots, domain)), comment, *flags)
    made = opening("claims", mixed)
    commitment = made.commitment().hex()
    cases.valid("commit", given(made, claimed=commitment), "the right commitment")
    for other, comment in (
        (opening("claims", (5, -3, 0, 10**12 + 1)), "one lot more"),
        (opening("claims", (5, 3, 0, 10**12)), "the other sign"),
        (opening("claims", (-3, 5, 0, 10**12)), "two positions swapped"),
        (opening("claims", (0, 5, -3, 0, 10**12)), "one row on"),
        (opening("other", mixed), "other blinding"),
        (Opening(256, mixed, made.blinding[::-1]), "blinding in the other order"),
        (Opening(256, mixed, (ZERO, ZERO)), "no blinding"),
        (opening("claims", mixed, 512), "another domain"),
    ):
        cases.invalid("commit", given(other, claimed=commitment), "OtherOpening", CLAIM, f"claimed for {comment}")
    unreduced = [encode_scalar(made.blinding[0]).hex(), FIELD_ORDER.to_bytes(32, "big").hex()]
    cases.invalid("commit", given(made, blinding=unreduced), "ScalarNotReduced", MALFORMED, "blinding of r")
    cases.invalid("commit", given(made, blinding=["00" * 31] * 2), "WrongLength", MALFORMED, "31 bytes of blinding")
    for many in (2**63, -(2**63), 2**64):
        cases.invalid("commit", given(made, lots=[str(many)]), "OutOfRange", MALFORMED, f"{many} lots")
    cases.invalid("commit", given(made, lots=["1"] * 257), "OutOfRange", MALFORMED, "257 positions in 256 rows")
    cases.invalid("commit", given(made, domain=128), "OtherDomain", "system-too-large", "no such domain")


def _sums(cases: Cases) -> None:
    parts = [opening("first", (5, -3, 0)), opening("second", (-5, 10, 7)), opening("third", (1, 1, 1))]
    points = [part.commitment().hex() for part in parts]
    total = sum_openings(parts).commitment().hex()
    claimed = {"commitments": points, "claimed": total}
    cases.valid("add-commitments", claimed, "a hub's total opens to the net positions", "Homomorphic")
    cases.valid("add-commitments", {"commitments": points[:1]}, "one")
    cases.valid("commit", given(sum_openings(parts), claimed=total), "the sum of the openings", "Homomorphic")
    for flag, comment, changes in (
        ("BadSum", "one account left out", {"commitments": points[:2], "claimed": total}),
        ("BadSum", "one account twice", {"commitments": [*points, points[0]], "claimed": total}),
        ("BadSum", "claimed the first alone", {"commitments": points, "claimed": points[0]}),
    ):
        cases.invalid("add-commitments", changes, flag, CLAIM, comment)
    opposite = encode_g1(-_point(points[0])).hex()
    cases.invalid(
        "add-commitments", {"commitments": [points[0], opposite]}, "Infinity", MALFORMED, "the sum is neutral"
    )
    for flag, comment, data in (
        ("Infinity", "a neutral part", G1_INFINITY),
        ("NotOnCurve", "a part off the curve", next(off_curve(1))),
        ("NotInSubgroup", "a part outside the subgroup", next(outside_subgroup(1))),
    ):
        cases.invalid("add-commitments", {"commitments": [points[0], data.hex()]}, flag, MALFORMED, comment)
    cases.invalid("add-commitments", {"commitments": []}, "WrongLength", MALFORMED, "nothing to add")


def _point(data: str) -> G1Point:
    return G1Point.from_compressed_bytes(bytes.fromhex(data))


def _openings(cases: Cases) -> None:
    import json

    account = ACCOUNTS["cross"]
    snap = snapshot_ref(cases, "cross")
    tree = json.loads(opening_bytes(account.opening, account.snapshot.registry_digest))
    for name in ("cross", "cross-2048", "portfolio"):
        one = ACCOUNTS[name]
        document = opening_bytes(one.opening, one.snapshot.registry_digest).decode()
        cases.valid("opening", {"opening": document, "snapshot": snapshot_ref(cases, name)}, f"the opening of {name}")
    lots = tree["lots"]
    for flag, code, comment, changed_tree in (
        ("OtherOpening", MISMATCH, "one lot more", changed(tree, "lots.0", str(int(lots[0]) + 1))),
        ("OtherOpening", MISMATCH, "two positions swapped", changed(tree, "lots", [lots[1], lots[0], *lots[2:]])),
        ("OtherOpening", MISMATCH, "other blinding", changed(tree, "blinding.0", "00" * 31 + "01")),
        ("OtherOpening", MISMATCH, "blinding swapped", changed(tree, "blinding", tree["blinding"][::-1])),
        ("OtherDomain", MISMATCH, "another domain", changed(tree, "domain", 512)),
        (
            "OtherCommitment",
            MISMATCH,
            "another commitment",
            changed(tree, "commitment", ACCOUNTS["cross-other"].commitment.hex()),
        ),
        (
            "OtherRegistry",
            MISMATCH,
            "another registry",
            changed(tree, "registry", ACCOUNTS["tiered"].snapshot.registry_digest.hex()),
        ),
        ("WrongLength", MALFORMED, "a position missing", changed(tree, "lots", lots[:-1])),
        (
            "ScalarNotReduced",
            MALFORMED,
            "blinding of r",
            changed(tree, "blinding.1", FIELD_ORDER.to_bytes(32, "big").hex()),
        ),
        ("WrongLength", MALFORMED, "one blinding", changed(tree, "blinding", tree["blinding"][:1])),
        ("OffGrid", MALFORMED, "half a lot", changed(tree, "lots.0", "0.5")),
        ("OutOfRange", MALFORMED, "2^63 lots", changed(tree, "lots.0", str(2**63))),
        ("WrongType", MALFORMED, "lots as a number", changed(tree, "lots.0", 1)),
        ("BadDecimal", MALFORMED, "lots with an exponent", changed(tree, "lots.0", "1e8")),
        ("MissingKey", MALFORMED, "no registry", without(tree, "registry")),
        ("UnknownKey", MALFORMED, "a member more", tree | {"account": "alice"}),
        ("WrongSchema", MALFORMED, "version 2", changed(tree, "schema", "zkmargin/opening/2")),
    ):
        cases.invalid("opening", {"opening": text(changed_tree), "snapshot": snap}, flag, code, comment)
    other = {"opening": text(tree), "snapshot": snapshot_ref(cases, "cross-other")}
    cases.invalid("opening", other, "OtherRegistry", MISMATCH, "the snapshot of another registry")


def _polynomials(cases: Cases) -> None:
    """KZG openings of a polynomial, as EIP-4844 states them: there the neutral element is allowed."""
    op = "eip4844-verify-kzg-proof"
    powers = commitment_key(256).powers
    coefficients = Stream("kzg").scalars(12)
    polynomial = poly.from_coefficients(coefficients)
    commitment = msm(powers[:12], coefficients)
    z = Stream("kzg/z").scalars(1)[0]

    def input_of(point: G1Point, at: Scalar, value: Scalar, proof: G1Point) -> Tree:
        encoded = [encode_g1(p).hex() for p in (point, proof)]
        return {
            "commitment": encoded[0], "z": encode_scalar(at).hex(), "y": encode_scalar(value).hex(),
            "proof": encoded[1],
        }  # fmt: skip

    def opened(at: Scalar) -> tuple[Scalar, G1Point]:
        quotient = poly.to_scalars(poly.divide_by_root(polynomial, at))
        return poly.evaluate(polynomial, at), msm(powers[: len(quotient)], quotient)

    for at, comment in ((z, "at a point from the seed"), (ZERO, "at 0"), (scalar(-1), "at r - 1")):
        y, proof = opened(at)
        cases.valid(op, input_of(commitment, at, y, proof), comment)
    y, proof = opened(z)
    right = input_of(commitment, z, y, proof)
    infinity = G1_INFINITY.hex()
    constant = input_of(powers[0] * y, z, y, powers[0]) | {"proof": infinity}
    cases.valid(op, constant, "a constant: its quotient is 0, so its proof neutral", "EdgeCase", "Infinity")
    zero = {"commitment": infinity, "z": right["z"], "y": "00" * 32, "proof": infinity}
    cases.valid(op, zero, "the zero polynomial", "EdgeCase", "Infinity")
    rejected = "proof-rejected"
    one = scalar(1)
    for comment, wrong in (
        ("a value one more", input_of(commitment, z, y + one, proof)),
        ("another point", input_of(commitment, z + one, y, proof)),
        ("another polynomial", input_of(commitment + powers[3], z, y, proof)),
        ("another proof", input_of(commitment, z, y, proof + powers[0])),
        ("the negative proof", input_of(commitment, z, y, -proof)),
        ("commitment and proof swapped", input_of(proof, z, y, commitment)),
        ("value and point swapped", input_of(commitment, y, z, proof)),
        ("a neutral proof", right | {"proof": infinity}),
        ("a neutral commitment", right | {"commitment": infinity}),
    ):
        cases.invalid(op, wrong, "WrongOpening", rejected, comment)
    unreduced = FIELD_ORDER.to_bytes(32, "big").hex()
    for flag, comment, wrong in (
        ("ScalarNotReduced", "z = r", right | {"z": unreduced}),
        ("ScalarNotReduced", "y = r", right | {"y": unreduced}),
        ("WrongLength", "z of 31 bytes", right | {"z": right["z"][:-2]}),
        ("TrailingBytes", "y of 33 bytes", right | {"y": right["y"] + "00"}),
        ("NotOnCurve", "a commitment off the curve", right | {"commitment": next(off_curve(1)).hex()}),
        ("NotInSubgroup", "a proof outside the subgroup", right | {"proof": next(outside_subgroup(1)).hex()}),
        ("FlagBits", "infinity with a sign", right | {"proof": "e0" + infinity[2:]}),
        ("CoordinateNotReduced", "x of 2^381 - 1", right | {"proof": compressed((1 << 381) - 1, larger=False).hex()}),
    ):
        cases.invalid(op, wrong, flag, MALFORMED, comment)
