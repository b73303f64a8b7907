"""Attacks on the hub, named by the fault that would let them through: by venues, holders, operators and insiders."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from sqlalchemy import Connection

from tests.support.hubs import Signer
from tests.support.ledgers import DATABASES, World, fresh_url, snapshot_at, started
from tests.support.toy import Tree, load_snapshot
from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.errors import NotSolvent
from zkmargin.circuits.schema import StatementModel, validate
from zkmargin.circuits.statement import from_model
from zkmargin.prover import witness
from zkmargin.prover.commitment import Opening
from zkmargin.service.client.signing import RequestSigner
from zkmargin.service.ledger import accounts, audit, callers, credits, epochs, portfolio, trades
from zkmargin.service.ledger.consent import Proved
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.refusals import Conflict, PositionLimit

OPS, ALICE, BOB, EVIL, HONEST = "operator/ops", "account/alice", "account/bob", "venue/evil", "venue/honest"
CREDITS, TRADES = "/v1/credits", "/v1/trades"
#: A trade near the mark: the maker buys.
LEGS = (("PERPETUAL-2", "1"), ("QUOTE-0", "-64"))


@pytest.fixture(params=DATABASES)
def tampered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A hub with a venue of a small cap and an honest one, and two accounts."""
    with fresh_url(request.param, tmp_path_factory.mktemp("hub")) as url, started(url) as made:
        made.session.venue("evil", cap="1")
        made.session.venue("honest")
        for name in ("alice", "bob"):
            made.session.account(name)
        yield made


@pytest.fixture
def world(tampered: World) -> Iterator[World]:
    """The same, whose ledger must be clean at the end, proofs and all."""
    yield tampered
    assert audit.run(tampered.hub.ledger).findings == []


def held(world: World, account: str, snapshot: Any = None) -> dict[str, Any]:
    """What the holder reads in its opening, in units."""
    snapshot = snapshot or world.snapshot
    opening, _ = world.session.opening(account, snapshot)
    pairs = zip(snapshot.instruments, opening.lots, strict=True)
    return {inst.id: lots * inst.lot for inst, lots in pairs if lots}


def credit(world: World, account: str, venue: str, amount: str, snapshot: Any = None, *, used: bool = False) -> str:
    """Issue a credit, all of it used if asked; gives its path."""
    s = world.session
    body = s.credit_body(account, snapshot or world.snapshot, spoke=venue, amount=amount)
    path = f"{CREDITS}/{s.ok(f'venue/{venue}', 'POST', CREDITS, body)['credit']}"
    if used:
        s.ok(f"venue/{venue}", "POST", f"{path}/consume", {"sequence": 1, "amount": amount})
    return path


def can_prove(world: World, account: str, amount: str, snapshot: Any = None) -> bool:
    """Whether the holder can prove that the account is good for so much more."""
    try:
        world.session.proof(account, snapshot or world.snapshot, spoke="honest", amount=amount)
    except NotSolvent:
        return False
    return True


# Fills and payments.

#: At prices from anywhere, of any size, of what is not listed, and of credit itself.
HOSTILE_FILLS: tuple[tuple[tuple[str, str], ...], ...] = (
    (("PERPETUAL-2", "10000"), ("QUOTE-0", "-668200")), (("QUOTE-0", "-1000"),), (("CREDIT-1", "-500"),),
    (("SPOT-3", "999999999"), ("SPOT-3", "-999999999")), (("NOPE", "0.0000001"),),
)  # fmt: skip


