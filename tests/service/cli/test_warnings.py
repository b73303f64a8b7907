"""Statements that nobody could prove, or that mean something else than they seem to: refused or warned of at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.service.cli.test_cli import NOW, World, ask, build, call
from tests.service.cli.test_outputs import ENV
from tests.support.toy import load_statement, sample_account, statement_tree
from zkmargin.circuits.errors import MalformedInput, StaleStatement, StatementMismatch
from zkmargin.service.cli.warnings import check_request, leg_warnings


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build(tmp_path_factory.mktemp("request"))


@pytest.mark.parametrize(
    ("amount", "extra", "code", "field"),
    [
        ("-1", (), 3, "statement.amount"),
        ("1.0000001", (), 3, "statement.amount"),
        ("1" + "0" * 40, (), 3, "statement.amount"),
        ("50,000", (), 3, "statement.amount"),
        ("1", ("--delta", "NOPE=1"), 3, "statement.delta.0.instrument"),
        ("1", ("--delta", "BTC-PERP=0.0000000001", "--delta", "USDC=-1"), 3, "statement.delta.0.quantity"),
        ("1", ("--delta", "BTC-PERP=1e3"), 3, "statement.delta.0.quantity"),
        ("1", ("--overlay", "nowhere"), 4, "statement.overlays.nowhere"),
        ("1", ("--expiry", "1"), 5, "statement.context.expiry"),
        ("1", ("--expiry", str(int(NOW) - 1)), 5, "statement.context.expiry"),
    ],
)
def test_what_no_prover_could_use_is_not_written(
    world: World, tmp_path: Path, amount: str, extra: tuple[str, ...], code: int, field: str
) -> None:
    assert ask(world, tmp_path / "s.json", amount, *extra, code=code)["error"]["field"] == field
    assert not list(tmp_path.iterdir())


def test_all_faults_are_told_at_once(world: World, tmp_path: Path) -> None:
    error = ask(world, tmp_path / "s.json", "-1", "--delta", "NOPE=1", "--delta", "USDC=0.00000001", code=3)["error"]
    assert [f["field"] for f in error["faults"]] == [
        "statement.amount", "statement.delta.0.instrument", "statement.delta.1.quantity",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("delta", "warned"),
    [
        ((), False),
        ((("BTC-PERP", "1"),), True),
        ((("USDC", "-1"),), True),
        ((("BTC-PERP", "1"), ("USDC", "5")), True),
        ((("BTC-PERP", "1"), ("USDC", "-5")), False),
        ((("BTC-PERP", "1"), ("USDC", "0")), True),
        ((("BTC-PERP", "0"),), False),
    ],
)
def test_a_delta_of_one_sign_is_warned_of(delta: tuple[tuple[str, str], ...], warned: bool) -> None:
    assert bool(leg_warnings(delta)) is warned


def test_warnings_are_members_and_the_statement_is_written(world: World, tmp_path: Path) -> None:
    assert ask(world, tmp_path / "fine.json", "1")["warnings"] == []
    pay = ("--delta", "USDC=-1", "--for", "withdrawal", "--to", "bank 1", "--spoke", "hub")
    assert ask(world, tmp_path / "pay.json", "0", *pay)["warnings"] == []  # what a withdrawal is made of
    [told] = ask(world, tmp_path / "leg.json", "1", "--delta", "BTC-PERP=1")["warnings"]
    assert "second leg" in told
    late = ask(
        world, tmp_path / "late.json", "1", "--now", str(int(NOW) + 100_000), "--expiry", str(int(NOW) + 200_000)
    )
    assert "older than the statement's horizon" in late["warnings"][0]
    assert len(list(tmp_path.iterdir())) == 4


def test_prove_says_that_a_statement_has_expired(world: World, tmp_path: Path) -> None:
    answer = call(
        "prove", "--statement", world.statement, "--snapshot", world.snapshot, "--opening", world.opening, "--out",
        tmp_path / "p.json", env=ENV,
    )  # fmt: skip
    assert "expired" in answer["warnings"][0]


def test_the_function_refuses_by_type_and_takes_what_holds() -> None:
    account = sample_account(1)
    tree = statement_tree(account.snapshot, account.commitment)
    good = load_statement(tree)
    at = account.snapshot.time
    assert check_request(good, account.snapshot, at) == []
    with pytest.raises(StaleStatement):
        check_request(good, account.snapshot, good.context.expiry + 1)
    assert check_request(good, account.snapshot, good.context.expiry) == []
    with pytest.raises(StatementMismatch):
        check_request(load_statement(tree | {"overlays": ["none"]}), account.snapshot, at)
    with pytest.raises(MalformedInput):
        check_request(load_statement(tree | {"amount": "-1"}), account.snapshot, at)


#: An option of each purpose, and what else makes a statement of it whole.
OPTIONS = {
    "show": (),
    "credit": ("--expires", "1900000000"),
    "trade": ("--limit", "5"),
    "withdrawal": ("--to", "bank"),
}
WHOLE = {
    "credit": (),
    "trade": ("--delta", "BTC-PERP=0.001", "--delta", "USDC=-40"),
    "withdrawal": ("--spoke", "hub", "--delta", "USDC=-1"),
}


@pytest.mark.parametrize("use", sorted(OPTIONS))
@pytest.mark.parametrize("other", ["credit", "trade", "withdrawal"])
def test_an_option_of_another_purpose_is_not_passed_over(world: World, tmp_path: Path, use: str, other: str) -> None:
    if use == other:
        ask(world, tmp_path / "s.json", "1" if use == "credit" else "0", "--for", use, *OPTIONS[use], *WHOLE[use])
        return
    error = ask(world, tmp_path / "s.json", "0", "--for", use, *OPTIONS[use], *OPTIONS[other], code=3)["error"]
    assert error["field"] == OPTIONS[other][0].removeprefix("--")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("late", [0, 1, 10**6])
def test_a_credit_that_has_ended_is_not_asked_for(world: World, tmp_path: Path, late: int) -> None:
    words = ("--for", "credit", "--expires", str(int(NOW) - late))
    assert ask(world, tmp_path / "s.json", "1", *words, code=5)["error"]["field"] == "expires"
    assert not list(tmp_path.iterdir())
    ask(world, tmp_path / "s.json", "1", "--for", "credit", "--expires", str(int(NOW) + 1))
