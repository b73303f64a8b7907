"""A hub under attack: a venue of a small cap and an honest one, two accounts, and what an attack takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.ledgers import World, fresh_url, started
from tests.support.toy import Tree
from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.documents.statement import StatementModel, statement_from_model
from zkmargin.circuits.schema import validate
from zkmargin.prover.errors import NotSolvent
from zkmargin.service.ledger.consent import Proved

OPS, ALICE, BOB, EVIL, HONEST = "operator/ops", "account/alice", "account/bob", "venue/evil", "venue/honest"
CREDITS, TRADES = "/v1/credits", "/v1/trades"
#: A trade near the mark: the maker buys.
LEGS = (("PERPETUAL-2", "1"), ("QUOTE-0", "-64"))


@contextmanager
def attacked(kind: str, directory: Path) -> Iterator[World]:
    """A hub with a venue of a small cap and an honest one, and two accounts."""
    with fresh_url(kind, directory) as url, started(url) as made:
        made.session.venue("evil", cap="1")
        made.session.venue("honest")
        for name in ("alice", "bob"):
            made.session.account(name)
        yield made


def held(world: World, account: str, snapshot: Any = None) -> dict[str, Any]:
    """What the holder reads in its opening, in units."""
    snapshot = snapshot or world.snapshot
    opening, _ = world.session.opening(account, snapshot)
    pairs = zip(snapshot.instruments, opening.lots, strict=True)
    return {inst.id: lots * inst.lot for inst, lots in pairs if lots}


def credit(world: World, account: str, venue: str, amount: str, snapshot: Any = None, *, used: bool = False) -> str:
    """Issue a credit, all of it used if asked; gives its path."""
    s = world.session
    body = s.credit_body(account, snapshot or world.snapshot, venue=venue, amount=amount)
    path = f"{CREDITS}/{s.ok(f'venue/{venue}', 'POST', CREDITS, body)['credit']}"
    if used:
        s.ok(f"venue/{venue}", "POST", f"{path}/consume", {"sequence": 1, "amount": amount})
    return path


def can_prove(world: World, account: str, amount: str, snapshot: Any = None) -> bool:
    """Whether the holder can prove that the account is good for so much more."""
    try:
        world.session.proof(account, snapshot or world.snapshot, venue="honest", amount=amount)
    except NotSolvent:
        return False
    return True


def sided(tree: Tree) -> Proved:
    """A side as the ledger takes it."""
    statement = statement_from_model(validate(StatementModel, tree["statement"], name="statement"))
    return Proved(statement, bytes.fromhex(tree["proof"]["proof"]), canonical_bytes(tree["authorisation"]))


def sides(world: World, maker: Any, taker: Any, *, venues: tuple[str, str] = ("evil", "evil")) -> Tree:
    s = world.session
    return {
        "maker": s.side("alice", world.snapshot, venue=venues[0], legs=maker),
        "taker": s.side("bob", world.snapshot, venue=venues[1], legs=taker),
    }


BACK = (("PERPETUAL-2", "-1"), ("QUOTE-0", "64"))
