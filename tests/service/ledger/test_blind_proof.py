"""The venue that is a thief: what it can make of a proof that a holder gave it. Each attack with its control.

A demand commits nobody, so a venue may demand anything, lie about what it wants, and send the hub whatever it likes. A
proof is knowledge of solvency, never consent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from tests.support.hubs import Signer
from tests.support.ledgers import DATABASES, World, fresh_url, started
from tests.support.toy import NOW, Tree, sample_account
from zkmargin.circuits.documents.statement import StatementModel, statement_from_model, to_tree
from zkmargin.circuits.purpose import ANY, ForCredit, ForTrade, ForWithdrawal, Purpose
from zkmargin.circuits.schema import validate
from zkmargin.service.client import (
    CreditRule,
    Demand,
    NotCovered,
    Policy,
    ShowRule,
    TradeRule,
    answer,
    offer_for,
    statement_for,
)
from zkmargin.service.client.holder import Attested, Holding, Prices
from zkmargin.service.ledger import audit, consent
from zkmargin.service.ledger.context import Ledger
from zkmargin.verifier.facts.attestation import Attestation, verify_attestation
from zkmargin.verifier.facts.hub_keys import public_key
from zkmargin.verifier.facts.snapshot_signature import SnapshotSignature

pytestmark = pytest.mark.slow

EVIL, ALICE = "venue/evil", "account/alice"
CREDITS, TRADES = "/v1/credits", "/v1/trades"
THEFT = (("QUOTE-0", "-950"),)


@pytest.fixture(params=DATABASES)
def world(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[World]:
    with fresh_url(request.param, tmp_path) as url, started(url) as made:
        for name in ("evil", "honest"):
            made.session.venue(name)
        for name in ("alice", "bob"):
            made.session.account(name)
        yield made


def wallet(world: World, account: str = "alice") -> tuple[Prices, Holding]:
    """What the holder's own tools hold."""
    opening, document = world.session.opening(account, world.snapshot)
    fact = verify_attestation(document, public_key(bytes.fromhex(world.hub.made["key"])))
    signature = SnapshotSignature("feed", world.snapshot.digest, world.snapshot.time, world.snapshot.time + 86400)
    return Prices(world.snapshot, signature, b"", b""), Holding(opening, Attested(fact, document, 0))


def shown(world: World, **changes: Any) -> Tree:
    """What the shipped holder answers to a demand to be shown solvency: a statement and its proof, nothing signed."""
    prices, holding = wallet(world)
    demand, now = Demand("evil", **({"amount": "500"} | changes)), world.clock()
    # As a person does who agrees to it at the console: no policy shows so much, nor what is after a trade.
    made = offer_for(statement_for(demand, prices, holding, now=now), prices, holding, key=None, now=now)
    assert made.authorisation is None
    return {"statement": json.loads(made.statement.to_bytes()), "proof": json.loads(made.to_bytes())["proof"]}


def unlocked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a hub that books on proofs alone, as it did."""
    monkeypatch.setattr(consent, "expect_authorised", lambda *a: None)


def forged(world: World, body: Tree, key: Signer) -> Tree:
    """The body with a signature of somebody's over its own statement."""
    world.hub.signers["account/forger"] = key
    stated = statement_from_model(validate(StatementModel, body["statement"], name="statement"))
    return body | world.session.authorised(stated, body["proof"], by="account/forger")


def relabelled(world: World, body: Tree, purpose: Purpose, **changes: Any) -> Tree:
    """The body with another purpose written into its statement, and the proof document made to name that."""
    statement = body["statement"] | {"purpose": to_tree(purpose)} | changes
    stated = statement_from_model(validate(StatementModel, statement, name="statement"))
    return {"statement": statement, "proof": body["proof"] | {"statement": stated.digest.hex()}}


def credit_of(world: World, body: Tree, amount: str = "500") -> Tree:
    return body | {"amount": amount, "expires": world.clock() + 3600}


