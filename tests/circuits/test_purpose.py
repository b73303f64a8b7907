"""What a statement is for: purposes that fit their statement, the limit of a trade, and the words for people."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.toy import NOW, Tree, load_statement, sample_account, statement_tree
from zkmargin.circuits.documents.statement import to_tree
from zkmargin.circuits.errors import MalformedInput, StatementMismatch, ZkMarginError
from zkmargin.circuits.purpose import ANY, SHOW, ForCredit, ForTrade, ForWithdrawal, legs_cost
from zkmargin.circuits.statement import bind
from zkmargin.circuits.units import format_fraction
from zkmargin.service.cli.words import in_words

ACCOUNT = sample_account(1)
SNAP = ACCOUNT.snapshot
CASH, PERP = SNAP.instruments[0].id, next(i.id for i in SNAP.instruments if i.kind == "perpetual")
CREDIT: Tree = {"for": "credit", "venue": "spoke-1", "amount": "5", "expires": NOW + 60}
TRADE: Tree = {"for": "trade", "limit": "10", "counterparty": "any"}
OUT: Tree = {"for": "withdrawal", "destination": "bank account 7"}


def leg(name: str, quantity: str) -> Tree:
    return {"instrument": name, "quantity": quantity}


def stated(purpose: Any, **changes: Any) -> Tree:
    """A statement with a purpose that fits it, but for what is changed."""
    use = purpose.get("for") if isinstance(purpose, dict) else None
    tree = statement_tree(SNAP, ACCOUNT.commitment, purpose=purpose, amount="10")
    if use == "trade":
        tree["delta"] = [leg(CASH, "-5")]
    if use == "withdrawal":
        tree |= {"delta": [leg(CASH, "-5")], "context": tree["context"] | {"spoke": "hub-1"}}
    return tree | changes


def test_purposes_are_read_as_they_are_written() -> None:
    wanted = (SHOW, ForCredit("spoke-1", "5", NOW + 60), ForTrade("10", ANY), ForWithdrawal("bank account 7"))
    for tree, purpose in zip(({"for": "show"}, CREDIT, TRADE, OUT), wanted, strict=True):
        assert load_statement(stated(tree)).purpose == purpose
        assert to_tree(purpose) == tree


BAD: list[tuple[str, Any, Tree, str]] = [
    ("none", None, {}, "statement.purpose"),
    ("no object", "show", {}, "statement.purpose"),
    ("no kind", {}, {}, "statement.purpose"),
    ("another kind", {"for": "gift"}, {}, "statement.purpose"),
    ("a kind that is no text", {"for": ["show"]}, {}, "statement.purpose"),
    ("show with a member", {"for": "show", "venue": "x"}, {}, "statement.purpose.venue"),
    ("credit without its end", {k: v for k, v in CREDIT.items() if k != "expires"}, {}, "statement.purpose.expires"),
    ("credit of nothing", CREDIT | {"amount": "0"}, {}, "statement.purpose.amount"),
    ("credit below nothing", CREDIT | {"amount": "-1"}, {}, "statement.purpose.amount"),
    ("credit of more than is proved", CREDIT | {"amount": "10.01"}, {}, "statement.purpose.amount"),
    ("credit on an amount that is none", CREDIT, {"amount": "-0"}, "statement.amount"),
    ("credit as a number", CREDIT | {"amount": 5}, {}, "statement.purpose.amount"),
    ("credit of another venue", CREDIT | {"venue": "spoke-2"}, {}, "statement.purpose.venue"),
    ("credit on an order", CREDIT, {"delta": [leg(CASH, "5")]}, "statement.delta"),
    ("credit whose end is a text", CREDIT | {"expires": "1"}, {}, "statement.purpose.expires"),
    ("trade with a negative limit", TRADE | {"limit": "-0.01"}, {}, "statement.purpose.limit"),
    ("trade with itself", TRADE | {"counterparty": "alice"}, {}, "statement.purpose.counterparty"),
    ("trade with nobody", TRADE | {"counterparty": ""}, {}, "statement.purpose.counterparty"),
    ("trade of nothing", TRADE, {"delta": []}, "statement.delta"),
    ("trade with an empty leg", TRADE, {"delta": [leg(CASH, "-5"), leg(PERP, "0.00")]}, "statement.delta"),
    ("withdrawal at a venue", OUT, {"context": stated(SHOW)["context"]}, "statement.context.spoke"),
    ("withdrawal of two things", OUT, {"delta": [leg(CASH, "-5"), leg(PERP, "-1")]}, "statement.delta"),
    ("withdrawal of nothing", OUT, {"delta": []}, "statement.delta"),
    ("withdrawal that pays in", OUT, {"delta": [leg(CASH, "5")]}, "statement.delta"),
    ("withdrawal of zero", OUT, {"delta": [leg(CASH, "0")]}, "statement.delta"),
    ("withdrawal to nowhere", OUT | {"destination": ""}, {}, "statement.purpose.destination"),
    ("withdrawal to a line break", OUT | {"destination": "a\nb"}, {}, "statement.purpose.destination"),
    ("withdrawal to an escape", OUT | {"destination": "\x1b[2Kvault"}, {}, "statement.purpose.destination"),
    ("withdrawal to a blank end", OUT | {"destination": "a "}, {}, "statement.purpose.destination"),
    ("withdrawal to 201 characters", OUT | {"destination": "a" * 201}, {}, "statement.purpose.destination"),
]


@pytest.mark.parametrize(("purpose", "changes", "field"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_a_purpose_that_does_not_fit_is_no_statement(purpose: Any, changes: Tree, field: str) -> None:
    with pytest.raises(MalformedInput) as refused:
        load_statement(stated(purpose, **changes))
    assert refused.value.field == field


def test_versions_and_purposes_go_together() -> None:
    """Version 2 always says what it is for; version 1 never does."""
    new = stated({"for": "show"})
    old = {k: v for k, v in new.items() if k != "purpose"}
    for tree in (old, new | {"schema": "zkmargin/statement/1"}):
        with pytest.raises(MalformedInput) as refused:
            load_statement(tree)
        assert refused.value.field == "statement.schema"
    assert load_statement(old | {"schema": "zkmargin/statement/1"}).purpose == SHOW


quantities = st.integers(-500, 500).filter(bool)


@given(cash=quantities, perpetuals=quantities, slack=st.integers(-3, 3))
def test_the_limit_of_a_trade_is_what_its_legs_may_take_at_the_marks(cash: int, perpetuals: int, slack: int) -> None:
    """Exact, in fractions: a statement whose legs take a cent more than its limit binds to no snapshot."""
    mark = SNAP.instruments[SNAP.index[PERP]].mark
    lot = SNAP.instruments[SNAP.index[PERP]].lot
    cost = -(cash + perpetuals * lot * mark)
    limit = cost + Fraction(slack, 100)
    if limit < 0:
        return
    legs = [leg(CASH, str(cash)), leg(PERP, format_fraction(perpetuals * lot))]
    statement = load_statement(stated(TRADE | {"limit": format_fraction(limit)}, delta=legs))
    assert legs_cost(statement.delta, SNAP) == cost
    if slack < 0:
        with pytest.raises(StatementMismatch) as refused:
            bind(statement, SNAP)
        assert refused.value.field == "statement.purpose.limit"
    else:
        bind(statement, SNAP)


def test_credit_is_no_leg_of_a_trade_or_withdrawal() -> None:
    """A venue's credit is not the account's to give away, nor to be rid of."""
    name = next(i.id for i in SNAP.instruments if i.kind == "credit")
    for use, quantity in ((TRADE, "-1"), (TRADE, "1"), (OUT, "-1")):
        statement = load_statement(stated(use, delta=[leg(name, quantity)]))
        with pytest.raises(StatementMismatch) as refused:
            bind(statement, SNAP)
        assert refused.value.field == "statement.delta.0.instrument"


def test_words_name_all_that_is_authorised() -> None:
    """Venue, amount, end; legs, cost, limit, counterparty; destination. All that is signed is said."""
    said = {
        kind: " ".join(in_words(load_statement(stated(tree)), SNAP))
        for kind, tree in (("show", {"for": "show"}), ("credit", CREDIT), ("trade", TRADE), ("withdrawal", OUT))
    }
    assert "Nothing may be booked on it" in said["show"]
    for part in ("spoke-1", "up to 5 USD", "alice", "hub-1", "paid out of the account's cash"):
        assert part in said["credit"]
    for part in ("spoke-1", "any account", "receives NOTHING", f"gives 5 {CASH}", "takes 5 USD", "limit 10 USD"):
        assert part in said["trade"]
    assert "bank account 7" in said["withdrawal"]
    assert f"5 {CASH}" in said["withdrawal"]
    for text in said.values():
        assert "Good until" in text


@pytest.mark.parametrize("end", ["vault-1. Nothing may be booked on it.", 'vault-1". Nothing may be booked on it. "'])
def test_a_destination_that_reads_like_words_is_quoted(end: str) -> None:
    """It is free text: what is in it is said as one thing, and cannot end the sentence that it stands in."""
    (said, *_) = in_words(load_statement(stated(OUT | {"destination": end})), SNAP)
    assert said.endswith(f" to {json.dumps(end)}.")
    assert json.loads(said.partition(" to ")[2].removesuffix(".")) == end


@given(
    st.dictionaries(
        st.sampled_from(["for", "venue", "amount", "expires", "limit", "counterparty", "destination"]),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.text(max_size=8),
            st.just("credit"),
            st.just("5"),
            st.lists(st.integers(), max_size=2),
        ),
        max_size=7,
    )
)
def test_any_purpose_is_read_or_refused_by_name(tree: Tree) -> None:
    """No junk under ``purpose`` is anything but a statement or a typed error on it."""
    try:
        load_statement(stated(tree))
    except ZkMarginError as refused:
        assert refused.field is not None  # noqa: PT017 - either will do
        assert refused.field.startswith("statement")  # noqa: PT017
