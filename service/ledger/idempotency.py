"""Each request has one outcome, booked or refused, and everybody who asks under its idempotency key is told that one.

The outcome is one row, written once: with the change that it answers for, in the same transaction, or as a refusal. So
who was refused knows that nothing was booked and that nothing will be, whatever became of other tries of the same
request: paused, delayed on the way, or still at work. Who wants to ask again takes a fresh key.

A call that works outside a transaction (verification of a proof) claims its key first, in the one transaction in which
it looks for an outcome and checks what can be checked. A claim spares double work and decides nothing: when its time is
over another try may take it, and whoever writes the row first has the outcome. What is no outcome (a part of the
service is away) is never written and leaves the key free.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy import Connection, bindparam, delete, text, update

from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.errors import ZkMarginError
from zkmargin.service.ledger.answers import Answer
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.ledger.json_tree import Fields, Json, Tree, parsed
from zkmargin.service.refusals import IdempotencyMismatch, Refusal, RequestInProgress, Unavailable
from zkmargin.service.store import tables
from zkmargin.service.store.queries import put_new as insert_new
from zkmargin.service.store.rows import IdempotencyRow, Value, find

T = TypeVar("T")
#: Outcomes are kept for thirty days: longer than anybody repeats a request.
KEEP_SECONDS = 30 * 86400
#: ``status`` of a row without an outcome, and of a refusal, whose own status goes by its code.
AT_WORK, REFUSED = 0, 400
#: Errors that say nothing of the request: they end a try and not the request.
NO_OUTCOME = frozenset({
    "unavailable", "overloaded", "not-ready", "request-timeout", "internal-error", "corrupt-data", "missing-extra",
    "idempotency-mismatch", "request-in-progress", "too-expensive",
})  # fmt: skip

__all__ = ["Call", "Outcome", "claim", "forget", "insert_new", "once", "refuse", "settle"]
_TABLE = tables.idempotency
_MINE = (
    _TABLE.c.caller == bindparam("of_caller"),
    _TABLE.c.key == bindparam("of_key"),
    _TABLE.c.owner == bindparam("of_owner"),
)
_WRITE = (
    update(_TABLE)
    .where(*_MINE)
    .values(status=bindparam("told"), sealed=bindparam("answer"), created=bindparam("now"), owner=None, until=None)
)
_TAKE = update(_TABLE).where(*_MINE).values(owner=bindparam("taker"), until=bindparam("end"))
_GIVE_UP = delete(_TABLE).where(*_MINE)


@dataclass(frozen=True)
class Call:
    """One try of a request: who asks, under which key, ``request`` a digest of all that is asked, ``status`` of the
    answer if it is booked. ``owner`` names the try.
    """

    caller: str
    key: str
    request: bytes
    status: int = 200
    owner: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def purpose(self) -> str:
        """What the vault binds the outcome to."""
        return f"idempotency/{self.caller}/{self.key}"

    def place(self, owner: str | None = None) -> dict[str, Value]:
        """Parameters of this try's row, or of one that another try owns."""
        return {"of_caller": self.caller, "of_key": self.key, "of_owner": owner or self.owner}


@dataclass(frozen=True)
class Outcome:
    """What became of a request: an answer as it was written, or a refusal; ``earlier`` if another try, or an earlier
    one, came to it.
    """

    result: Tree | ZkMarginError
    earlier: bool = True

    def told(self) -> Tree:
        """The answer; raises the refusal."""
        if isinstance(self.result, ZkMarginError):
            raise self.result
        return self.result


def _read(ledger: Ledger, call: Call, row: IdempotencyRow) -> Outcome | None:
    """The outcome of a row, None while it has none; ``IdempotencyMismatch`` for another request's."""
    if row.request != call.request.hex():
        raise IdempotencyMismatch("this key was used for another request", field="idempotency-key")
    if row.status == AT_WORK:
        return None
    tree = parsed(ledger.vault.open(row.sealed, purpose=call.purpose), name="answer")
    return Outcome(tree if row.status != REFUSED else _refusal_of(Fields(tree, "refusal")))


def _refusal_of(fields: Fields) -> Refusal:
    refusal = Refusal(fields.text("message"), field=fields.optional("field"), **fields.tree("extensions"))
    refusal.code = fields.text("code")
    return refusal


def _claimed(ledger: Ledger, tx: Connection, call: Call) -> IdempotencyRow | None:
    """None if this try has put its own row under the key, and the row that is there otherwise."""
    now = ledger.clock()
    fresh = insert_new(
        tx, _TABLE, caller=call.caller, key=call.key, request=call.request.hex(), status=AT_WORK, sealed=b"",
        created=now, owner=call.owner, until=now + ledger.policy.claim_seconds,
    )  # fmt: skip
    return None if fresh else _found(tx, call)


def _found(tx: Connection, call: Call, *, lock: bool = False) -> IdempotencyRow:
    """The row under the key, which somebody put there before; ``Unavailable``."""
    row = find(tx, IdempotencyRow, lock=lock, caller=call.caller, key=call.key)
    if row is None:
        raise Unavailable("the claim on this key was lost with the database's last moments")
    return row


def _write(ledger: Ledger, tx: Connection, call: Call, status: int, tree: Tree) -> None:
    """Write the outcome into this try's own row."""
    sealed = ledger.vault.seal(canonical_bytes(tree), purpose=call.purpose)
    tx.execute(_WRITE, call.place() | {"told": status, "answer": sealed, "now": ledger.clock()})


