"""Names that nobody may take: what a statement, a holder's console or an operator would read as somebody else."""

from __future__ import annotations

from sqlalchemy import Connection, select

from zkmargin.circuits.purpose import ANY
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.refusals import Conflict
from zkmargin.service.store import tables

#: ``any`` stands for every counterparty in a statement's purpose.
RESERVED = (ANY,)
#: A kind of caller, as a message says it.
_A = {"operator": "an operator", "oracle": "an oracle", "venue": "a venue", "account": "an account"}


def expect_free(ledger: Ledger, tx: Connection, kind: str, name: str) -> None:
    """``Conflict`` for a new operator, oracle, venue or account under a name that is not its own.

    The hub's: a statement for the hub as venue is one of withdrawal, and a venue of this name could ask for it. Nor may
    it differ in case alone. A reserved word. And the name of another kind of caller: where people read a name, no kind
    stands beside it.
    """
    if name.casefold() == ledger.name.casefold():
        raise Conflict("the hub's own name", field=kind)
    if name.casefold() in RESERVED:
        raise Conflict("a word that stands for something else", field=kind)
    c = tables.keys.c
    taken = select(c.kind).where(c.kind.in_([other for other in _A if other != kind]), c.owner == name).limit(1)
    other = tx.execute(taken).scalar_one_or_none()
    if other is not None:
        raise Conflict(f"{_A[other]} has this name", field=kind)
