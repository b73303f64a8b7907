"""Portfolio files: entry prices charged to cash, exactly and against the account; warnings where cash looks raw."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.circuits.test_market_rules import loans, tiered
from tests.project.test_docs import block
from tests.service.cli.test_cli import call, demo_file
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.errors import MalformedInput
from zkmargin.circuits.units import format_fraction
from zkmargin.prover.documents import portfolio_lots
from zkmargin.prover.portfolio import notional_warnings, parse_portfolio
from zkmargin.service.cli.root import app

SNAPSHOT = snapshot_from_bytes(block("snapshot.json"))
CASH, PERP = SNAPSHOT.index["USD"], SNAPSHOT.index["BTC-PERP"]


def file(*positions: tuple[str, str] | tuple[str, str, str]) -> bytes:
    rows: list[dict[str, Any]] = [dict(zip(("instrument", "quantity", "entry"), p, strict=False)) for p in positions]
    return json.dumps({"schema": "zkmargin/portfolio/1", "positions": rows}).encode()


def health(tmp_path: Path, data: bytes) -> dict[str, Any]:
    (tmp_path / "s.json").write_bytes(block("snapshot.json"))
    (tmp_path / "p.json").write_bytes(data)
    return call("explain", "--snapshot", tmp_path / "s.json", "--portfolio", tmp_path / "p.json")


def test_collateral_alone_beside_perpetuals_is_warned_of_and_entry_prices_tell_the_truth(tmp_path: Path) -> None:
    raw = health(tmp_path, file(("USD", "1000"), ("BTC-PERP", "5")))
    assert float(raw["health_factor"]) > 4
    assert "BTC-PERP" in raw["warnings"][0]
    assert "collateral less quantity times entry price" in raw["warnings"][0]
    true = health(tmp_path, file(("USD", "1000"), ("BTC-PERP", "5", "62541")))
    assert true["warnings"] == []
    assert true["health_factor"] == "0"
    assert Fraction(true["thresholds"]["maintenance"]) < -111_705  # 1000 - 5 * 62541 + 5 * 40000 is -111,705
    # The convention by hand and by us is one portfolio.
    by_hand = health(tmp_path, file(("USD", "-311705"), ("BTC-PERP", "5")))
    assert {k: v for k, v in by_hand.items() if k != "warnings"} == {k: v for k, v in true.items() if k != "warnings"}


def test_a_file_without_entry_prices_means_what_it_meant() -> None:
    assert portfolio_lots(file(("USD", "-7"), ("BTC-PERP", "-5")), SNAPSHOT)[CASH] == -700
    assert (
        parse_portfolio(demo_file("portfolio.json"), snapshot_from_bytes(demo_file("snapshot.json"))).entered == set()
    )


@given(
    st.integers(-(10**9), 10**9), st.integers(-(10**6), 10**6), st.integers(0, 10**9), st.integers(-(10**4), 10**4),
    st.integers(0, 10**9),
)  # fmt: skip
def test_cash_is_charged_exactly_and_rounded_down_once(cash: int, perp: int, price: int, gold: int, other: int) -> None:
    rows = (
        ("USD", format_fraction(Fraction(cash, 100))),
        ("BTC-PERP", format_fraction(Fraction(perp, 1000)), format_fraction(Fraction(price, 10**4))),
        ("GOLD", format_fraction(Fraction(gold, 10)), format_fraction(Fraction(other, 10**5))),
    )
    exact = Fraction(cash, 100) - Fraction(perp * price, 10**7) - Fraction(gold * other, 10**6)
    if abs(exact) > 10**8:
        with pytest.raises(MalformedInput, match=r"portfolio\.USD"):
            portfolio_lots(file(*rows), SNAPSHOT)
        return
    lots = portfolio_lots(file(*rows), SNAPSHOT)
    assert lots[CASH] == (exact * 100).__floor__()
    assert 0 <= exact - Fraction(lots[CASH], 100) < Fraction(1, 100)
    assert (lots[PERP], lots[SNAPSHOT.index["GOLD"]]) == (perp, gold)


@pytest.mark.parametrize(
    ("position", "field"),
    [
        (("USD", "1", "1"), "entry"),
        (("CREDIT", "1", "1"), "entry"),
        (("BTC-PERP", "1", "-1"), "entry"),
        (("BTC-PERP", "1", "40,000"), "entry"),
        (("BTC-PERP", "1", "4e4"), "entry"),
    ],
)
def test_an_entry_price_where_none_belongs_is_refused(position: tuple[str, str, str], field: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        portfolio_lots(file(position), SNAPSHOT)
    assert caught.value.field == f"portfolio.positions.0.{field}"


def test_a_snapshot_without_one_quote_currency_has_no_place_for_a_price() -> None:
    # Without cash, loans have nothing to charge.
    tree = dict(loans().tree)
    tree["instruments"] = [inst for inst in tree["instruments"] if inst["kind"] != "quote"]
    snap = snapshot_from_bytes(json.dumps(tree).encode())
    with pytest.raises(MalformedInput, match="one line of kind quote"):
        portfolio_lots(file((tree["instruments"][0]["id"], "1", "1")), snap)


@pytest.mark.parametrize(
    ("cash", "perp", "entered", "warned"),
    [
        (100_000, 5_000, False, True),  # long, nothing paid
        (0, 5_000, False, True),
        (-1, 5_000, False, False),  # long, some of it paid
        (100_000, 5_000, True, False),
        (100_000, -5_000, False, True),  # short, proceeds not in cash
        (20_000_000, -5_000, False, False),  # short, proceeds in cash: 5 * 40,000
        (100_000, 0, False, False),  # no contracts
    ],
)
def test_when_cash_looks_like_collateral_alone(cash: int, perp: int, entered: bool, warned: bool) -> None:
    lots = [0] * len(SNAPSHOT.instruments)
    lots[CASH], lots[PERP] = cash, perp
    told = notional_warnings(lots, {PERP} if entered else (), SNAPSHOT)
    assert bool(told) is warned
    assert not any(str(abs(x)) in text for text in told for x in (cash, perp) if x)  # no quantity is shown


def test_the_demo_and_other_kinds_are_not_warned_of() -> None:
    snap = snapshot_from_bytes(demo_file("snapshot.json"))
    assert notional_warnings(portfolio_lots(demo_file("portfolio.json"), snap), (), snap) == []
    assert notional_warnings([9_000, 100, -50, 7], (), loans()) == []
    assert notional_warnings([9_000, 0, 0, 7], (), tiered()) == []


def test_commit_warns_on_standard_error(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_bytes(block("snapshot.json"))
    (tmp_path / "p.json").write_bytes(file(("USD", "1000"), ("BTC-PERP", "5")))
    call("keygen", "--key", tmp_path / "k", "--public", tmp_path / "k.pub", "--unencrypted")
    words = [
        "commit", "--portfolio", tmp_path / "p.json", "--snapshot", tmp_path / "s.json", "--account", "a", "--key",
        tmp_path / "k", "--opening", tmp_path / "o", "--attestation", tmp_path / "a", "--unencrypted",
    ]  # fmt: skip
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0
    assert "warning: BTC-PERP" in result.stderr
    assert call(*words, "--force")["warnings"]