def test_a_proof_that_shows_solvency_becomes_no_credit(world: World) -> None:
    """Whoever signs it, and whatever it is relabelled to: it is for another use, and the proof binds that."""
    body = shown(world)
    for signer in (world.hub.signers[ALICE], world.hub.signers[EVIL]):
        request = credit_of(world, forged(world, body, signer))
        tree = world.refused("statement-refused", 422, EVIL, "POST", CREDITS, request)
        assert tree["field"] == "statement.purpose"
    wanted = ForCredit("evil", "500", world.clock() + 3600)
    request = credit_of(world, forged(world, relabelled(world, body, wanted), world.hub.signers[EVIL]))
    world.refused("not-authorised", 403, EVIL, "POST", CREDITS, request)
    # Even with the holder's signature of the relabelled statement, nothing proves it.
    request = credit_of(world, forged(world, relabelled(world, body, wanted), world.hub.signers[ALICE]))
    world.refused("proof-rejected", 422, EVIL, "POST", CREDITS, request)


def test_a_statement_of_version_1_only_shows(world: World) -> None:
    """It has no purpose, so it is none of a credit, a trade or a withdrawal."""
    s = world.session
    body = s.credit_body("alice", world.snapshot, venue="evil", amount="500")
    older = {k: v for k, v in body["statement"].items() if k != "purpose"} | {"schema": "zkmargin/statement/1"}
    stated = statement_from_model(validate(StatementModel, older, name="statement"))
    request = body | s.authorised(stated, body["proof"] | {"statement": stated.digest.hex()})
    world.refused("statement-refused", 422, EVIL, "POST", CREDITS, request)


def test_a_demand_of_one_leg_takes_nothing(world: World) -> None:
    """The worst found: -950 in cash as a delta, which the shipped holder proved and the venue booked as a trade."""
    s = world.session
    mine = s.side("bob", world.snapshot, venue="evil", legs=(("QUOTE-0", "950"),))
    body = shown(world, amount="0", delta=THEFT)
    for signer in (world.hub.signers[ALICE], world.hub.signers[EVIL]):
        side = forged(world, body, signer)
        tree = world.refused("statement-refused", 422, EVIL, "POST", TRADES, {"maker": side, "taker": mine})
        assert tree["field"] == "statement.purpose"
    # As a trade the shipped holder refuses it: by its policy, and where that is generous by the limit.
    prices, holding = wallet(world)
    key = world.hub.signers[ALICE].key
    for limit, policy, where in (
        ("950", Policy(), "statement.context.spoke"),
        ("950", Policy(trades=(TradeRule("evil", ("QUOTE-0",), "5", (ANY,)),)), "statement.purpose.limit"),
    ):
        demand = Demand("evil", "0", delta=THEFT, purpose=ForTrade(limit, ANY))
        with pytest.raises(NotCovered) as refused:
            answer(demand, prices, holding, policy=policy, key=key, now=world.clock())
        assert refused.value.field == where


def test_a_trade_beyond_its_limit_is_no_statement(world: World) -> None:
    """What the legs may take at the marks stands in the statement: nobody can prove one whose legs take more."""
    s = world.session
    with pytest.raises(Exception, match="the legs take more than this"):
        s.side("alice", world.snapshot, venue="evil", legs=THEFT, purpose=ForTrade("949.99", ANY))
    s.side("alice", world.snapshot, venue="evil", legs=THEFT, purpose=ForTrade("950", ANY))


@pytest.mark.parametrize("role", ["maker", "taker"])
def test_a_trade_with_another_than_was_authorised(world: World, role: str) -> None:
    """The order of one holder against an account of the venue's own, where it was for somebody else."""
    s = world.session
    legs = (("PERPETUAL-2", "1"), ("QUOTE-0", "-64"))
    s.account("carol")
    for counterparty, booked in (("carol", False), ("bob", True)):
        body = {
            "maker": s.side("alice", world.snapshot, venue="evil", legs=legs),
            "taker": s.side("bob", world.snapshot, venue="evil", legs=(("PERPETUAL-2", "-1"), ("QUOTE-0", "64"))),
        }
        name, mine = ("alice", legs) if role == "maker" else ("bob", (("PERPETUAL-2", "-1"), ("QUOTE-0", "64")))
        other = counterparty if role == "maker" else {"carol": "carol", "bob": "alice"}[counterparty]
        body[role] = s.side(name, world.snapshot, venue="evil", legs=mine, purpose=ForTrade("100", other))
        if booked:
            s.ok(EVIL, "POST", TRADES, body)
        else:
            tree = world.refused("not-authorised", 403, EVIL, "POST", TRADES, body)
            assert tree["field"] == f"{role}.statement.purpose.counterparty"


