"""The AccountSolvency statement: everything public that a proof speaks about, and its canonical digest.

AccountSolvency(C, snapshot, rule, level, delta, amount, multiplier, horizon, purpose, context): the portfolio in C,
after the public trade delta, is worth at least ``amount`` in every scenario of the rule, its add-ons scaled by
``multiplier`` and its latency buffer by ``horizon``. ``purpose`` is the use that may be made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from zkmargin.circuits import canonical
from zkmargin.circuits.compiler import Program, compile_rule
from zkmargin.circuits.errors import MalformedInput, StaleStatement, StatementMismatch, ZkMarginError
from zkmargin.circuits.layout import Layout
from zkmargin.circuits.purpose import Purpose, check_limit
from zkmargin.circuits.rules import Terms, build, rule_of, work
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.system import MAX_AMOUNT_BITS
from zkmargin.circuits.units import to_lots, to_quanta

#: A venue's clock may be this many seconds behind the oracle's before a snapshot counts as from the future.
CLOCK_SKEW = 30


@dataclass(frozen=True)
class Context:
    """What a proof is bound to: for another hub, account, epoch, venue or request it is worthless.

    ``venue`` is the document's member ``spoke``.
    """

    hub: str
    account: str
    epoch: int
    venue: str
    nonce: str
    expiry: int


@dataclass(frozen=True)
class Statement:
    """A validated statement; money and positions still as the document's strings until bound to a snapshot."""

    commitment: bytes
    domain: int
    snapshot: bytes
    rule_id: str
    terms: Terms
    amount: str
    delta: tuple[tuple[str, str], ...]
    purpose: Purpose
    context: Context
    digest: bytes
    tree: Mapping[str, Any] = field(repr=False, compare=False, hash=False)

    def check_time(self, snapshot: Snapshot, now: int) -> None:
        """Raise ``StaleStatement`` outside [snapshot time, snapshot time + horizon] or after the context's expiry."""
        if now > self.context.expiry:
            raise StaleStatement("the request has expired", field="statement.context.expiry")
        if now > snapshot.time + self.terms.horizon:
            raise StaleStatement("the snapshot is older than the statement's horizon", field="statement.horizon")
        if now + CLOCK_SKEW < snapshot.time:
            raise StaleStatement("the snapshot is from the future", field="snapshot.time")

    def to_bytes(self) -> bytes:
        """RFC 8785 bytes of the document."""
        return canonical.canonical_bytes(dict(self.tree))


@dataclass(frozen=True)
class BoundStatement:
    """A statement joined with its snapshot: the system, its layout and right-hand sides, all as integers."""

    statement: Statement
    program: Program
    layout: Layout
    amount: int
    delta: Mapping[int, int]
    constants: tuple[int, ...]


@lru_cache(maxsize=64)
def _compiled(snapshot: Snapshot, terms: Terms) -> Program | ZkMarginError:
    """A refusal is kept like a program: it may have taken as long."""
    try:
        work.check(snapshot, terms.level, terms.overlays)
        return compile_rule(build(snapshot, terms).elect(dict(terms.elections)))
    except ZkMarginError as err:
        # Without its traceback, which would hold all that was built.
        return copy(err)


def _program(snapshot: Snapshot, terms: Terms) -> Program:
    rule_of(snapshot)  # outside of what is kept: an unknown rule may be registered later
    found = _compiled(snapshot, terms)
    if isinstance(found, ZkMarginError):
        raise copy(found)
    return found


@lru_cache(maxsize=64)
def _layout(snapshot: Snapshot, terms: Terms, domain: int) -> Layout:
    return _program(snapshot, terms).system.layout(domain)


def forget_compiled() -> None:
    """Drop all compiled rules and the snapshots that they hold: for a process that others fill."""
    for cached in (_compiled, _layout):
        cached.cache_clear()


def compile_terms(snapshot: Snapshot, terms: Terms) -> Program:
    """The compiled rule of a snapshot under given terms; cached by their values."""
    return _program(snapshot, terms)


def bind(statement: Statement, snapshot: Snapshot) -> BoundStatement:
    """Join a statement with the snapshot it names and compile it to integers.

    Raises ``StatementMismatch`` for another snapshot or rule, or legs beyond the purpose's limit; ``MalformedInput``
    for an amount or delta off the grid; ``RuleRefused`` or ``SystemTooLarge`` from the compiler.
    """
    if statement.snapshot != snapshot.digest:
        raise StatementMismatch("the statement names another snapshot", field="statement.snapshot")
    if statement.rule_id != snapshot.rule_id:
        raise StatementMismatch("the statement names another rule than the snapshot", field="statement.rule")
    amount = to_quanta(statement.amount, snapshot.decimals, field="statement.amount")
    if amount < 0 or amount.bit_length() > MAX_AMOUNT_BITS:
        raise MalformedInput(f"must be from 0 to below 2^{MAX_AMOUNT_BITS} quanta", field="statement.amount")
    delta: dict[int, int] = {}
    for i, (instrument, quantity) in enumerate(statement.delta):
        row = snapshot.row_of(instrument, field=f"statement.delta.{i}.instrument")
        delta[row] = to_lots(quantity, snapshot.instruments[row].lot, field=f"statement.delta.{i}.quantity")
    check_limit(statement.purpose, statement.delta, snapshot)
    program = _program(snapshot, statement.terms)
    layout = _layout(snapshot, statement.terms, statement.domain)
    constants = program.system.constants(delta, amount)
    return BoundStatement(statement, program, layout, amount, MappingProxyType(delta), constants)
