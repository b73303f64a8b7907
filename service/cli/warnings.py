"""What can be said of a statement before anybody proves it: whether it can be proved at all, and what looks odd."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from zkmargin.circuits.errors import MalformedInput, StaleStatement, StatementMismatch
from zkmargin.circuits.purpose import ForWithdrawal, check_limit
from zkmargin.circuits.rules import build
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import Statement
from zkmargin.circuits.system import MAX_AMOUNT_BITS
from zkmargin.circuits.units import parse_decimal, to_lots, to_quanta


def check_request(statement: Statement, snapshot: Snapshot, now: int) -> list[str]:
    """Warnings about a statement for this snapshot; refusals that a prover or verifier would only utter later.

    Raises ``MalformedInput`` with every amount and leg that is off its grid or unknown, ``StatementMismatch`` for an
    overlay set that the snapshot lacks, ``StaleStatement`` where the request has expired at ``now`` (Unix seconds).
    """
    faults: list[MalformedInput] = []
    try:
        amount = to_quanta(statement.amount, snapshot.decimals, field="statement.amount")
        if amount < 0:
            raise MalformedInput("must not be negative", field="statement.amount")
        if amount.bit_length() > MAX_AMOUNT_BITS:
            raise MalformedInput(f"must be below 2^{MAX_AMOUNT_BITS} quanta", field="statement.amount")
    except MalformedInput as err:
        faults.append(err)
    for i, (instrument, quantity) in enumerate(statement.delta):
        try:
            row = snapshot.row_of(instrument, field=f"statement.delta.{i}.instrument")
            to_lots(quantity, snapshot.instruments[row].lot, field=f"statement.delta.{i}.quantity")
        except MalformedInput as err:
            faults.append(err)
    MalformedInput.raise_all(faults)
    check_limit(statement.purpose, statement.delta, snapshot)
    for name in statement.terms.overlays:
        if name not in snapshot.overlays:
            known = ", ".join(sorted(snapshot.overlays)[:8]) or "none"
            raise StatementMismatch(
                f"the snapshot defines no such overlay set; it has {known}", field=f"statement.overlays.{name}"
            )
    if now > statement.context.expiry:
        raise StaleStatement("the request has expired", field="statement.context.expiry")
    legs = [] if isinstance(statement.purpose, ForWithdrawal) else leg_warnings(statement.delta)
    return [*time_warnings(statement, snapshot, now), *legs, *_elections(statement, snapshot)]


def time_warnings(statement: Statement, snapshot: Snapshot, now: int) -> list[str]:
    """Why a verifier whose clock shows ``now`` refuses this statement, whatever is proved."""
    try:
        statement.check_time(snapshot, now)
    except StaleStatement as err:
        return [f"a verifier refuses this statement now: {err}"]
    return []


def leg_warnings(delta: Sequence[tuple[str, str]]) -> list[str]:
    """A trade gives one thing for another: quantities of one sign only are a gift or a payment."""
    quantities: list[Fraction] = [parse_decimal(quantity, field="statement.delta") for _, quantity in delta]
    signs = {quantity > 0 for quantity in quantities if quantity}
    if len(signs) != 1:
        return []
    if signs == {True}:
        return [
            "the delta only gives to the account: a trade has a second leg, what is paid (docs/FILES.md, Statement)"
        ]
    return ["the delta only takes from the account and nothing comes in for it: a payment, unless a leg is missing"]


def _elections(statement: Statement, snapshot: Snapshot) -> list[str]:
    try:
        build(snapshot, statement.terms).elect(dict(statement.terms.elections))
    except StatementMismatch as err:
        return [f"no prover can use this statement: {err}"]
    return []