def test_a_credit_of_a_cent_drains_nobody(world: World) -> None:
    """Reports of any fills move no position and no epoch; what the venue can be paid is the cent."""
    s = world.session
    credit(world, "alice", "honest", "500")
    path = credit(world, "alice", "evil", "0.01")
    before = held(world, "alice")
    epoch = s.ok(ALICE, "GET", "/v1/accounts/alice")["epoch"]
    fills = [{"instrument": name, "quantity": quantity} for legs in HOSTILE_FILLS for name, quantity in legs]
    assert s.ok(EVIL, "POST", f"{path}/consume", {"sequence": 1, "amount": "0.01", "fills": fills})["attested"] is None
    assert held(world, "alice") == before == {"QUOTE-0": 1000, "CREDIT-1": before["CREDIT-1"]}
    assert s.ok(ALICE, "GET", "/v1/accounts/alice")["epoch"] == epoch
    for amount in ("0.02", "1000"):
        body = {"sequence": 2, "used": amount, "paid": amount}
        world.refused("amount-unavailable", 409, EVIL, "POST", f"{path}/release", body)
    s.ok(EVIL, "POST", f"{path}/release", {"sequence": 2, "used": "0.01", "paid": "0.01"})
    body = {"sequence": 3, "used": "0.01", "paid": "0.01"}
    world.refused("amount-unavailable", 409, EVIL, "POST", f"{path}/release", body)
    assert float(held(world, "alice")["QUOTE-0"]) == 999.99
    assert can_prove(world, "alice", "499.99")
    assert not can_prove(world, "alice", "500")


def test_reports_tell_nothing_of_what_is_held(world: World) -> None:
    """The same reports on accounts that hold quite different things get the same answers."""
    s = world.session
    s.ok(OPS, "POST", "/v1/accounts/bob/deposits", {"instrument": "SPOT-3", "quantity": "999", "reference": "r"})
    answers: dict[str, list[Tree]] = {"alice": [], "bob": []}
    for name, told in answers.items():
        path = credit(world, name, "evil", "0.10")
        for sequence, legs in enumerate(HOSTILE_FILLS, 1):
            fills = [{"instrument": i, "quantity": q} for i, q in legs]
            body = {"sequence": sequence, "amount": "0.01", "fills": fills}
            told.append(s.ok(EVIL, "POST", f"{path}/consume", body))
    same = ("amount", "free", "used", "released", "state", "sequence", "attested")
    first, second = ([{part: a[part] for part in same} for a in told] for told in answers.values())
    assert first == second


def test_a_payment_leaves_equity_less_credit_as_it_was(world: World) -> None:
    """Cash and live credit fall by the same: what can be proved besides is the same to the cent, before and after."""
    s = world.session
    path = credit(world, "alice", "honest", "600", used=True)

    def exactly(amount: str, more: str) -> None:
        assert can_prove(world, "alice", amount)
        assert not can_prove(world, "alice", more)

    exactly("400", "400.01")
    s.ok(HONEST, "POST", f"{path}/release", {"sequence": 2, "used": "250.37", "paid": "250.37"})
    assert {k: str(float(v)) for k, v in held(world, "alice").items()} == {"QUOTE-0": "749.63", "CREDIT-1": "349.63"}
    assert s.ok(OPS, "GET", "/v1/venues/honest")["exposure"] == "349.63"
    exactly("400", "400.01")
    # What is released unpaid is the account's again; what is paid of it is not.
    s.ok(HONEST, "POST", f"{path}/release", {"sequence": 3, "used": "100", "paid": "40"})
    exactly("460", "460.01")
    s.ok(OPS, "POST", f"{path}/release", {"sequence": 4, "used": "249.63"})
    exactly("709.63", "709.64")


def test_a_payment_is_booked_once(world: World) -> None:
    """The same signed request again, and the same report under another key."""
    s = world.session
    path = credit(world, "alice", "honest", "100", used=True)
    body = {"sequence": 2, "used": "60", "paid": "60"}
    first = s.ok(HONEST, "POST", f"{path}/release", body, key="pay")
    assert s.ok(HONEST, "POST", f"{path}/release", body, key="pay") == first
    world.refused("sequence-conflict", 409, HONEST, "POST", f"{path}/release", body)
    assert held(world, "alice")["QUOTE-0"] == 940


# Trades.


