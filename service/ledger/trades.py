"""Trades between two accounts of the hub: what one gives the other receives, and both prove that they can.

Legs are conserved, so no trade makes value, whoever colludes: with price, counterparty and size left to the venue, all
that a trade can do is move what exists. Each holder's proof says that the account is solvent *after* the legs, with all
its credits, at initial level; so a trade takes nobody's credit its backing. The account's key authorises it: the legs,
what they may take at the snapshot's marks, and with whom. Nothing else is booked.
"""

from __future__ import annotations

import secrets

from sqlalchemy import Connection

from zkmargin.circuits.errors import MalformedInput, StatementMismatch
from zkmargin.circuits.purpose import ANY, ForTrade
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import Statement
from zkmargin.service.errors import NotFound
from zkmargin.service.ledger import accounts, breakers, consent, epochs, portfolio, venues
from zkmargin.service.ledger.answers import Attested, Trade
from zkmargin.service.ledger.changes import Traded
from zkmargin.service.ledger.consent import Proved
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.ledger.epochs import Account
from zkmargin.service.refusals import NotAuthorised, StatementRefused, VenueSuspended

SIDES = ("maker", "taker")


def precheck(ledger: Ledger, tx: Connection, venue: str, sides: tuple[Proved, Proved], side: int) -> Attested:
    """All that can be said of one side before its proof is verified; gives the attestation to verify against."""
    proved, statement = sides[side], sides[side].statement
    claimed = statement.context
    try:
        named = epochs.attested(tx, claimed.account, claimed.epoch)
    except NotFound:
        named = None
    if named is None or named.commitment != statement.commitment:
        raise StatementMismatch("not a commitment that this hub attested", field=f"{SIDES[side]}.statement.commitment")
    _eligible(ledger, tx, epochs.read_account(ledger, tx, claimed.account), venue, proved, ledger.clock())
    _expect_counterparty(statement, sides[1 - side].statement, SIDES[side])
    return named


def _expect_counterparty(mine: Statement, other: Statement, side: str) -> None:
    """``NotAuthorised`` unless the holder trades with whom the other side is."""
    wanted = consent.expect_purpose(mine, ForTrade).counterparty
    if wanted not in (ANY, other.context.account):
        raise NotAuthorised("the holder trades with another account", field=f"{side}.statement.purpose.counterparty")


def _eligible(ledger: Ledger, tx: Connection, account: Account, venue: str, proved: Proved, now: int) -> Snapshot:
    snapshot = accounts.expect_movable(ledger, tx, account, proved.statement, venue=venue, now=now)
    consent.expect_purpose(proved.statement, ForTrade)
    consent.expect_authorised(ledger, tx, proved)
    breakers.expect_closed(tx, breakers.venue_scope(venue))
    if venues.read(tx, venue).state != "active":
        raise VenueSuspended("a suspended venue books no trade", field="venue")
    return snapshot


def book_trade(ledger: Ledger, tx: Connection, venue: str, sides: tuple[Proved, Proved]) -> Trade:
    """Book a trade whose two proofs were verified: both accounts' legs, in one transaction, each under a new epoch.

    Raises what makes either side ineligible; ``StatementRefused`` unless the legs are each other's opposite.
    """
    now = ledger.clock()
    names = [side.statement.context.account for side in sides]
    if names[0] == names[1]:
        raise MalformedInput("two sides of one account", field="taker.statement.context.account")
    # Both rows are locked in one order, whoever is maker.
    held = {name: epochs.read_account(ledger, tx, name, lock=True) for name in sorted(names)}
    parts = [(side, held[name]) for side, name in zip(sides, names, strict=True)]
    markets = [_eligible(ledger, tx, account, venue, side, now) for side, account in parts]
    for i, role in enumerate(SIDES):
        _expect_counterparty(sides[i].statement, sides[1 - i].statement, role)
    moves = [accounts.legs(side.statement, market) for (side, _), market in zip(parts, markets, strict=True)]
    if not moves[0] or moves[0] != {name: -lots for name, lots in moves[1].items()}:
        raise StatementRefused("what one side gives the other must receive", field="taker.statement.delta")
    if markets[0] != markets[1] or portfolio.credit_line(markets[0]) in moves[0]:
        raise StatementRefused("one snapshot for both sides, and no credit among the legs", field="statement.delta")
    trade = secrets.token_hex(16)
    states: list[Attested] = []
    for (side, account), market, move, role in zip(parts, markets, moves, SIDES, strict=True):
        after = portfolio.changed(accounts.listed(ledger, tx, account, market), move)
        portfolio.check(after, list(move), market, field=f"{role}.statement.delta")
        change = Traded(trade, venue, dict(side.statement.delta), side)
        _, state = epochs.advance(ledger, tx, account, market, after, change, live=account.live, now=now)
        states.append(state)
    return Trade(trade, venue, states[0], states[1])
