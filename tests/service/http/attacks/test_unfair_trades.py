"""Trades that are none: legs that do not match, proofs of something else, sides that may not move."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Connection

from tests.support.attacked import (
    ALICE,
    BACK,
    BOB,
    EVIL,
    HONEST,
    LEGS,
    OPS,
    TRADES,
    credit,
    held,
    sided,
    sides,
)
from tests.support.ledgers import World, snapshot_at
from tests.support.toy import Tree, load_snapshot
from zkmargin.prover import witness
from zkmargin.prover.errors import NotSolvent
from zkmargin.service.ledger import audit, epochs, portfolio, trades
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.refusals import Conflict

pytestmark = pytest.mark.slow


def test_a_trade_moves_both_accounts_at_once(world: World) -> None:
    """Both epochs rise by one, the legs are there, credits stay; a repeated request is the same trade."""
    s = world.session
    credit(world, "alice", "honest", "300")
    before = {name: s.ok(OPS, "GET", f"/v1/accounts/{name}")["epoch"] for name in ("alice", "bob")}
    body = s.trade_body("alice", "bob", world.snapshot, venue="evil", legs=LEGS)
    made = s.ok(EVIL, "POST", TRADES, body, key="trade")
    assert s.ok(EVIL, "POST", TRADES, body, key="trade") == made
    world.refused("stale-epoch", 409, EVIL, "POST", TRADES, body)
    for role, name in (("maker", "alice"), ("taker", "bob")):
        assert (made[role]["account"], made[role]["epoch"]) == (name, before[name] + 1)
        assert s.ok(OPS, "GET", f"/v1/accounts/{name}")["attested"] == made[role]
    assert held(world, "alice") == {"QUOTE-0": 936, "PERPETUAL-2": 1, "CREDIT-1": 300}
    assert held(world, "bob") == {"QUOTE-0": 1064, "PERPETUAL-2": -1}
    assert audit.run(world.hub.ledger).counts["trades"] == 1


def test_a_trade_that_breaks_in_the_middle_moves_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    s = world.session
    body = s.trade_body("alice", "bob", world.snapshot, venue="evil", legs=LEGS)
    parts = [sided(body[role]) for role in trades.SIDES]
    real, seen = epochs.advance, []

    def breaks(ledger: Ledger, tx: Connection, account: epochs.Account, *a: Any, **k: Any) -> Any:
        seen.append(account.id)
        if len(seen) == 2:
            raise Conflict("power cut")
        return real(ledger, tx, account, *a, **k)

    before = world.digest()
    with monkeypatch.context() as patched:
        patched.setattr(epochs, "advance", breaks)
        with pytest.raises(Conflict):
            world.ledger.database.write(lambda tx: trades.book_trade(world.ledger, tx, "evil", (parts[0], parts[1])))
    assert seen == ["alice", "bob"]
    assert world.digest() == before
    s.ok(EVIL, "POST", TRADES, body)


def test_two_trades_of_the_same_accounts_crosswise(world: World) -> None:
    """Maker and taker exchanged, at the same time, on the same epochs: one is booked, and nobody waits for ever."""
    s = world.session
    bodies = [
        s.trade_body(a, b, world.snapshot, venue="evil", legs=LEGS) for a, b in (("alice", "bob"), ("bob", "alice"))
    ]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda body: s.call(EVIL, "POST", TRADES, body), bodies))
    assert sorted(a.status_code for a in answers) == [201, 409]
    assert {a.json().get("code") for a in answers} == {None, "stale-epoch"}


Spoil = Callable[[World], Tree]


def _emptied(world: World) -> Tree:
    """A trade whose legs are gone."""
    body = sides(world, LEGS, BACK)
    for role in trades.SIDES:
        body[role]["statement"]["delta"] = []
    return body


UNFAIR: list[tuple[str, Spoil, str, str]] = [
    ("not conserved", lambda w: sides(w, LEGS, (BACK[0], ("QUOTE-0", "64.01"))), "statement-refused",
     "taker.statement.delta"),
    ("one leg more", lambda w: sides(w, LEGS, (*BACK, ("SPOT-3", "1"))), "statement-refused", "taker.statement.delta"),
    ("a gift from nobody", lambda w: sides(w, (("QUOTE-0", "5"),), (("SPOT-3", "1"),)), "statement-refused",
     "taker.statement.delta"),
    ("both receive", lambda w: sides(w, (("QUOTE-0", "5"),), (("QUOTE-0", "5"),)), "statement-refused",
     "taker.statement.delta"),
    ("nothing", _emptied, "malformed-input", "statement.delta"),
    ("maker proved for another venue", lambda w: sides(w, LEGS, BACK, venues=("honest", "evil")), "statement-refused",
     "statement.context.spoke"),
    ("taker proved for another venue", lambda w: sides(w, LEGS, BACK, venues=("evil", "honest")), "statement-refused",
     "statement.context.spoke"),
    ("one account with itself", lambda w: {
        "maker": w.session.side("alice", w.snapshot, venue="evil", legs=LEGS),
        "taker": w.session.side("alice", w.snapshot, venue="evil", legs=BACK),
     }, "malformed-input", "taker.statement.context.account"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "code", "field"), [u[1:] for u in UNFAIR], ids=[u[0] for u in UNFAIR])
def test_a_trade_that_is_none(world: World, make: Spoil, code: str, field: str) -> None:
    tree = world.refused(code, 422, EVIL, "POST", TRADES, make(world))
    assert tree["field"] == field


def test_a_trade_without_both_proofs(world: World) -> None:
    """Missing, another's, spoiled, or of other legs than the statement's: of either side."""
    whole = world.session.trade_body("alice", "bob", world.snapshot, venue="evil", legs=LEGS)
    for role, other in (("maker", "taker"), ("taker", "maker")):

        def spoiled(change: Callable[[Tree], Any], role: str = role) -> Tree:
            body: Tree = json.loads(json.dumps(whole))
            change(body[role])
            return body

        missing = spoiled(lambda side: side.pop("proof"))
        world.refused("malformed-input", 422, EVIL, "POST", TRADES, missing)
        borrowed = spoiled(lambda side, other=other: side.update(proof=whole[other]["proof"]))  # type: ignore[misc]
        world.refused("statement-mismatch", 422, EVIL, "POST", TRADES, borrowed)
        proof = whole[role]["proof"]["proof"]
        false = proof[:-2] + ("00" if proof[-2:] != "00" else "01")
        broken = spoiled(lambda side, false=false: side["proof"].update(proof=false))  # type: ignore[misc]
        world.refused("proof-rejected", 422, EVIL, "POST", TRADES, broken)
        # Worse terms than the holder agreed to, though the proof document is made to name the new statement.
        worse = spoiled(lambda side: side["statement"].update(delta=[{"instrument": "QUOTE-0", "quantity": "-900"}]))
        world.refused("statement-mismatch", 422, EVIL, "POST", TRADES, worse)
        worse[role]["proof"]["statement"] = sided(worse[role]).statement.digest.hex()
        # Another statement than the holder's key signed; and were it signed, the proof is of other legs.
        world.refused("statement-mismatch", 422, EVIL, "POST", TRADES, worse)
        worse[role] = world.session.restated(worse[role])
        world.refused("proof-rejected", 422, EVIL, "POST", TRADES, worse)
    world.session.ok(EVIL, "POST", TRADES, whole)


def test_a_trade_that_leaves_a_side_insolvent(world: World) -> None:
    """Its holder finds no proof, and a proof of less is none of it."""
    s = world.session
    credit(world, "alice", "honest", "950")
    legs = (("PERPETUAL-2", "1"), ("QUOTE-0", "-164"))
    with pytest.raises(NotSolvent):
        s.side("alice", world.snapshot, venue="evil", legs=legs)
    body = {
        "maker": s.side("alice", world.snapshot, venue="evil", legs=LEGS),
        "taker": s.side("bob", world.snapshot, venue="evil", legs=(BACK[0], ("QUOTE-0", "164"))),
    }
    body["maker"] = s.restated(body["maker"], delta=[{"instrument": i, "quantity": q} for i, q in legs])
    world.refused("proof-rejected", 422, EVIL, "POST", TRADES, body)


@pytest.mark.parametrize("role", ["maker", "taker"])
def test_a_trade_beyond_the_position_limit(world: World, role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a holder whose own tools do not mind: the snapshot promises to be able to prove no more than its limits."""
    s = world.session
    tree = json.loads(snapshot_at(world.clock()).to_bytes())
    lines = {line["id"]: line for line in tree["instruments"]}
    lines["PERPETUAL-2"]["position_limit"] = "1"
    narrow = load_snapshot(tree)
    s.publish(narrow)
    monkeypatch.setattr(witness, "check_positions", lambda *a, **k: None)
    body = s.trade_body("alice", "bob", narrow, venue="evil", legs=(("PERPETUAL-2", "1.01"), ("QUOTE-0", "-65")))
    fine = s.trade_body("alice", "bob", narrow, venue="evil", legs=LEGS)
    # The other side would be beyond it too: with only one of them checked it is found all the same.
    real, seen = portfolio.check, []

    def one_side(*a: Any, field: str, **k: Any) -> None:
        seen.append(field)
        if field.startswith(role):
            real(*a, field=field, **k)

    with monkeypatch.context() as patched:
        patched.setattr(portfolio, "check", one_side)
        tree = world.refused("position-limit", 409, EVIL, "POST", TRADES, body)
    assert tree["field"] == f"{role}.statement.delta"
    # The control: unchecked, it is booked, and the account can prove nothing at this snapshot with honest tools.
    with monkeypatch.context() as patched:
        patched.setattr(portfolio, "check", lambda *a, **k: None)
        s.ok(EVIL, "POST", TRADES, body)
    world.refused("stale-epoch", 409, EVIL, "POST", TRADES, fine)


