"""The limit of a trade: what its legs take at the snapshot's marks, exact, when a statement is bound to a snapshot."""

from __future__ import annotations

from typing import Any

from tests.vectors.accounts import ACCOUNTS
from tests.vectors.cases import Cases, changed, text
from tests.vectors.topics.proofs import snapshot_ref
from tests.vectors.topics.purposes import CREDIT, OUT, SHOW, TRADE, leg, stated, terms
from zkmargin.circuits import canonical
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.service.vectors.case import Tree

NAME, TITLE = "trades", "Trades bound to a snapshot: what the legs take, and the limit"
MALFORMED, MISMATCH = "malformed-input", "statement-mismatch"
#: The largest count of lots a delta may have, of SPOT-3 in units, and what it is worth at the mark of 250.5.
MOST, WORTH = "9223372036854775.807", "2310454695232121339.6535"
#: A mark of 30 decimals, so that a lot of SPOT-3 is worth 33.
THIRDS = "250." + "3" * 30

#: (comment, legs, limits that hold, limits that do not). The mark of PERP-2 is 64.25, of SPOT-3 250.5, of USD 1.
LIMITS: tuple[tuple[str, list[Tree], tuple[str, ...], tuple[str, ...]], ...] = (
    ("cash goes", [leg("USD", "-5")], ("5", "5.00", "5.01"), ("4.99", "0", "4." + "9" * 30)),
    ("cash goes, in other digits", [leg("USD", "-5.00")], ("5",), ("4.99",)),
    ("cash comes", [leg("USD", "5")], ("0", "0.00"), ()),
    ("a spot lot goes: a quarter of a cent more than a quarter", [leg("SPOT-3", "-0.001")],
     ("0.2505", "0.26", "0.25050"), ("0.25", "0.2504", "0.250499999999999999999999999999", "0")),
    ("a spot lot comes", [leg("SPOT-3", "0.001")], ("0",), ()),
    ("a perpetual's lot goes", [leg("PERP-2", "-0.01")], ("0.6425", "0.65"), ("0.64", "0.6424", "0")),
    ("bought at the mark, paid in whole cents below", [leg("PERP-2", "0.01"), leg("USD", "-0.64")], ("0",), ()),
    ("bought at the mark, paid in whole cents above", [leg("PERP-2", "0.01"), leg("USD", "-0.65")],
     ("0.0075", "0.01"), ("0.0074", "0")),
    ("sold at the mark, paid in whole cents below", [leg("PERP-2", "-0.01"), leg("USD", "0.64")],
     ("0.0025", "0.01"), ("0.0024", "0")),
    ("sold at the mark, paid in whole cents above", [leg("PERP-2", "-0.01"), leg("USD", "0.65")], ("0",), ()),
    ("bought at exactly the mark", [leg("PERP-2", "4"), leg("USD", "-257")], ("0",), ()),
    ("bought a cent above the mark", [leg("PERP-2", "4"), leg("USD", "-257.01")], ("0.01",), ("0", "0.009")),
    ("bought a cent below the mark", [leg("PERP-2", "4"), leg("USD", "-256.99")], ("0",), ()),
    ("sold a cent below the mark", [leg("PERP-2", "-4"), leg("USD", "256.99")], ("0.01",), ("0", "0.009")),
    ("three legs, fractions in two of them", [leg("PERP-2", "-0.01"), leg("SPOT-3", "-0.003"), leg("USD", "1.39")],
     ("0.004",), ("0.0039", "0")),
    ("three legs, one pays for the others", [leg("PERP-2", "-0.04"), leg("SPOT-3", "0.010"), leg("USD", "0.06")],
     ("0.005",), ("0.0049",)),
    ("2^63 - 1 lots go: more than a float can tell apart", [leg("SPOT-3", f"-{MOST}")],
     (WORTH, "2310454695232121339.66"), ("2310454695232121339.6534", "2310454695232121339")),
    ("2^63 - 1 lots come", [leg("SPOT-3", MOST)], ("0",), ()),
    ("a limit of 41 digits", [leg("USD", "-5")], ("9" * 41 + "." + "9" * 30,), ()),
)  # fmt: skip


def write(cases: Cases) -> None:
    """All cases."""
    snap = snapshot_ref(cases, "cross")
    for comment, legs, holding, broken in LIMITS:
        for limit in holding:
            given = bound(snap, TRADE | {"limit": limit}, delta=legs)
            cases.valid("compile", given, f"{comment}; the limit {limit[:24]}", "EdgeCase")
        for limit in broken:
            given = bound(snap, TRADE | {"limit": limit}, delta=legs)
            cases.invalid("compile", given, "OverLimit", MISMATCH, f"{comment}; the limit {limit[:24]}")
    _thirds(cases)
    _credit_legs(cases, snap)
    _others(cases, snap)


