"""A venue's trade between two accounts of a hub: both holders offer a proof that they are good for it afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from zkmargin.circuits.errors import StatementMismatch
from zkmargin.circuits.purpose import ANY, ForTrade
from zkmargin.circuits.statement import Statement
from zkmargin.circuits.units import parse_decimal
from zkmargin.service.client.exchange import Flow, new_idempotency_key, post
from zkmargin.service.client.holder import Attested, Prices, accept_attested
from zkmargin.service.client.negotiation import Demand, Offer
from zkmargin.service.client.trust import Trust, member
from zkmargin.service.client.venue import check_proof

SIDES = ("maker", "taker")


@dataclass(frozen=True)
class Trade:
    """A booked trade: its id and the new epochs of its two accounts."""

    trade: str
    maker: Attested
    taker: Attested


def trade_demands(
    venue: str,
    legs: tuple[tuple[str, str], ...],
    *,
    limit: str,
    counterparties: tuple[str, str] = (ANY, ANY),
    max_horizon: int = 3600,
    overlays: tuple[str, ...] = (),
) -> tuple[Demand, Demand]:
    """What a venue asks of maker and taker: to authorise their legs and be solvent after, each with its own nonce.

    ``legs`` are signed quantities that the maker receives (negative: gives); the taker's are the opposite. ``limit`` is
    the most that either may lose by its legs at the snapshot's marks, ``counterparties`` with whom the maker and the
    taker trade: an account, or ``any``.
    """
    opposite = tuple((name, _negated(quantity)) for name, quantity in legs)
    maker, taker = (
        Demand(
            venue, "0", max_horizon=max_horizon, overlays=overlays, delta=delta, purpose=ForTrade(limit, counterparty)
        )
        for delta, counterparty in zip((legs, opposite), counterparties, strict=True)
    )
    return maker, taker


def _negated(quantity: str) -> str:
    return quantity[1:] if quantity.startswith("-") else f"-{quantity}"


def _legs(statement: Statement, sign: int) -> dict[str, Fraction]:
    return {name: sign * parse_decimal(quantity, field="delta") for name, quantity in statement.delta}


def book_trade(
    trust: Trust,
    maker: tuple[Demand, Offer],
    taker: tuple[Demand, Offer],
    prices: Prices,
    *,
    key: str | None = None,
) -> Flow[Trade]:
    """Check both offers, that their legs are each other's opposite, and book the trade; gives both new attestations.

    Each must be signed by the hub, in its log, and of the epoch that follows the one proved at. ``prices`` are the
    hub's newest: no older ones are good for a trade. ``HubProblem`` with code ``stale-epoch`` means that an account
    changed meanwhile: its holder fetches its holding again and makes a new offer.
    """
    sides = (maker, taker)
    first, second = maker[1].statement, taker[1].statement
    if first.context.account == second.context.account:
        raise StatementMismatch("two sides of one account", field="taker.statement.context.account")
    if _legs(first, 1) != _legs(second, -1):
        raise StatementMismatch("what one side gives the other must receive", field="taker.statement.delta")
    body = {}
    for name, (demand, offer) in zip(SIDES, sides, strict=True):
        attested = yield from check_proof(trust, demand, offer, prices)
        trust.see(attested.attestation)
        body[name] = offer.evidence()
    answer = (yield post("/v1/trades", body, idempotency_key=key or new_idempotency_key())).json()
    after = []
    for name, (_, offer) in zip(SIDES, sides, strict=True):
        context = offer.statement.context
        attested = yield from accept_attested(trust, context.account, answer, name=name)
        after.append(attested.expect_after(context.epoch))
    return Trade(member(answer, "trade", str), after[0], after[1])