def _done(ledger: Ledger, tx: Connection, call: Call, work: Callable[[Connection], Answer]) -> Outcome:
    """Do the work and write what it answers, which is what is told from now on."""
    answer = work(tx).to_json(ledger.money)
    _write(ledger, tx, call, call.status, answer)
    return Outcome(answer, earlier=False)


def _write_refusal(ledger: Ledger, tx: Connection, call: Call, refusal: ZkMarginError) -> Outcome:
    extensions: dict[str, Json] = dict(getattr(refusal, "extensions", {}))
    tree: Tree = {"code": refusal.code, "message": refusal.message, "field": refusal.field, "extensions": extensions}
    _write(ledger, tx, call, REFUSED, tree)
    return Outcome(refusal, earlier=False)


def claim(ledger: Ledger, call: Call, check: Callable[[Connection], T]) -> T | Outcome:
    """Claim the key for work outside a transaction, and ``check`` what can be checked before, at one moment: gives what
    ``check`` gives, or the outcome if there is one already or the check refuses.

    ``RequestInProgress`` while another try has the key.
    """

    def unit(tx: Connection) -> T | Outcome:
        if (outcome := _earlier(ledger, tx, call)) is not None:
            return outcome
        try:
            checked = check(tx)
        except ZkMarginError as err:
            if err.code in NO_OUTCOME:
                raise
            return _write_refusal(ledger, tx, call, err)
        if not ledger.database.sqlite:
            # A claim that a crash of the database loses was worth nothing any more: it need not wait for the disk.
            tx.execute(text("SET LOCAL synchronous_commit = off"))
        return checked

    return ledger.database.exact(unit)


def _earlier(ledger: Ledger, tx: Connection, call: Call) -> Outcome | None:
    """The outcome under the key if there is one; else the key is this try's. ``RequestInProgress``."""
    row = _claimed(ledger, tx, call)
    if row is None:
        return None
    outcome = _read(ledger, call, row)
    # A commit that was repeated finds its own claim.
    if outcome is None and row.owner != call.owner:
        _take(ledger, tx, call, row)
    return outcome


def _take(ledger: Ledger, tx: Connection, call: Call, row: IdempotencyRow) -> None:
    now = ledger.clock()
    place = call.place(row.owner) | {"taker": call.owner, "end": now + ledger.policy.claim_seconds}
    if row.until is None or now < row.until or tx.execute(_TAKE, place).rowcount == 0:
        raise RequestInProgress("an earlier try of this request is still at work", field="idempotency-key")


def settle(ledger: Ledger, call: Call, work: Callable[[Connection], Answer]) -> Outcome:
    """Run ``work`` in one transaction with its outcome, for a key that this try claimed.

    ``RequestInProgress`` when another try has taken the claim over.
    """

    def unit(tx: Connection) -> Outcome:
        row = _found(tx, call, lock=True)
        outcome = _read(ledger, call, row)
        if outcome is not None:
            return outcome
        if row.owner != call.owner:
            raise RequestInProgress("a later try of this request is at work", field="idempotency-key")
        return _done(ledger, tx, call, work)

    return _run(ledger, call, unit)


def once(
    ledger: Ledger, caller: str, key: str, request: bytes, work: Callable[[Connection], Answer], *, status: int = 200
) -> tuple[Tree, bool]:
    """Run ``work`` in one transaction under an idempotency key; gives the answer and whether it is an earlier one.

    ``caller`` scopes the key, ``request`` is a digest of all that was asked. Raises the request's refusal, this one or
    the one told before, and ``IdempotencyMismatch`` for a key of another request.
    """
    call = Call(caller, key, request, status)

    def unit(tx: Connection) -> Outcome:
        if (outcome := _earlier(ledger, tx, call)) is not None:
            return outcome
        return _done(ledger, tx, call, work)

    outcome = _run(ledger, call, unit)
    return outcome.told(), outcome.earlier


def _run(ledger: Ledger, call: Call, unit: Callable[[Connection], Outcome]) -> Outcome:
    try:
        return ledger.database.write(unit)
    except ZkMarginError as err:
        if err.code in NO_OUTCOME:
            raise
        return refuse(ledger, call, err)


def refuse(ledger: Ledger, call: Call, error: ZkMarginError) -> Outcome:
    """End a try that failed: what it failed with becomes the request's outcome, unless there is one already, which is
    the one to tell. Raises what is no outcome, and gives the claim up.

    ``RequestInProgress`` when another try has the key: it may still book.
    """
    if error.code in NO_OUTCOME:
        with suppress(ZkMarginError):
            ledger.database.write(lambda tx: tx.execute(_GIVE_UP, call.place()))
        raise error

    def unit(tx: Connection) -> Outcome:
        row = _claimed(ledger, tx, call)
        if row is not None:
            row = _found(tx, call, lock=True)
            outcome = _read(ledger, call, row)
            if outcome is not None:
                return outcome
            if row.owner != call.owner:
                raise RequestInProgress("another try of this request is at work", field="idempotency-key")
        return _write_refusal(ledger, tx, call, error)

    return ledger.database.write(unit)


def forget(ledger: Ledger) -> int:
    """Drop outcomes older than :data:`KEEP_SECONDS`; gives how many."""
    return ledger.database.write(
        lambda tx: tx.execute(delete(_TABLE).where(_TABLE.c.created < ledger.clock() - KEEP_SECONDS)).rowcount
    )
