"""The client's flows against a real server: the whole life of a credit and of a trade, sync and async."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from tests.support.client_world import (
    GENEROUS,
    Tree,
    World,
    held,
    trade_of,
)
from tests.support.hubs import Signer
from zkmargin.circuits.errors import (
    MalformedInput,
    ProofRejected,
    SignatureRejected,
    StaleStatement,
    StatementMismatch,
    ZkMarginError,
)
from zkmargin.circuits.purpose import ForTrade
from zkmargin.prover.errors import NotSolvent
from zkmargin.service import client as hubs
from zkmargin.service.client import (
    Demand,
    Flow,
    HubProblem,
    Offer,
)
from zkmargin.service.client.exchange import post
from zkmargin.service.client.trust import from_bytes
from zkmargin.service.keys.signing import sign_attestation
from zkmargin.verifier.facts.attestation import verify_attestation


@pytest.mark.slow
@pytest.mark.parametrize("way", ["run", "run_async"])
def test_the_whole_life_of_a_credit(world: World, way: str) -> None:
    run = getattr(world, way)
    name, venue = f"life-{way.replace('_', '-')}", world.fresh()
    me = f"account/{name}"
    secret = world.open(name)
    prices = run(None, hubs.fetch_prices([Signer().key.public_key(), world.hub.oracle.key.public_key()]))
    assert prices == run(
        None, hubs.fetch_prices([world.hub.oracle.key.public_key()], digest=prices.snapshot.digest.hex())
    )

    def holding() -> hubs.Holding:
        return run(me, hubs.fetch_holding(world.trust, name, secret.encryption, prices.snapshot))

    end = int(time.time()) + 600

    def answer(demand: Demand) -> Offer:
        return hubs.answer(demand, prices, holding(), policy=GENEROUS, key=secret.key)

    def withdrawn(quantity: str) -> Any:
        own = holding()
        stated = hubs.withdrawal_statement(prices, own, instrument="QUOTE-0", quantity=quantity, destination="vault-1")
        signed = hubs.authorise(stated, secret.key, now=int(time.time()))
        return run(me, hubs.withdraw(world.trust, prices, own, statement=stated, authorisation=signed))

    wanted = Demand.credit("spoke-a", "300", expires=end, caip2="eip155:1", overlays=(), delta=())
    demand = Demand.from_bytes(wanted.to_bytes())
    assert demand == wanted
    offer = Offer.from_bytes(answer(demand).to_bytes())
    assert run(None, hubs.check_offer(venue, demand, offer, prices)).attestation.epoch == 2
    first = run("venue/spoke-a", hubs.request_credit(venue, demand, offer, prices, expires=end, key=f"once-{way}"))
    again = run("venue/spoke-a", hubs.request_credit(venue, demand, offer, prices, expires=end, key=f"once-{way}"))
    assert first == again
    assert first.attested is not None
    with pytest.raises(StaleStatement):
        run(None, hubs.check_offer(venue, demand, offer, prices))
    with pytest.raises(HubProblem) as stale:
        run("venue/spoke-a", hubs.request_credit(venue, demand, offer, prices, expires=end))
    assert (stale.value.code, set(stale.value.extensions)) == ("stale-epoch", {"instance"})  # not which epoch it is
    with pytest.raises(NotSolvent):
        answer(Demand.credit("spoke-a", "701", expires=end))

    legs = [("PERPETUAL-2", "1"), ("QUOTE-0", "-64.25")]
    before = holding().opening.lots
    used = run("venue/spoke-a", hubs.consume(venue, first.entry, amount="100", fills=legs))
    assert (used.entry.used, used.entry.sequence, used.attested) == ("100", 1, None)
    assert holding().opening.lots == before  # a report moves nothing
    more = run("venue/spoke-a", hubs.consume(venue, used.entry, amount="0.5"))
    back = run("venue/spoke-a", hubs.release(venue, more.entry, free="199.5", used="50", paid="20"))
    assert (back.entry.used, back.entry.released, back.entry.state) == ("50.5", "249.5", "live")
    cash = prices.snapshot.index["QUOTE-0"]
    assert (before[cash] - holding().opening.lots[cash]) * prices.snapshot.instruments[cash].lot == 20
    with pytest.raises(MalformedInput):
        run("venue/spoke-a", hubs.release(venue, back.entry, used="1", paid="1.5"))
    assert run("venue/spoke-a", hubs.fetch_credit(venue, first.entry.credit, held=more.entry)).entry == back.entry
    assert [c.entry for c in run(me, hubs.fetch_credits(world.trust, live=True))] == [back.entry]
    with pytest.raises(StatementMismatch):  # the one held is newer
        run("venue/spoke-a", hubs.fetch_credit(venue, first.entry.credit, held=replace(back.entry, sequence=9)))

    demand = Demand.credit("spoke-a", "1", expires=end)
    offer = answer(demand)
    soon = run("venue/spoke-a", hubs.request_credit(venue, demand, offer, prices, expires=end))
    world.end(soon)
    while True:
        try:
            gone = run("venue/spoke-a", hubs.expire(venue, soon.entry))
            break
        except HubProblem as early:
            assert early.code == "not-expired"  # noqa: PT017 - it is raised until it is not
            time.sleep(0.3)
    assert (gone.entry.state, gone.entry.released) == ("closed", "1")

    out = withdrawn("10")
    assert run(me, hubs.recommit(world.trust, name)).attestation.epoch == out.attestation.epoch + 1
    with pytest.raises(NotSolvent):
        withdrawn("990")
    with pytest.raises(HubProblem, match="no such account"):
        run("venue/spoke-a", hubs.fetch_attestation(venue, name))
    run(me, hubs.set_grant(name, "spoke-a", granted=True))
    assert run("venue/spoke-a", hubs.fetch_attestation(venue, name, epoch=2)).attestation.epoch == 2
    run(me, hubs.set_grant(name, "spoke-a", granted=False))
    assert run(me, hubs.fetch_account(name))["live_credit"] == "50.5"
    assert run(None, hubs.fetch_head(venue)).size == venue.head.size
    assert from_bytes(venue.to_bytes()) == venue


def test_a_trade_moves_the_legs_from_one_account_to_the_other_and_makes_nothing(world: World) -> None:
    trust, before = world.fresh(), held(world)
    maker, taker = trade_of(world)
    flow = hubs.book_trade(trust, maker, taker, world.prices(), key="trade-1")
    done = world.run("venue/spoke-a", flow)
    again = world.run("venue/spoke-a", hubs.book_trade(trust, maker, taker, world.prices(), key="trade-1"))
    assert again == done
    for attested, (_, offer) in ((done.maker, maker), (done.taker, taker)):
        context = offer.statement.context
        assert (attested.attestation.account, attested.attestation.epoch) == (context.account, context.epoch + 1)
        assert trust.newest(context.account) == context.epoch + 1
    after = held(world)
    moved = [[b - a for a, b in zip(before[name], after[name], strict=True)] for name in ("alice", "bob")]
    assert [a + b for a, b in zip(*moved, strict=True)] == [0] * 6
    row = world.snapshot.index["PERPETUAL-2"]
    assert moved[0][row] * world.snapshot.instruments[row].lot == 2
    with pytest.raises(HubProblem) as stale:
        world.run("venue/spoke-a", hubs.book_trade(trust, maker, taker, world.prices()))
    assert stale.value.code == "stale-epoch"


def test_two_offers_that_are_no_trade_are_not_sent(world: World) -> None:
    (demand, offer), (counter, other) = trade_of(world)
    asked = demand.nonce
    wrong = replace(other.statement, delta=(("PERPETUAL-2", "-2"), ("QUOTE-0", "64.26")))
    cases: list[tuple[tuple[Demand, Offer], str]] = [
        ((demand, offer), "taker.statement.context.account"),
        ((counter, replace(other, statement=wrong)), "taker.statement.delta"),
        ((replace(counter, nonce=asked), other), "statement.context.nonce"),
    ]
    for taker, place in cases:
        flow = hubs.book_trade(world.fresh(), (demand, offer), taker, world.prices())
        with pytest.raises(StatementMismatch) as refused:
            world.run("venue/spoke-a", flow)
        assert refused.value.field == place
    flipped = replace(other, proof=bytes([*other.proof[:-1], other.proof[-1] ^ 1]))
    flow = hubs.book_trade(world.fresh(), (demand, offer), (counter, flipped), world.prices())
    with pytest.raises(ProofRejected):
        world.run("venue/spoke-a", flow)


def send_trade(*sides: Offer) -> Flow[Tree]:
    """As a venue that checks nothing."""
    body = {"maker": sides[0].evidence(), "taker": sides[1].evidence()}
    return (yield post("/v1/trades", body, idempotency_key=hubs.new_idempotency_key())).json()


def test_the_hub_books_no_trade_that_makes_value_or_is_another_venues(world: World) -> None:
    """Whatever a venue colludes in: both proofs hold, and the legs do not match."""
    world.credit("alice", world.fresh(), "5")
    (_, maker), (_, taker) = trade_of(world)
    credit = next(i.id for i in world.snapshot.instruments if i.kind == "credit")
    before = held(world)

    def offer(name: str, *legs: tuple[str, str], venue: str = "spoke-a") -> Offer:
        return world.answer(name, Demand(venue, "0", delta=legs, purpose=ForTrade("1000000", "any")))

    cases = [
        (maker, offer("bob", ("PERPETUAL-2", "-1"), ("QUOTE-0", "64.25"))),
        (maker, offer("bob", ("PERPETUAL-2", "-2"))),
        (maker, offer("alice", ("PERPETUAL-2", "-2"), ("QUOTE-0", "64.25"))),
        (maker, offer("bob", ("PERPETUAL-2", "-2"), ("QUOTE-0", "64.25"), venue="spoke-b")),
    ]
    # What is no trade at all is not even proved: no legs, and credit as a leg.
    with pytest.raises(MalformedInput):
        offer("alice")
    with pytest.raises(StatementMismatch):
        offer("alice", (credit, "-1"))
    for sides in cases:
        with pytest.raises(HubProblem) as refused:
            world.run("venue/spoke-a", send_trade(*sides))
        assert refused.value.code in ("statement-refused", "malformed-input")
    with pytest.raises(HubProblem, match="only for"):
        world.run("account/alice", send_trade(maker, taker))
    with pytest.raises(NotSolvent):  # more than the account can pay
        offer("bob", ("QUOTE-0", "-100000"))
    assert held(world) == before


def test_an_operator_releases_for_a_venue_that_is_gone_without_payment(world: World) -> None:
    trust = world.fresh()
    credit = world.credit("bob", trust, "5")
    used = world.run("venue/spoke-a", hubs.consume(trust, credit.entry, amount="3"))
    cash = held(world)["bob"]
    for caller, code in (("operator/ops", "malformed-input"), ("account/bob", "forbidden")):
        with pytest.raises(HubProblem) as refused:
            world.run(caller, hubs.release(trust, used.entry, used="3", paid="1"))
        assert refused.value.code == code
    back = world.run("operator/ops", hubs.release(trust, used.entry, free="2", used="3"))
    row = world.snapshot.index["QUOTE-0"]
    assert (back.entry.state, held(world)["bob"][row]) == ("closed", cash[row])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"venue": "spoke-b"}, "context.spoke"), ({"nonce": "0" * 32}, "context.nonce"),
        ({"amount": "10.01"}, "amount"), ({"multiplier": "1.5"}, "multiplier"), ({"max_horizon": 3599}, "horizon"),
        ({"overlays": ("eu",)}, "overlays"),
        ({"delta": (("QUOTE-0", "1"),)}, "delta"),
    ],
)  # fmt: skip
def test_an_offer_must_be_what_was_demanded(world: World, change: Tree, field: str) -> None:
    demand, offer = world.offer("alice")
    other = replace(demand, **change)
    with pytest.raises(StatementMismatch) as refused:
        world.run(None, hubs.check_offer(world.fresh(), other, offer, world.prices()))
    assert refused.value.field == f"statement.{field}"


def test_a_venue_makes_every_check_of_an_offer(world: World) -> None:
    prices = world.prices()
    demand, offer = world.offer("alice")
    flipped = bytes([*offer.proof[:-1], offer.proof[-1] ^ 1])
    forged = sign_attestation(verify_attestation(offer.attestation, world.key.public_key()), Signer().key)
    old = replace(prices, signature=replace(prices.signature, valid_until=int(time.time()) - 1))
    cases: list[tuple[Offer, hubs.Prices, int | None, type[ZkMarginError]]] = [
        (replace(offer, proof=flipped), prices, None, ProofRejected),
        (replace(offer, attestation=forged), prices, None, SignatureRejected),
        (replace(offer, attestation=world.offer("bob")[1].attestation), prices, None, StatementMismatch),
        (replace(offer, leaf=0), prices, None, ProofRejected),
        (offer, old, None, StaleStatement),
        (offer, prices, int(time.time()) + 601, StaleStatement),
    ]
    for bad, at, now, error in cases:
        trust = world.fresh()
        if now is not None:
            trust.clock = lambda now=now: now
        with pytest.raises(error):
            world.run(None, hubs.check_offer(trust, demand, bad, at))
    with pytest.raises(HubProblem):  # a leaf that the log does not have
        world.run(None, hubs.check_offer(world.fresh(), demand, replace(offer, leaf=10**6), prices))
