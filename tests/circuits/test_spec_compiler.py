"""A compiler written from SPEC.md and RULES.md alone makes the same systems: every rule, level, rounding, overlay."""

from __future__ import annotations

import ast
import copy
import sys
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.circuits.test_market_rules import tiered
from tests.circuits.test_paying import eth_loans
from tests.circuits.test_span import span
from tests.project.test_docs import ROOT, block
from tests.support import spec_compiler, spec_rules, spec_terms
from tests.support.agreement import MAKERS, case
from tests.support.derive_cases import load, paths
from tests.support.toy import Tree, load_snapshot, snapshot_tree
from zkmargin.circuits.compiler import compile_rule
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.rules import Terms, build
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import bind

LEVELS = ("initial", "liquidation-end", "maintenance")
KNOBS = (("1", 3600), ("0.75", 86_399), ("1.234567", 7))


def agree(snapshot: Snapshot, level: str, multiplier: str, horizon: int, **more: Any) -> None:
    """Both compilers, on a snapshot under terms; elections are the first piece of each where none are given."""
    overlays = tuple(more.get("overlays", ()))
    terms = Terms(level, Fraction(multiplier), horizon, (), overlays)
    rule = build(snapshot, terms)
    elections = more.get("elections") or {name: same[0].pieces[0][0] for name, same in rule.elections().items()}
    wanted = {"level": level, "multiplier": multiplier, "horizon": horizon}
    statement: Tree = {**wanted, "elections": elections, "overlays": list(overlays)}
    compiled = compile_rule(rule.elect(elections)).system
    assert compiled.digest.hex() == spec_compiler.system_digest(dict(snapshot.tree), statement)


@pytest.mark.parametrize("name", MAKERS)
def test_the_statement_of_each_case(name: str) -> None:
    c = case(name)
    digest = bind(c.statement, c.snapshot).program.system.digest.hex()
    assert spec_compiler.system_digest(dict(c.snapshot.tree), dict(c.statement.tree)) == digest


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", MAKERS)
def test_every_level_multiplier_and_horizon(name: str, level: str) -> None:
    c = case(name)
    for multiplier, horizon in KNOBS:
        agree(c.snapshot, level, multiplier, horizon, overlays=c.statement.terms.overlays)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("seed", range(4))
def test_cross_margin_rounded_per_position(level: str, seed: int) -> None:
    snapshot = load_snapshot(snapshot_tree(9, 4, rounding="per-position", seed=seed))
    for multiplier, horizon in KNOBS:
        agree(snapshot, level, multiplier, horizon)


@pytest.mark.parametrize("name", ["loans", "spreads", "skew"])
def test_every_piece_of_every_election(name: str) -> None:
    c = case(name)
    found = build(c.snapshot, Terms("initial", Fraction(1), 3600)).elections()
    for k in range(max(len(same[0].pieces) for same in found.values())):
        names = {name: same[0].pieces[k % len(same[0].pieces)][0] for name, same in found.items()}
        agree(c.snapshot, "liquidation-end", "1.5", 60, elections=names)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("quote_in", [None, "eth"])
def test_a_category_with_and_without_the_quote_currency(quote_in: str | None, level: str) -> None:
    for election, lot in product(("none", "eth"), ("0.01", "0.05")):
        snapshot = eth_loans(quote_in=quote_in, ltv=775_000, lot=lot)
        agree(snapshot, level, "1.234567", 60, elections={"emode": election})


@pytest.mark.parametrize("change", [
    {"spread": {"charge": "0", "outright": "0"}},
    {"spread": {"charge": "3.2", "outright": "1.6"}},
    {"group": {"short_option_minimum": "0"}},
    {"group": {"short_option_minimum": "0.0000001"}},
    {"risk": {"delta": "-0.1"}},
    {"risk": {"month": "m2"}},
    {"initial_factor_ppm": 1_000_000},
])  # fmt: skip
@pytest.mark.parametrize("form", ["lemma", "election"])
def test_the_scan_with_other_parameters(change: dict[str, Any], form: str) -> None:
    for level in LEVELS:
        agree(span(form, **change), level, "0.9", 3600)


OVERLAY = (
    {"type": "leverage-cap", "max": "0.333333"},
    {"type": "concentration", "max_ppm": 1},
    {"type": "banned", "instruments": ["ETH", "USD"]},
    {"type": "minimum-equity", "amount": "12.34"},
    {"type": "latency-buffer", "daily_ppm": 12_345},
    {"type": "latency-buffer", "daily_ppm": 3, "instruments": ["ETH", "BTC", "ETH"]},
    {"type": "greek-limit", "greek": "delta", "max": "0.125"},
    {"type": "greek-limit", "greek": "vega", "max": "3"},
)


@pytest.mark.parametrize(("first", "level"), list(product(range(len(OVERLAY)), LEVELS)))
def test_each_overlay_before_another(first: int, level: str) -> None:
    snapshot = tiered(overlays={"b": [OVERLAY[first]], "a": [OVERLAY[(first + 3) % len(OVERLAY)], OVERLAY[1]]})
    agree(snapshot, level, "1.1", 7200, overlays=("a", "b"))
    agree(snapshot, level, "1.1", 7200, overlays=("b",))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["demonstration", "FILES.md"])
def test_the_documents_that_the_project_shows(name: str, level: str) -> None:
    shown = block("snapshot.json")
    data = (ROOT / "service" / "demo_data" / "snapshot.json").read_bytes() if name == "demonstration" else shown

    agree(snapshot_from_bytes(data), level, "1.000001", 3600)


@pytest.mark.skipif(not paths(), reason="no Derive cases")
@pytest.mark.parametrize("path", paths()[::12], ids=lambda path: path.stem)
def test_portfolio_margin_of_published_accounts(path: Path) -> None:
    for level in LEVELS:
        agree(load(path).snapshot, level, "1.1", 3600)


@pytest.mark.parametrize("name", MAKERS)
def test_the_order_of_keys_in_a_document_changes_no_system(name: str) -> None:
    """The digest of a snapshot does not know that order, so the system must not either."""

    def reversed_keys(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: reversed_keys(value) for key, value in reversed(list(node.items()))}
        return [reversed_keys(item) for item in node] if isinstance(node, list) else node

    c = case(name)
    other = load_snapshot(reversed_keys(copy.deepcopy(dict(c.snapshot.tree))))
    assert other.digest == c.snapshot.digest
    # Not through the cache of compiled rules, whose key is the digest.
    chosen = dict(c.statement.terms.elections)
    compiled = [compile_rule(build(s, c.statement.terms).elect(chosen)).system.digest for s in (c.snapshot, other)]
    assert compiled[0] == compiled[1]


def test_the_compiler_of_the_tests_reads_nothing_of_the_project() -> None:
    parts = [spec_compiler, spec_rules, spec_terms]
    allowed = {part.__name__ for part in parts} | {"__future__"}
    for part in parts:
        for node in ast.walk(ast.parse(Path(part.__file__).read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or "."] if isinstance(node, ast.ImportFrom) else []
            assert {name for name in names if name.split(".")[0] not in sys.stdlib_module_names} <= allowed
