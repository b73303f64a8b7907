"""Trades between two accounts of the hub: what one gives the other receives, and both prove that they can.

Legs are conserved, so no trade makes value, whoever colludes: with price, counterparty and size left to the venue, all
that a trade can do is move what exists. Each holder's proof says that the account is solvent *after* the legs, with all
its credits, at initial level; so a trade takes nobody's credit its backing, and books nothing that its holder did not
prove.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from sqlalchemy import Connection

from circuits.errors import MalformedInput, StatementMismatch
from circuits.snapshot import Snapshot
from circuits.statement import Statement

from ..errors import NotFound
from ..refusals import StatementRefused, VenueSuspended
from . import accounts, breakers, epochs, portfolio, venues
from .book import Book
from .epochs import Account, Attested
from .events import Tree

SIDES = ("maker", "taker")


@dataclass(frozen=True)
class Side:
    """One account's part of a trade."""

    statement: Statement
    proof: bytes = field(repr=False)


def precheck(book: Book, tx: Connection, venue: str, sides: tuple[Side, Side], side: int) -> Attested:
    """All that can be said of one side before its proof is verified; gives the attestation to verify against."""
    statement = sides[side].statement
    claimed = statement.context
    try:
        named = epochs.attested(tx, claimed.account, claimed.epoch)
    except NotFound:
        named = None
    if named is None or named.commitment != statement.commitment:
        raise StatementMismatch("not a commitment that this hub attested", field=f"{SIDES[side]}.statement.commitment")
    _eligible(book, tx, epochs.read_account(book, tx, claimed.account), venue, statement, book.clock())
    return named


def _eligible(book: Book, tx: Connection, account: Account, venue: str, statement: Statement, now: int) -> Snapshot:
    snapshot = accounts.expect_movable(book, tx, account, statement, spoke=venue, now=now)
    breakers.expect_closed(tx, breakers.venue_scope(venue))
    if venues.read(tx, venue).state != "active":
        raise VenueSuspended("a suspended venue books no trade", field="venue")
    return snapshot


def book_trade(book: Book, tx: Connection, venue: str, sides: tuple[Side, Side]) -> Tree:
    """Book a trade whose two proofs were verified: both accounts' legs, in one transaction, each under a new epoch.

    Raises what makes either side ineligible; ``StatementRefused`` unless the legs are each other's opposite.
    """
    now = book.clock()
    names = [side.statement.context.account for side in sides]
    if names[0] == names[1]:
        raise MalformedInput("two sides of one account", field="taker.statement.context.account")
    # Both rows are locked in one order, whoever is maker.
    held = {name: epochs.read_account(book, tx, name, lock=True) for name in sorted(names)}
    parts = [(side, held[name]) for side, name in zip(sides, names, strict=True)]
    markets = [_eligible(book, tx, account, venue, side.statement, now) for side, account in parts]
    moves = [accounts.legs(side.statement, market) for (side, _), market in zip(parts, markets, strict=True)]
    if not moves[0] or moves[0] != {name: -lots for name, lots in moves[1].items()}:
        raise StatementRefused("what one side gives the other must receive", field="taker.statement.delta")
    if markets[0] != markets[1] or portfolio.credit_line(markets[0]) in moves[0]:
        raise StatementRefused("one snapshot for both sides, and no credit among the legs", field="statement.delta")
    trade = secrets.token_hex(16)
    answer: Tree = {"trade": trade, "venue": venue}
    for (side, account), market, move, role in zip(parts, markets, moves, SIDES, strict=True):
        after = portfolio.changed(accounts.listed(book, tx, account, market), move)
        content = {
            "trade": trade, "venue": venue, "delta": dict(side.statement.delta),
            **accounts.evidence(side.statement, side.proof),
        }  # fmt: skip
        _, state = epochs.advance(book, tx, account, market, after, "traded", content, live=account.live, now=now)
        answer[role] = state.to_json()
    return answer