def test_a_trade_moves_both_accounts_at_once(world: World) -> None:
    """Both epochs rise by one, the legs are there, credits stay; a repeated request is the same trade."""
    s = world.session
    credit(world, "alice", "honest", "300")
    before = {name: s.ok(OPS, "GET", f"/v1/accounts/{name}")["epoch"] for name in ("alice", "bob")}
    body = s.trade_body("alice", "bob", world.snapshot, spoke="evil", legs=LEGS)
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
    body = s.trade_body("alice", "bob", world.snapshot, spoke="evil", legs=LEGS)
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


def sided(tree: Tree) -> Proved:
    """A side as the ledger takes it."""
    statement = from_model(validate(StatementModel, tree["statement"], name="statement"))
    return Proved(statement, bytes.fromhex(tree["proof"]["proof"]), canonical_bytes(tree["authorisation"]))


def test_two_trades_of_the_same_accounts_crosswise(world: World) -> None:
    """Maker and taker exchanged, at the same time, on the same epochs: one is booked, and nobody waits for ever."""
    s = world.session
    bodies = [
        s.trade_body(a, b, world.snapshot, spoke="evil", legs=LEGS) for a, b in (("alice", "bob"), ("bob", "alice"))
    ]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda body: s.call(EVIL, "POST", TRADES, body), bodies))
    assert sorted(a.status_code for a in answers) == [201, 409]
    assert {a.json().get("code") for a in answers} == {None, "stale-epoch"}


Spoil = Callable[[World], Tree]


def _sides(world: World, maker: Any, taker: Any, *, spokes: tuple[str, str] = ("evil", "evil")) -> Tree:
    s = world.session
    return {
        "maker": s.side("alice", world.snapshot, spoke=spokes[0], legs=maker),
        "taker": s.side("bob", world.snapshot, spoke=spokes[1], legs=taker),
    }


def _emptied(world: World) -> Tree:
    """A trade whose legs are gone."""
    body = _sides(world, LEGS, BACK)
    for role in trades.SIDES:
        body[role]["statement"]["delta"] = []
    return body


BACK = (("PERPETUAL-2", "-1"), ("QUOTE-0", "64"))
UNFAIR: list[tuple[str, Spoil, str, str]] = [
    ("not conserved", lambda w: _sides(w, LEGS, (BACK[0], ("QUOTE-0", "64.01"))), "statement-refused",
     "taker.statement.delta"),
    ("one leg more", lambda w: _sides(w, LEGS, (*BACK, ("SPOT-3", "1"))), "statement-refused", "taker.statement.delta"),
    ("a gift from nobody", lambda w: _sides(w, (("QUOTE-0", "5"),), (("SPOT-3", "1"),)), "statement-refused",
     "taker.statement.delta"),
    ("both receive", lambda w: _sides(w, (("QUOTE-0", "5"),), (("QUOTE-0", "5"),)), "statement-refused",
     "taker.statement.delta"),
    ("nothing", _emptied, "malformed-input", "statement.delta"),
    ("maker proved for another spoke", lambda w: _sides(w, LEGS, BACK, spokes=("honest", "evil")), "statement-refused",
     "statement.context.spoke"),
    ("taker proved for another spoke", lambda w: _sides(w, LEGS, BACK, spokes=("evil", "honest")), "statement-refused",
     "statement.context.spoke"),
    ("one account with itself", lambda w: {
        "maker": w.session.side("alice", w.snapshot, spoke="evil", legs=LEGS),
        "taker": w.session.side("alice", w.snapshot, spoke="evil", legs=BACK),
     }, "malformed-input", "taker.statement.context.account"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "code", "field"), [u[1:] for u in UNFAIR], ids=[u[0] for u in UNFAIR])
def test_a_trade_that_is_none(world: World, make: Spoil, code: str, field: str) -> None:
    tree = world.refused(code, 422, EVIL, "POST", TRADES, make(world))
    assert tree["field"] == field


