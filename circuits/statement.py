"""The AccountSolvency statement: everything public that a proof speaks about, and its canonical digest.

AccountSolvency(C, snapshot, rule, level, delta, amount, multiplier, horizon, purpose, context): the portfolio in C,
after the public trade delta, is worth at least ``amount`` in every scenario of the rule, its add-ons scaled by
``multiplier`` and its latency buffer by ``horizon``. ``purpose`` is the use that may be made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from zkmargin.circuits import canonical
from zkmargin.circuits.compiler import Program, compile_rule
from zkmargin.circuits.errors import MalformedInput, StaleStatement, StatementMismatch, ZkMarginError
from zkmargin.circuits.layout import Layout
from zkmargin.circuits.purpose import SHOW, Purpose, check_limit, check_purpose
from zkmargin.circuits.purpose import from_model as purpose_from_model
from zkmargin.circuits.rules import Terms, build, rule_of, work
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.system import MAX_AMOUNT_BITS
from zkmargin.circuits.units import PPM, parse_decimal, to_lots, to_quanta

if TYPE_CHECKING:
    from zkmargin.circuits.schema import StatementModel

#: The versions of the document; its digest is over the version's own domain. The first has no purpose, and only shows.
VERSION_1, VERSION_2 = "zkmargin/statement/1", "zkmargin/statement/2"
#: Multipliers up to 1000 keep every add-on far inside the bound check.
MAX_MULTIPLIER = 1000
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


def parse_multiplier(text: str, *, field: str) -> Fraction:
    """A multiplier: above 0, at most 1000, in whole millionths."""
    multiplier = parse_decimal(text, field=field)
    if not 0 < multiplier <= MAX_MULTIPLIER or (multiplier * PPM).denominator != 1:
        raise MalformedInput(f"must be above 0, at most {MAX_MULTIPLIER}, with at most 6 decimals", field=field)
    return multiplier


def from_model(model: StatementModel) -> Statement:
    """Build a statement from a validated document; raises ``MalformedInput`` naming the field."""
    from zkmargin.circuits.schema import dump

    if (model.purpose is None) != (model.schema_ == VERSION_1):
        raise MalformedInput("version 2 has a purpose, version 1 has none", field="statement.schema")
    multiplier = parse_multiplier(model.multiplier, field="statement.multiplier")
    tree = dump(model)
    overlays = tuple(model.overlays or ())
    if list(overlays) != sorted(set(overlays)):
        raise MalformedInput("must be sorted, without repeats", field="statement.overlays")
    seen: set[str] = set()
    for i, trade in enumerate(model.delta):
        if trade.instrument in seen:
            raise MalformedInput("duplicate instrument", field=f"statement.delta.{i}.instrument")
        seen.add(trade.instrument)
    c = model.context
    delta = tuple((trade.instrument, trade.quantity) for trade in model.delta)
    purpose = SHOW if model.purpose is None else purpose_from_model(model.purpose)
    check_purpose(purpose, amount=model.amount, delta=delta, venue=c.spoke, hub=c.hub, account=c.account)
    return Statement(
        commitment=bytes.fromhex(model.commitment),
        domain=model.domain,
        snapshot=bytes.fromhex(model.snapshot),
        rule_id=model.rule,
        terms=Terms(model.level, multiplier, model.horizon, tuple(sorted((model.elections or {}).items())), overlays),
        amount=model.amount,
        delta=delta,
        purpose=purpose,
        context=Context(c.hub, c.account, c.epoch, c.spoke, c.nonce, c.expiry),
        digest=canonical.digest(tree, domain=model.schema_),
        tree=MappingProxyType(tree),
    )


def from_bytes(data: bytes) -> Statement:
    """Parse and validate a statement document."""
    from zkmargin.circuits.schema import StatementModel, load

    return from_model(load(StatementModel, data, name="statement"))


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
