"""Compiled systems: from rule and statement to rows, their digest, their layout, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.vectors.accounts import ACCOUNTS
from tests.vectors.cases import Cases, changed, text
from tests.vectors.topics.proofs import HONEST, snapshot_ref
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.layout import DOMAINS
from zkmargin.service.vectors.case import Tree

NAME, TITLE = "systems", "Linear systems: encoding, layout, bound check, compiled rules"
MALFORMED, MISMATCH, LARGE = "malformed-input", "statement-mismatch", "system-too-large"


def row(positions: dict[int, int], variables: dict[int, int], constant: int = 0, factor: int = 0) -> Tree:
    """A row of a system; integers as decimal strings, since they may be long."""
    return {
        "positions": {str(j): str(f) for j, f in positions.items()},
        "variables": {str(k): str(a) for k, a in variables.items()},
        "constant": str(constant),
        "amount_factor": str(factor),
    }


def system(rows: Sequence[Tree], limits: Sequence[int], domain: int | None = 256, positions: int = 1) -> Tree:
    """The input of ``linear-system``."""
    given: Tree = {"positions": positions, "limits": [str(limit) for limit in limits], "rows": list(rows)}
    return given if domain is None else given | {"domain": domain}


TIE = row({0: 1}, {0: -1, 1: 1})


def write(cases: Cases) -> None:
    """All cases."""
    _written_out(cases)
    _compiled(cases)


def _written_out(cases: Cases) -> None:
    op = "linear-system"
    cases.valid(op, system([TIE], [100, 100]), "the worked example of SPEC.md")
    for domain in DOMAINS:
        cases.valid(op, system([TIE], [100, 100], domain), f"the same on {domain} rows: the digest does not change")
    cases.valid(op, system([TIE], [100, 100], None), "the cheapest layout")
    rich = [TIE, row({0: -250}, {0: 3, 1: 2**70}, -5, 7)]
    cases.valid(op, system(rich, [2**64 - 1, 0]), "negative and long coefficients, a constant, an amount")
    cases.valid(
        op, system([TIE, row({0: 0}, {1: 0})], [1, 1]), "zero coefficients are left out of the digest", "EdgeCase"
    )
    for limit, words in ((2**64 - 1, "one word"), (2**64, "two words"), (2**128, "three words")):
        cases.valid(op, system([TIE], [limit, 1]), f"a limit of {words}", "EdgeCase")
    full = [1] * 32 * 32
    cases.valid(op, system([TIE], full), "all 32 columns of 256 rows, full", "EdgeCase")
    cases.invalid(op, system([TIE], [*full, 1]), "TooLarge", LARGE, "one word more than 32 columns hold")
    cases.invalid(op, system([TIE], [100, 100], 128), "OtherDomain", LARGE, "no supported domain")
    cases.invalid(op, system([TIE], [100, 100], 4096), "OtherDomain", LARGE, "4096 rows")
    ties = [row({j: 1}, {0: -1}) for j in range(257)]
    cases.invalid(op, system(ties, [1], 256, 257), "TooLarge", LARGE, "257 positions in 256 rows")
    bound = (1 << 254) // ((1 << 64) - 1)
    for rows, comment in (
        ([TIE, row({}, {0: 1 << 191})], "2^191 times a word of 64 bits"),
        ([TIE, row({0: 1 << 190}, {})], "2^190 times a position: its tie has two words"),
        ([TIE, row({}, {}, 1 << 254)], "a constant of 2^254"),
        ([TIE, row({}, {}, -(1 << 254))], "a constant of -2^254"),
        ([TIE, row({}, {}, 0, 1 << 126)], "an amount factor of 2^126"),
        ([TIE, row({}, {0: bound // 2, 1: -bound // 2}, 1 << 253)], "a sum that is too large, no term of it"),
    ):
        cases.invalid(op, system(rows, [1, 1]), "TooManyBits", LARGE, comment)
    just = [TIE, row({}, {0: 1 << 189}), row({}, {}, (1 << 253) - 1), row({}, {}, 0, 1 << 124)]
    cases.valid(op, system(just, [1, 1]), "rows right below the bound", "EdgeCase")


def _compiled(cases: Cases) -> None:
    for name, _, terms, comment in HONEST:
        account = ACCOUNTS[name]
        given = {"statement": text(account.statement_tree(**terms)), "snapshot": snapshot_ref(cases, name)}
        cases.valid("compile", given, comment)
    for name in ("cross", "cross-k4", "tiered", "loans", "span", "portfolio"):
        cases.valid("cheapest-domain", {"snapshot": snapshot_ref(cases, name)}, f"where a hub commits: {name}")
    _refused_terms(cases)
    _refused_rules(cases)


def _refused_terms(cases: Cases) -> None:
    def refuse(name: str, flag: str, code: str, comment: str, **changes: Any) -> None:
        stated = text(ACCOUNTS[name].statement_tree(**changes))
        cases.invalid("compile", {"statement": stated, "snapshot": snapshot_ref(cases, name)}, flag, code, comment)

    refuse("cross", "OtherSnapshot", MISMATCH, "another snapshot", snapshot=ACCOUNTS["tiered"].snapshot.digest.hex())
    refuse("cross", "OtherRule", MISMATCH, "another rule", rule="span-scan/1")
    refuse("cross", "UnknownInstrument", MALFORMED, "no such instrument", delta=[{"instrument": "X", "quantity": "1"}])
    refuse("cross", "OffGrid", MALFORMED, "off the lot grid", delta=[{"instrument": "SPOT-3", "quantity": "0.0005"}])
    refuse("cross", "OffGrid", MALFORMED, "an amount of a tenth of a cent", amount="1.001")
    refuse("cross", "OutOfRange", MALFORMED, "a negative amount", amount="-0.01")
    refuse("loans", "BadElection", MISMATCH, "no such category", elections={"emode": "volatile"})
    refuse("loans", "BadElection", MISMATCH, "one election too many", elections={"emode": "none", "x": "y"})
    refuse("span-election", "BadElection", MISMATCH, "another name", elections={"B.spreads": "long"})
    refuse("tiered", "BadOverlay", MISMATCH, "no such overlay", overlays=["leverage", "margin"])
    refuse("tiered", "BadElection", MISMATCH, "an election of another rule", elections={"emode": "none"})
    tree = ACCOUNTS["loans"].statement_tree()
    del tree["elections"]
    given = {"statement": text(tree), "snapshot": snapshot_ref(cases, "loans")}
    cases.invalid("compile", given, "BadElection", MISMATCH, "no election where the rule asks for one")


def _refused_rules(cases: Cases) -> None:
    """Parameters that a rule refuses: the statement names the very snapshot, so only the rule can."""
    from zkmargin.circuits import canonical

    def refuse(name: str, path: str, value: Any, flag: str, code: str, comment: str) -> None:
        account = ACCOUNTS[name]
        tree = changed(account.tree, path, value)
        digest = snapshot_from_bytes(canonical.canonical_bytes(tree)).digest.hex()
        stated = account.statement_tree(snapshot=digest, rule=tree["rule"]["id"])
        cases.invalid("compile", {"statement": text(stated), "snapshot": text(tree)}, flag, code, comment)

    rule = "rule.parameters"
    refuse("cross", "rule.id", "cross-margin/9", "OtherRule", MISMATCH, "a rule that this version does not have")
    refuse("cross", f"{rule}.rounding", "down", "OutOfRange", MALFORMED, "no such rounding")
    refuse("cross", f"{rule}.tiers.large.initial_ppm", 1_000_001, "OutOfRange", MALFORMED, "a rate above 1")
    refuse("cross", f"{rule}.tiers.open.open_interest_upper", "1000", "OutOfRange", MALFORMED, "caps of no width")
    refuse("cross", "instruments.2.risk.tier", "huge", "OutOfRange", MALFORMED, "no such tier")
    refuse("cross", "instruments.0.risk", {"haircut_ppm": 1}, "UnknownKey", MALFORMED, "cash with a haircut")
    refuse("cross", "instruments.2.kind", "option", "OtherRule", MALFORMED, "a kind that the rule does not know")
    table = ACCOUNTS["tiered"].tree["rule"]["parameters"]["tables"]["t"]
    refuse("tiered", f"{rule}.tables.t", [table[0], table[2], table[1]], "Unprovable", "rule-refused",
           "brackets out of order")  # fmt: skip
    refuse("tiered", f"{rule}.tables.t", table[1:], "Unprovable", "rule-refused", "no first bracket")
    refuse("tiered", f"{rule}.tables.t.2.initial_ppm", 10_000, "OutOfRange", MALFORMED, "initial below maintenance")
    falling = [table[0], table[1] | {"initial_ppm": 15_000, "maintenance_ppm": 5_000}]
    refuse("tiered", f"{rule}.tables.t", falling, "Unprovable", "rule-refused", "rates that fall with size")
    refuse("loans", "instruments.2.risk.ltv_ppm", 900_000, "OutOfRange", MALFORMED, "a loan above the threshold")
    refuse("loans", "instruments.1.risk.category", "volatile", "OutOfRange", MALFORMED, "no such category")
    refuse("span", f"{rule}.groups.A.spreads.0.outright", "1.5", "Unprovable", "rule-refused",
           "the lemma asks for an outright charge of at least half the spread's")  # fmt: skip
    refuse("span", f"{rule}.weights_ppm", [1_000_000] * 15, "OutOfRange", MALFORMED, "a weight missing")
    refuse("portfolio", f"{rule}.expiries.near.gain_ppb", 1_050_000_000, "Unprovable", "rule-refused",
           "a gain discounted less than a loss")  # fmt: skip
    refuse("portfolio", f"{rule}.mark", "close", "OutOfRange", MALFORMED, "no such scenario")
    refuse("portfolio", "instruments.3.risk.expiry", "never", "OutOfRange", MALFORMED, "no such expiry")
    refuse("portfolio", "instruments.4.risk.type", "call", "DuplicateInstrument", MALFORMED, "two calls of one strike")
    refuse("portfolio", f"{rule}.expiries.near.short_initial_ppb", 1, "OutOfRange", MALFORMED,
           "an initial rate below the maintenance rate")  # fmt: skip