def test_a_trade_on_superseded_prices(world: World) -> None:
    """No grace: whoever knows the newer prices would trade on the older ones."""
    s = world.session
    body = s.trade_body("alice", "bob", world.snapshot, venue="evil", legs=LEGS)
    newer = snapshot_at(world.clock())
    s.publish(newer)
    tree = world.refused("stale-snapshot", 409, EVIL, "POST", TRADES, body)
    assert tree["newest"] == newer.digest.hex()
    out = s.withdrawal_body("alice", world.snapshot, instrument="QUOTE-0", quantity="10")
    world.refused("stale-snapshot", 409, ALICE, "POST", "/v1/accounts/alice/withdrawals", out)
    s.ok(EVIL, "POST", TRADES, s.trade_body("alice", "bob", newer, venue="evil", legs=LEGS))


def test_a_trade_where_nothing_may_move(world: World) -> None:
    """A frozen side, an open breaker, a suspended venue, an epoch that is over, and callers that are no venue."""
    s = world.session
    body = s.trade_body("alice", "bob", world.snapshot, venue="evil", legs=LEGS)
    for caller in (OPS, ALICE, "oracle/feed"):
        world.refused("forbidden", 403, caller, "POST", TRADES, body)
    tree = world.refused("statement-refused", 422, HONEST, "POST", TRADES, body)
    assert tree["field"] == "statement.context.spoke"
    for name in ("alice", "bob"):
        s.ok(OPS, "POST", f"/v1/accounts/{name}/freeze")
        world.refused("account-frozen", 409, EVIL, "POST", TRADES, body)
        s.ok(OPS, "POST", f"/v1/accounts/{name}/unfreeze")
    for scope in ("hub", "venue/evil"):
        s.ok(OPS, "POST", "/v1/breakers/open", {"scope": scope})
        world.refused("breaker-open", 409, EVIL, "POST", TRADES, body)
        s.ok(OPS, "POST", "/v1/breakers/close", {"scope": scope})
    s.ok(OPS, "POST", "/v1/venues/evil/suspend")
    world.refused("venue-suspended", 403, EVIL, "POST", TRADES, body)
    s.ok(OPS, "POST", "/v1/venues/evil/resume")
    s.ok(BOB, "POST", "/v1/accounts/bob/epochs")
    world.refused("stale-epoch", 409, EVIL, "POST", TRADES, body)
