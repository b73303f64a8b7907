"""Trades between two accounts: a venue's call."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request
from sqlalchemy import Connection

from circuits.statement import from_model

from ..auth import Caller, IdempotencyKey, Ledger, RequestDigest
from ..ledger import breakers, idempotency, trades
from ..ledger.book import Book
from ..ledger.epochs import Attested
from ..routing import StrictRoute
from .describe import signed
from .models import TradeBody, TradeView
from .proving import PROOF_PROBLEMS, Part, change_on_proofs

router = APIRouter(prefix="/v1/trades", route_class=StrictRoute)


@router.post(
    "",
    **signed(
        "book_trade", "trades", "unknown-venue", "venue-suspended", "account-frozen", "breaker-open", "stale-snapshot",
        "stale-epoch", "statement-refused", "position-limit", *PROOF_PROBLEMS, changes=True, body=True, status=201,
    ),
)  # fmt: skip
async def book_trade(
    caller: Caller, key: IdempotencyKey, digest: RequestDigest, book: Ledger, body: TradeBody, request: Request
) -> TradeView:
    """Book a trade between two accounts, with both holders' proofs that they are solvent after it.

    The two statements' legs (``delta``) are each other's opposite: value moves, none is made.
    """
    caller.expect("venue")
    parts = [
        trades.Side(from_model(side.statement), bytes.fromhex(side.proof.proof)) for side in (body.maker, body.taker)
    ]
    sides = (parts[0], parts[1])
    answer = await change_on_proofs(
        request, book, idempotency.Call(caller.caller, key, digest, 201),
        [
            Part(partial(_before, book, caller.name, sides, i), sides[i].statement, proof)
            for i, proof in enumerate((body.maker.proof, body.taker.proof))
        ],
        lambda tx: trades.book_trade(book, tx, caller.name, sides),
        rejected=lambda: breakers.count_failure(book, caller.name),
    )  # fmt: skip
    return TradeView.model_validate(answer)


def _before(book: Book, venue: str, sides: tuple[trades.Side, trades.Side], side: int, tx: Connection) -> Attested:
    return trades.precheck(book, tx, venue, sides, side)