def test_a_trade_without_both_proofs(world: World) -> None:
    """Missing, another's, spoiled, or of other legs than the statement's: of either side."""
    whole = world.session.trade_body("alice", "bob", world.snapshot, spoke="evil", legs=LEGS)
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
        s.side("alice", world.snapshot, spoke="evil", legs=legs)
    body = {
        "maker": s.side("alice", world.snapshot, spoke="evil", legs=LEGS),
        "taker": s.side("bob", world.snapshot, spoke="evil", legs=(BACK[0], ("QUOTE-0", "164"))),
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
    body = s.trade_body("alice", "bob", narrow, spoke="evil", legs=(("PERPETUAL-2", "1.01"), ("QUOTE-0", "-65")))
    fine = s.trade_body("alice", "bob", narrow, spoke="evil", legs=LEGS)
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
    body = s.trade_body("alice", "bob", world.snapshot, spoke="evil", legs=LEGS)
    newer = snapshot_at(world.clock())
    s.publish(newer)
    tree = world.refused("stale-snapshot", 409, EVIL, "POST", TRADES, body)
    assert tree["newest"] == newer.digest.hex()
    out = s.withdrawal_body("alice", world.snapshot, instrument="QUOTE-0", quantity="10")
    world.refused("stale-snapshot", 409, ALICE, "POST", "/v1/accounts/alice/withdrawals", out)
    s.ok(EVIL, "POST", TRADES, s.trade_body("alice", "bob", newer, spoke="evil", legs=LEGS))


def test_a_trade_where_nothing_may_move(world: World) -> None:
    """A frozen side, an open breaker, a suspended venue, an epoch that is over, and callers that are no venue."""
    s = world.session
    body = s.trade_body("alice", "bob", world.snapshot, spoke="evil", legs=LEGS)
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


# Relisting.


def relisted(world: World, change: Callable[[dict[str, Tree]], None]) -> Any:
    """Publish a snapshot of another registry."""
    world.clock.now += 10
    tree = json.loads(snapshot_at(world.clock()).to_bytes())
    lines = {line["id"]: line for line in tree["instruments"]}
    change(lines)
    newer = load_snapshot(tree | {"instruments": list(lines.values())})
    assert newer.registry_digest != world.snapshot.registry_digest
    world.session.publish(newer)
    return newer


def other_lot(line_id: str, lot: str) -> Callable[[dict[str, Tree]], None]:
    """The line in other lots."""

    def change(lines: dict[str, Tree]) -> None:
        line = lines[line_id]
        sign = "-" if line["kind"] == "credit" else ""
        line |= {"lot": lot, "values": [f"{sign}{lot}" for _ in line["values"]]}

    return change


def test_finer_credit_lots_keep_the_credit_whole(world: World) -> None:
    """Two credits in lots of a fifth of a quantum: what is used and paid takes the same from cash and from credit."""
    s = world.session
    paths = [credit(world, "alice", "evil", "0.5", used=True) for _ in range(2)]
    newer = relisted(world, other_lot("CREDIT-1", "0.002"))
    s.ok(ALICE, "POST", "/v1/accounts/alice/epochs")
    assert held(world, "alice", newer) == {"QUOTE-0": 1000, "CREDIT-1": 1}
    s.ok(EVIL, "POST", f"{paths[0]}/release", {"sequence": 2, "used": "0.25", "paid": "0.25"})
    assert held(world, "alice", newer) == {"QUOTE-0": Fraction("999.75"), "CREDIT-1": Fraction("0.75")}
    assert can_prove(world, "alice", "999", newer)
    assert not can_prove(world, "alice", "999.01", newer)


def test_a_delisted_instrument_keeps_nobodys_exposure_up(world: World) -> None:
    """Its holder's deposits, releases and expiry go on under the registry that it is committed under."""
    s = world.session
    s.ok(OPS, "POST", "/v1/accounts/alice/deposits", {"instrument": "SPOT-3", "quantity": "1", "reference": "r-1"})
    path = credit(world, "alice", "honest", "10", used=True)
    credit(world, "alice", "honest", "20")
    credit(world, "bob", "honest", "30")
    relisted(world, lambda lines: lines.pop("SPOT-3") and None)
    world.refused("position-limit", 409, ALICE, "POST", "/v1/accounts/alice/epochs")
    s.ok(OPS, "POST", "/v1/accounts/alice/deposits", {"instrument": "QUOTE-0", "quantity": "5", "reference": "r-2"})
    s.ok(HONEST, "POST", f"{path}/release", {"sequence": 2, "used": "10", "paid": "4"})
    with world.later(3600 + 61):
        assert credits.sweep(world.ledger) == 2
    assert s.ok(OPS, "GET", "/v1/venues/honest")["exposure"] == "0"
    assert held(world, "alice") == {"QUOTE-0": 1001, "SPOT-3": 1}


def test_a_credit_that_cannot_expire_stops_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck, free = (credit(world, name, "honest", "10").rpartition("/")[2] for name in ("alice", "bob"))
    real = credits.expire

    def expire(ledger: Ledger, tx: Connection, name: str) -> Tree:
        if name == stuck:
            raise PositionLimit("stuck", field="account")
        return real(ledger, tx, name)

    monkeypatch.setattr(credits, "expire", expire)
    with world.later(3600 + 61):
        assert credits.sweep(world.ledger) == 1
    states = [world.session.ok(OPS, "GET", f"{CREDITS}/{name}")["state"] for name in (stuck, free)]
    assert states == ["live", "closed"]


def test_an_asset_listed_again_as_another_kind_moves_nobody(world: World) -> None:
    s = world.session
    s.ok(OPS, "POST", "/v1/accounts/alice/deposits", {"instrument": "SPOT-3", "quantity": "1", "reference": "r-1"})

    def exchanged(lines: dict[str, Tree]) -> None:
        lines["SPOT-3"] |= {"kind": "perpetual"}

    relisted(world, exchanged)
    world.refused("position-limit", 409, ALICE, "POST", "/v1/accounts/alice/epochs")


# Insiders: what a hub's own code could be made to do, and the audit finds.


def findings(world: World) -> list[str]:
    """Of a book that remembers nothing."""
    return audit.run(Ledger.open(world.hub.database, world.hub.ring, clock=world.clock)).findings


def test_a_false_commitment_of_a_middle_epoch_is_found(tampered: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """For one epoch the account holds more than it does, gets a credit on it, and is then committed truly again."""
    real, made = epochs.commit, []

    def generous(lots: list[int], domain: int) -> tuple[bytes, Opening]:
        commitment, opening = real([lots[0] + 10**6, *lots[1:]], domain)
        made.append(opening.blinding)
        return commitment, replace(opening, lots=tuple(lots))

    with monkeypatch.context() as patched:
        patched.setattr(epochs, "commit", generous)
        tampered.session.ok(ALICE, "POST", "/v1/accounts/alice/epochs")
    assert len(made) == 1
    tampered.session.ok(ALICE, "POST", "/v1/accounts/alice/epochs")
    assert findings(tampered) == ["event alice/3: the attested commitment is not of what the account then held"]


def test_an_attestation_that_no_event_made_is_found(tampered: World) -> None:
    """Signed by the hub's own key and logged, for an epoch that the account has not reached."""

    def unit(tx: Connection) -> None:
        account = epochs.read_account(tampered.ledger, tx, "alice", lock=True)
        named = epochs.attested(tx, "alice", account.epoch)
        epochs.attest(tampered.ledger, tx, replace(account, epoch=99), named.commitment, tampered.clock())

    tampered.ledger.database.write(unit)
    assert findings(tampered) == ["attestations that no event made, or none of an event"]


def test_a_credit_on_a_looser_statement_is_found(tampered: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A true proof of a statement that no hub takes: at maintenance level."""
    s = tampered.session
    body = s.credit_body("alice", tampered.snapshot, spoke="honest", amount="100", level="maintenance")
    monkeypatch.setattr(credits, "_expect_eligible", lambda *a: tampered.snapshot)
    tampered.ledger.database.write(
        lambda tx: credits.reserve(tampered.ledger, tx, "honest", sided(body), 10_000, tampered.clock() + 100)
    )
    assert findings(tampered) == ["event alice/3: the statement is a looser one"]


def test_a_trade_that_an_insider_books_unconserved_is_found(tampered: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both proofs are true, of legs that do not match."""
    body = _sides(tampered, (("QUOTE-0", "5"),), (("QUOTE-0", "-1"),))
    maker, taker = (sided(body[role]) for role in trades.SIDES)
    real, seen = accounts.legs, []

    class Opposite(dict[str, int]):
        def __eq__(self, other: object) -> bool:
            seen.append(other)
            return True

        __hash__ = None  # type: ignore[assignment]

        def __ne__(self, other: object) -> bool:
            return not self == other

    monkeypatch.setattr(accounts, "legs", lambda *a: Opposite(real(*a)))
    tampered.ledger.database.write(lambda tx: trades.book_trade(tampered.ledger, tx, "evil", (maker, taker)))
    assert seen
    found = findings(tampered)
    assert len(found) == 1
    assert found[0].endswith("is not conserved")


# Keys and nonces.


@pytest.mark.parametrize("kind", DATABASES)
def test_two_keys_that_retire_each_other_leave_one(kind: str, tmp_path: Any) -> None:
    """At the same time, in two transactions that both saw two valid keys."""
    with fresh_url(kind, tmp_path) as url, started(url) as world:
        pair, now = (Signer(), Signer()), world.clock()
        world.hub.signers["venue/evil"] = pair[0]
        world.session.venue("evil")
        pair = (world.hub.signers[EVIL], pair[1])
        world.ledger.database.write(
            lambda tx: callers.admit(tx, "venue", "evil", pair[1].public, now=now, not_before=now)
        )
        kids = [RequestSigner(signer.key, "hub-1").keyid for signer in pair]
        both = threading.Barrier(2)

        def retire(kid: str) -> str:
            met = False

            def unit(tx: Connection) -> Tree:
                nonlocal met
                if not world.hub.database.sqlite:
                    # SQLite has one writer at a time: there the second waits before it looks.
                    assert len(callers.keys_of(tx, "venue", "evil")) == 2
                    if not met:
                        met = True
                        both.wait(30)
                return callers.retire(tx, "venue", "evil", kid, now)

            try:
                world.ledger.database.write(unit)
            except Conflict:
                return "refused"
            return "retired"

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(retire, kids)) == ["refused", "retired"]
        left = [
            r for r in world.ledger.database.read(lambda tx: callers.keys_of(tx, "venue", "evil")) if r.not_after > now
        ]
        assert len(left) == 1


def test_a_nonce_survives_a_host_whose_clock_is_ahead(world: World) -> None:
    """Another host of the hub, some way ahead, forgets nonces: a request that is still valid here stays used."""
    signer, http = RequestSigner(world.hub.operator.key, "hub-1"), world.session.http
    headers = signer.sign("GET", "/v1/venues", "", {}, b"", now=world.clock() - 55)
    assert http.get("/v1/venues", headers=headers).status_code == 200
    ahead = world.clock() + callers.NONCE_MARGIN - 10
    callers.forget_nonces(Ledger.open(world.hub.database, world.hub.ring, clock=lambda: ahead))
    world.is_problem(http.get("/v1/venues", headers=headers).json(), "request-replayed", 409)


@pytest.mark.parametrize("caller", [ALICE, EVIL, "oracle/feed"])
def test_an_operator_revokes_a_stolen_key(world: World, caller: str) -> None:
    """Even the last one of its owner, who then holds none; nobody's second revocation finds it."""
    s = world.session
    kid = RequestSigner(world.hub.signers[caller].key, "hub-1").keyid
    for other in (ALICE, HONEST):
        world.refused("forbidden", 403, other, "POST", f"/v1/keys/{kid}/revoke")
    assert s.ok(OPS, "POST", f"/v1/keys/{kid}/revoke")["not_after"] == world.clock()
    with world.later(1):
        world.refused("key-not-valid", 401, caller, "GET", "/v1/venues")
        world.refused("not-found", 404, OPS, "POST", f"/v1/keys/{kid}/revoke")
