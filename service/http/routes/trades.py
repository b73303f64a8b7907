"""Trades between two accounts: a venue's call."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter
from sqlalchemy import Connection

from zkmargin.circuits.schema import Strict
from zkmargin.service.http.auth import Caller, HubRoute, IdempotencyKey, RequestDigest
from zkmargin.service.http.describe import signed
from zkmargin.service.http.domain import Domain
from zkmargin.service.http.hub_context import HubLedger, HubPool
from zkmargin.service.http.proving import PROOF_PROBLEMS, Part, ProvedBody, change_on_proofs, proved_of
from zkmargin.service.http.schemas import Answer, AttestedView, CreditId, Id
from zkmargin.service.ledger import breakers, idempotency, trades
from zkmargin.service.ledger.answers import Attested
from zkmargin.service.ledger.consent import Proved
from zkmargin.service.ledger.context import Ledger

router = APIRouter(prefix="/v1/trades", route_class=HubRoute)
DOMAIN = Domain(router)


class SideBody(ProvedBody):
    """One side of a trade: the statement says that the account is solvent after its legs (``delta``), and its key
    authorises them.
    """


class TradeBody(Strict):
    """A trade between two accounts: what one gives the other receives, leg by leg."""

    maker: SideBody
    taker: SideBody


class TradeView(Answer):
    """A booked trade and the new epochs of its two accounts."""

    trade: CreditId
    venue: Id
    maker: AttestedView
    taker: AttestedView


@router.post(
    "",
    **signed(
        "book_trade", "trades", "unknown-venue", "venue-suspended", "account-frozen", "breaker-open", "stale-snapshot",
        "stale-epoch", "statement-refused", "not-authorised", "position-limit", *PROOF_PROBLEMS, changes=True,
        body=True, status=201,
    ),
)  # fmt: skip
async def book_trade(
    caller: Caller, key: IdempotencyKey, digest: RequestDigest, ledger: HubLedger, body: TradeBody, pool: HubPool
) -> TradeView:
    """Book a trade between two accounts, which both holders prove to be solvent after, and authorise.

    The two statements' legs (``delta``) are each other's opposite: value moves, none is made.
    """
    caller.expect("venue")
    sides = (proved_of(body.maker), proved_of(body.taker))
    answer = await change_on_proofs(
        pool, ledger, idempotency.Call(caller.caller, key, digest, 201),
        [Part(partial(_before, ledger, caller.name, sides, i), proved) for i, proved in enumerate(sides)],
        lambda tx: trades.book_trade(ledger, tx, caller.name, sides),
        rejected=lambda: breakers.count_failure(ledger, caller.name),
    )  # fmt: skip
    return TradeView.model_validate(answer)


def _before(ledger: Ledger, venue: str, sides: tuple[Proved, Proved], side: int, tx: Connection) -> Attested:
    return trades.precheck(ledger, tx, venue, sides, side)