def _unsigned(world: World, kind: str) -> tuple[str, str, Tree, Callable[[Tree, Tree], Tree]]:
    """(caller, path, a good body, how to put an authorisation into it) of every call that moves value on a proof."""
    s = world.session
    if kind == "credit":
        body = s.credit_body("alice", world.snapshot, venue="evil", amount="500")
        return EVIL, CREDITS, body, lambda b, a: b | {"authorisation": a}
    if kind == "withdrawal":
        body = s.withdrawal_body("alice", world.snapshot, instrument="QUOTE-0", quantity="500")
        return ALICE, "/v1/accounts/alice/withdrawals", body, lambda b, a: b | {"authorisation": a}
    legs = (("PERPETUAL-2", "1"), ("QUOTE-0", "-64"))
    body = s.trade_body("alice", "bob", world.snapshot, venue="evil", legs=legs)
    side = kind.removeprefix("trade-")
    return EVIL, TRADES, body, lambda b, a: b | {side: b[side] | {"authorisation": a}}


KINDS = ["credit", "withdrawal", "trade-maker", "trade-taker"]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_booked_on_a_proof_alone(world: World, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unsigned, signed by the venue, by another account, by a key that was revoked, or of another statement."""
    s = world.session
    caller, path, good, put = _unsigned(world, kind)
    mine = good[kind.removeprefix("trade-")] if kind.startswith("trade") else good
    stated = statement_from_model(validate(StatementModel, mine["statement"], name="statement"))
    owner = f"account/{stated.context.account}"

    def by(signer: str) -> Tree:
        tree: Tree = s.authorised(stated, mine["proof"], by=signer)["authorisation"]
        return tree

    spare = Signer()
    s.ok(owner, "POST", "/v1/keys", {"key": spare.public})
    world.hub.signers["account/spare"] = spare
    kid = next(k for k in _kids(world, owner) if k != _first(world, owner))
    stranger = "account/bob" if owner == ALICE else ALICE
    for signer in (EVIL, stranger, "operator/ops"):
        tree = world.refused("not-authorised", 403, caller, "POST", path, put(good, by(signer)))
        assert tree["field"] == "authorisation"
    world.refused("malformed-input", 422, caller, "POST", path, put(good, {"schema": "zkmargin/authorisation/1"}))
    other = s.credit_body(stated.context.account, world.snapshot, venue="evil", amount="1")["authorisation"]
    world.refused("statement-mismatch", 422, caller, "POST", path, put(good, other))
    s.ok(owner, "POST", f"/v1/keys/{kid}/retire")
    with world.later(1):
        world.refused("not-authorised", 403, caller, "POST", path, put(good, by("account/spare")))
    # The control: a hub that does not ask for it books the venue's signature. The audit finds it.
    before = audit.run(Ledger.open(world.hub.database, world.hub.ring, clock=world.clock)).findings
    unlocked(monkeypatch)
    s.ok(caller, "POST", path, put(good, by(EVIL)))
    found = audit.run(Ledger.open(world.hub.database, world.hub.ring, clock=world.clock)).findings
    assert not before
    assert len(found) == 1
    assert found[0].endswith("no key of the account authorises it")


def _kids(world: World, owner: str) -> list[str]:
    from zkmargin.service.ledger import callers

    rows = world.ledger.database.read(lambda tx: callers.keys_of(tx, "account", owner.partition("/")[2]))
    return [row.kid for row in rows]


def _first(world: World, owner: str) -> str:
    from zkmargin.service.client.signing import RequestSigner

    return RequestSigner(world.hub.signers[owner].key, "hub-1").keyid


def test_a_credit_is_no_more_and_no_longer_than_was_authorised(world: World) -> None:
    """Proved is more than authorised; and the other venue has none of it."""
    s = world.session
    end = world.clock() + 600
    body = s.credit_body("alice", world.snapshot, venue="evil", amount="500", purpose=ForCredit("evil", "100", end))
    over = body | {"amount": "100.01", "expires": end}
    assert world.refused("not-authorised", 403, EVIL, "POST", CREDITS, over)["authorised"] == "100"
    late = body | {"amount": "100", "expires": end + 1}
    assert world.refused("not-authorised", 403, EVIL, "POST", CREDITS, late)["authorised"] == end
    world.refused("statement-refused", 422, "venue/honest", "POST", CREDITS, body | {"amount": "1", "expires": end})
    s.ok(EVIL, "POST", CREDITS, body | {"amount": "100", "expires": end})
    world.refused("stale-epoch", 409, EVIL, "POST", CREDITS, body | {"amount": "100", "expires": end})


def test_a_withdrawal_goes_where_the_account_said(world: World) -> None:
    """The destination is in the statement that the key signed, and the journal keeps it for custody."""
    s = world.session
    body = s.withdrawal_body("alice", world.snapshot, instrument="QUOTE-0", quantity="10")
    moved = json.loads(json.dumps(body))
    moved["statement"]["purpose"]["destination"] = "thief-1"
    stated = statement_from_model(validate(StatementModel, moved["statement"], name="statement"))
    moved["proof"]["statement"] = stated.digest.hex()
    world.refused("statement-mismatch", 422, ALICE, "POST", "/v1/accounts/alice/withdrawals", moved)
    s.ok(ALICE, "POST", "/v1/accounts/alice/withdrawals", body)
    replayed = audit.run(Ledger.open(world.hub.database, world.hub.ring, clock=world.clock))
    assert not replayed.findings


@pytest.mark.parametrize("purpose", ["trade", "credit"])
def test_a_statement_for_one_use_is_good_for_no_other(world: World, purpose: str) -> None:
    """Every value-moving call with a statement that was authorised for each of the other uses."""
    s = world.session
    side = s.side("alice", world.snapshot, venue="evil", legs=(("QUOTE-0", "-10"),))
    credit = s.credit_body("alice", world.snapshot, venue="evil", amount="10")
    parts = ("statement", "proof", "authorisation")
    if purpose == "trade":
        request = {k: side[k] for k in parts} | {"amount": "1", "expires": world.clock() + 10}
        # A statement with legs and an amount of 0 covers no credit either way; its purpose is what is named.
        world.refused("statement-refused", 422, EVIL, "POST", CREDITS, request)
    else:
        taker = s.side("bob", world.snapshot, venue="evil", legs=(("QUOTE-0", "10"),))
        request = {"maker": {k: credit[k] for k in parts}, "taker": taker}
        world.refused("statement-refused", 422, EVIL, "POST", TRADES, request)
    out = {k: (side if purpose == "trade" else credit)[k] for k in parts} | {"instrument": "QUOTE-0", "quantity": "10"}
    tree = world.refused("statement-refused", 422, ALICE, "POST", "/v1/accounts/alice/withdrawals", out)
    assert tree["field"] in ("statement.purpose", "statement.context.spoke")


ALL = Policy(
    shows=(ShowRule("evil", "300", "2"),),
    credits=(CreditRule("evil", "100", 3600),),
    trades=(TradeRule("evil", ("QUOTE-0", "PERPETUAL-2"), "100", (ANY,)),),
)
LEGS = (("PERPETUAL-2", "1"), ("QUOTE-0", "-64"))
#: What a venue asks, under which policy it is answered, and the field that names why not (None: it is answered).
ASKED: list[tuple[str, Policy, Tree, str | None]] = [
    ("solvent or not", Policy(), {"amount": "0"}, None),
    ("a cent of equity", Policy(), {"amount": "0.01"}, "statement.amount"),
    ("most of the equity", Policy(), {"amount": "999"}, "statement.amount"),
    ("twice the margin", Policy(), {"amount": "0", "multiplier": "1.000001"}, "statement.multiplier"),
    ("half the margin", Policy(), {"amount": "0", "multiplier": "0.5"}, "statement.multiplier"),
    ("after a trade", Policy(), {"amount": "0", "delta": LEGS}, "statement.delta"),
    ("a year's buffer", Policy(), {"amount": "0", "max_horizon": 366 * 86400}, "statement.horizon"),
    ("as the rule shows", ALL, {"amount": "300", "multiplier": "2"}, None),
    ("above the rule", ALL, {"amount": "300.01"}, "statement.amount"),
    ("a multiplier above the rule", ALL, {"amount": "300", "multiplier": "2.1"}, "statement.multiplier"),
    ("another venue", ALL, {"venue": "honest", "amount": "300"}, "statement.amount"),
    ("after a trade, with a rule", ALL, {"amount": "0", "delta": LEGS}, "statement.delta"),
    ("nothing at all", Policy(show=False), {"amount": "0"}, "statement.purpose"),
    ("credit", replace(ALL, shows=()), {"amount": "100", "purpose": "100"}, None),
    ("a small credit that shows much", replace(ALL, shows=()), {"amount": "900", "purpose": "1"}, "statement.amount"),
    (
        "a credit at twice the margin", replace(ALL, shows=()), {"amount": "1", "purpose": "1", "multiplier": "2"},
        "statement.multiplier",
    ),
    ("a trade", replace(ALL, shows=()), {"amount": "0", "delta": LEGS, "purpose": ForTrade("0", ANY)}, None),
    (
        "a trade that shows much", replace(ALL, shows=()),
        {"amount": "500", "delta": LEGS, "purpose": ForTrade("0", ANY)}, "statement.amount",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "asked", "field"), [a[1:] for a in ASKED], ids=[a[0] for a in ASKED])
def test_an_answering_holder_is_no_oracle_of_its_equity(policy: Policy, asked: Tree, field: str | None) -> None:
    """A venue may ask as often as it likes, so what each answer may tell is bounded, whatever it is asked for."""
    account = sample_account(1)
    signature = SnapshotSignature("feed", account.snapshot.digest, NOW, NOW + 86400)
    fact = Attestation("hub-1", "alice", 1, account.commitment, 256, account.snapshot.registry_digest, NOW)
    asked = {"venue": "evil"} | asked
    if isinstance(asked.get("purpose"), str):
        asked["purpose"] = ForCredit(asked["venue"], asked["purpose"], NOW + 60)
    prices, holding = Prices(account.snapshot, signature, b"", b""), Holding(account.opening, Attested(fact, b"", 0))
    demand = Demand.from_bytes(Demand(**asked).to_bytes())
    policy = Policy.from_bytes(policy.to_bytes())
    stated = statement_for(demand, prices, holding, now=NOW)
    if field is None:
        policy.check(stated, account.snapshot, NOW)
        return
    with pytest.raises(NotCovered) as refused:
        answer(demand, prices, holding, policy=policy, key=Signer().key, now=NOW)
    assert refused.value.field == field


def test_a_venue_that_asks_again_and_again_gets_the_total(world: World) -> None:
    """Each credit is within its rule; together they may come to no more than the rule's total."""
    key = world.hub.signers[ALICE].key
    rules = {total: Policy(credits=(CreditRule("evil", "100", 3600, total),)) for total in (None, "250")}

    def offered(total: str | None, amount: str) -> Tree:
        prices, holding = wallet(world)
        demand = Demand.credit("evil", amount, expires=world.clock() + 60)
        made = answer(demand, prices, holding, policy=rules[total], key=key, now=world.clock())
        return made.evidence() | {"amount": amount, "expires": world.clock() + 60}

    for amount in ("100", "100", "50"):
        world.session.ok(EVIL, "POST", CREDITS, offered("250", amount))
    with pytest.raises(NotCovered) as refused:
        offered("250", "0.01")
    assert refused.value.field == "statement.purpose.amount"
    # The control: without a total the next one is answered too.
    offered(None, "100")
    # And where nobody knows what is owed, a rule with a total covers nothing.
    prices, holding = wallet(world)
    stated = statement_for(Demand.credit("evil", "1", expires=world.clock() + 60), prices, holding, now=world.clock())
    policy = Policy.from_bytes(rules["250"].to_bytes())
    with pytest.raises(NotCovered):
        policy.check(stated, world.snapshot, world.clock())
    policy.check(stated, world.snapshot, world.clock(), owed=Fraction(249))


def test_a_demand_to_withdraw_is_none() -> None:
    """Nobody but the holder asks for a withdrawal, so no holder's tool can be made to answer one."""
    demand = Demand("hub-1", "0", delta=THEFT, purpose=ForWithdrawal("thief-1"))
    with pytest.raises(Exception, match="nobody demands a withdrawal"):
        Demand.from_bytes(demand.to_bytes())


def test_what_is_signed_is_the_statement_and_nothing_a_request_could_be(world: World) -> None:
    """The holder's key signs requests too: neither signature can pass for the other."""
    s = world.session
    body = s.credit_body("alice", world.snapshot, venue="evil", amount="1")
    token = body["authorisation"]["jws"]
    signed_text = token.rpartition(".")[0]
    assert '"' not in signed_text
    assert " " not in signed_text  # a signature base of RFC 9421 begins with a quote