def bound(snap: str, purpose: Tree, **changes: Any) -> Tree:
    """The input of ``compile`` with a statement that has this purpose."""
    return {"statement": text(stated(purpose, **changes)), "snapshot": snap}


def _thirds(cases: Cases) -> None:
    """A lot is worth 0.250333... to 33 decimals, a limit has at most 30: no limit is exactly it."""
    tree = changed(ACCOUNTS["cross"].tree, "instruments.3.mark", THIRDS)
    snap = cases.library.put("snapshot-thirds", tree)
    digest = snapshot_from_bytes(canonical.canonical_bytes(tree)).digest.hex()
    below, above = "0.250" + "3" * 27, "0.250" + "3" * 26 + "4"
    sold, bought = [leg("SPOT-3", "-0.001")], [leg("SPOT-3", "0.001"), leg("USD", "-0.26")]

    def given(limit: str, delta: list[Tree]) -> Tree:
        return bound(snap, TRADE | {"limit": limit}, delta=delta, snapshot=digest)

    cases.valid("compile", given(above, sold), "a mark of 30 decimals; a limit of 30 above the cost", "EdgeCase")
    cases.invalid("compile", given(below, sold), "OverLimit", MISMATCH, "a mark of 30 decimals; a limit of 30 below")
    cases.valid("compile", given("0.009" + "6" * 26 + "7", bought), "bought for a cent too much", "EdgeCase")
    cases.invalid("compile", given("0.009" + "6" * 27, bought), "OverLimit", MISMATCH, "bought for a cent too much")
    thousand = [leg("SPOT-3", "-1")]
    cases.valid("compile", given(THIRDS, thousand), "a whole unit is worth exactly the mark", "EdgeCase")
    cases.invalid("compile", given(THIRDS[:-1] + "2", thousand), "OverLimit", MISMATCH, "one in the last decimal less")


def _credit_legs(cases: Cases, snap: str) -> None:
    """A venue's credit is no leg of a trade, whatever it takes or brings."""
    for legs, comment in (
        ([leg("CREDIT", "-1")], "the account owes less"),
        ([leg("CREDIT", "1")], "the account owes more"),
        ([leg("USD", "-1"), leg("CREDIT", "-1")], "debt paid back by a trade"),
        ([leg("USD", "1"), leg("CREDIT", "1")], "credit drawn by a trade"),
        ([leg("PERP-2", "1"), leg("USD", "-64.25"), leg("CREDIT", "0.01")], "the last leg of three"),
    ):
        for limit in ("0", "1000"):
            given = bound(snap, TRADE | {"limit": limit}, delta=legs)
            cases.invalid("compile", given, "CreditLeg", MISMATCH, f"{comment}; the limit {limit}")


def _others(cases: Cases, snap: str) -> None:
    """Purposes that have no limit, and the faults of binding that come before it."""
    cases.valid("compile", bound(snap, SHOW, delta=[leg("USD", "-5")]), "to show: an outflow has no limit")
    cases.valid("compile", bound(snap, SHOW, delta=[leg("CREDIT", "-1")]), "to show: what if the debt were less")
    cases.valid("compile", bound(snap, CREDIT), "a credit has no limit but its amount")
    cases.valid("compile", bound(snap, OUT), "a withdrawal has no limit but its leg")
    tight = TRADE | {"limit": "0"}
    tries: tuple[tuple[str, str, str, Tree], ...] = (
        ("UnknownInstrument", MALFORMED, "no such instrument, the limit too low", {"delta": [leg("X", "-1")]}),
        ("OffGrid", MALFORMED, "half a lot, the limit too low", {"delta": [leg("SPOT-3", "-0.0005")]}),
        ("OutOfRange", MALFORMED, "2^63 lots, the limit too low", {"delta": [leg("SPOT-3", f"-{MOST[:-1]}8")]}),
        ("OffGrid", MALFORMED, "an amount of half a cent, the limit too low", {"amount": "0.005"}),
        ("OutOfRange", MALFORMED, "a negative amount, the limit too low", {"amount": "-1"}),
        ("OtherSnapshot", MISMATCH, "another snapshot", {"snapshot": ACCOUNTS["tiered"].snapshot.digest.hex()}),
        ("OtherRule", MISMATCH, "another rule", {"rule": "span-scan/1"}),
    )
    for flag, code, comment, changes in tries:
        cases.invalid("compile", bound(snap, tight, **changes), flag, code, comment)
    other = ACCOUNTS["tiered"]
    ref = snapshot_ref(cases, "tiered")
    for limit, holds in (("0", False), ("4.9", False), ("5", True)):
        tree = other.statement_tree(**terms(TRADE | {"limit": limit}, delta=[leg("GOLD", "-0.1")]))
        given = {"statement": text(tree), "snapshot": ref}
        if holds:
            cases.valid("compile", given, "another rule, its marks", "EdgeCase")
        else:
            cases.invalid("compile", given, "OverLimit", MISMATCH, f"another rule, its marks; the limit {limit}")
