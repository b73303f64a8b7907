"""Trades between two accounts: a venue's call."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request
from sqlalchemy import Connection

from zkmargin.service.http.auth import Caller, HubLedger, IdempotencyKey, RequestDigest
from zkmargin.service.http.describe import signed
from zkmargin.service.http.proving import PROOF_PROBLEMS, Part, change_on_proofs, proved_of
from zkmargin.service.http.routes.models import TradeBody, TradeView
from zkmargin.service.http.routing import StrictRoute
from zkmargin.service.ledger import breakers, idempotency, trades
from zkmargin.service.ledger.answers import Attested
from zkmargin.service.ledger.consent import Proved
from zkmargin.service.ledger.context import Ledger

router = APIRouter(prefix="/v1/trades", route_class=StrictRoute)


@router.post(
    "",
    **signed(
        "book_trade", "trades", "unknown-venue", "venue-suspended", "account-frozen", "breaker-open", "stale-snapshot",
        "stale-epoch", "statement-refused", "not-authorised", "position-limit", *PROOF_PROBLEMS, changes=True,
        body=True, status=201,
    ),
)  # fmt: skip
async def book_trade(
    caller: Caller, key: IdempotencyKey, digest: RequestDigest, ledger: HubLedger, body: TradeBody, request: Request
) -> TradeView:
    """Book a trade between two accounts, which both holders prove to be solvent after, and authorise.

    The two statements' legs (``delta``) are each other's opposite: value moves, none is made.
    """
    caller.expect("venue")
    sides = (proved_of(body.maker), proved_of(body.taker))
    answer = await change_on_proofs(
        request, ledger, idempotency.Call(caller.caller, key, digest, 201),
        [Part(partial(_before, ledger, caller.name, sides, i), proved) for i, proved in enumerate(sides)],
        lambda tx: trades.book_trade(ledger, tx, caller.name, sides),
        rejected=lambda: breakers.count_failure(ledger, caller.name),
    )  # fmt: skip
    return TradeView.model_validate(answer)


def _before(ledger: Ledger, venue: str, sides: tuple[Proved, Proved], side: int, tx: Connection) -> Attested:
    return trades.precheck(ledger, tx, venue, sides, side)
