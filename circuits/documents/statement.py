"""The statement document (``zkmargin/statement/1`` and ``/2``): its models, and how it becomes a :class:`Statement`."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Discriminator, FailFast, Field, StringConstraints, Tag

from zkmargin.circuits import canonical
from zkmargin.circuits.errors import MalformedInput
from zkmargin.circuits.purpose import SHOW, ForCredit, ForShow, ForTrade, ForWithdrawal, Purpose
from zkmargin.circuits.rules import Terms
from zkmargin.circuits.schema import DESTINATION_PATTERN, Decimal, Hex32, Hex48, Name, Strict, Time, dump, load
from zkmargin.circuits.statement import Context, Statement
from zkmargin.circuits.units import PPM, parse_decimal

#: The versions of the document; its digest is over the version's own domain. The first has no purpose, and only shows.
VERSION_1, VERSION_2 = "zkmargin/statement/1", "zkmargin/statement/2"
#: Multipliers up to 1000 keep every add-on far inside the bound check.
MAX_MULTIPLIER = 1000
_AT = "statement.purpose"


class DeltaModel(Strict):
    """A public trade: signed quantity of one instrument."""

    instrument: Name
    quantity: Decimal


class ContextModel(Strict):
    """What a proof is bound to, so that it is worthless anywhere else."""

    hub: Name
    account: Name
    epoch: Annotated[int, Field(ge=0, le=2**53 - 1)]
    spoke: Name
    nonce: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    expiry: Time


class ForShowModel(Strict):
    """The statement shows solvency. Nothing may be booked on it."""

    for_: Literal["show"] = Field(alias="for")


class ForCreditModel(Strict):
    """A credit of at most ``amount`` for ``venue``, which may draw on it until ``expires`` at the latest."""

    for_: Literal["credit"] = Field(alias="for")
    venue: Name
    amount: Decimal
    expires: Time


class ForTradeModel(Strict):
    """A trade whose legs are the statement's delta, with ``counterparty`` (an account, or ``any``).

    At the snapshot's marks the legs take at most ``limit`` of the quote currency from the account.
    """

    for_: Literal["trade"] = Field(alias="for")
    limit: Decimal
    counterparty: Name


class ForWithdrawalModel(Strict):
    """A withdrawal of the statement's delta, one negative leg, to ``destination`` as custody names it."""

    for_: Literal["withdrawal"] = Field(alias="for")
    destination: Annotated[str, StringConstraints(pattern=DESTINATION_PATTERN)]


def _purpose_tag(value: Any) -> str | None:
    """Which purpose a value is of. A function, because the members' check for null runs before any of them is read."""
    tag = value.get("for") if isinstance(value, dict) else getattr(value, "for_", None)
    return tag if isinstance(tag, str) else None


PurposeModel = Annotated[
    Annotated[ForShowModel, Tag("show")]
    | Annotated[ForCreditModel, Tag("credit")]
    | Annotated[ForTradeModel, Tag("trade")]
    | Annotated[ForWithdrawalModel, Tag("withdrawal")],
    Discriminator(_purpose_tag),
]


class StatementModel(Strict):
    """``zkmargin/statement/2``: AccountSolvency with its purpose; ``zkmargin/statement/1`` has none, and only shows."""

    schema_: Literal["zkmargin/statement/1", "zkmargin/statement/2"] = Field(alias="schema")
    type: Literal["account-solvency"]
    purpose: PurposeModel | None = None
    commitment: Hex48
    domain: Literal[256, 512, 1024, 2048]
    snapshot: Hex32
    rule: Name
    level: Literal["initial", "liquidation-end", "maintenance"]
    multiplier: Decimal
    horizon: Annotated[int, Field(ge=1, le=366 * 86400)]
    amount: Decimal
    delta: Annotated[list[DeltaModel], Field(max_length=2048), FailFast()]
    elections: Annotated[dict[Name, Name], Field(min_length=1, max_length=1024)] | None = None
    overlays: Annotated[list[Name], Field(min_length=1, max_length=64)] | None = None
    context: ContextModel


def to_tree(purpose: Purpose) -> dict[str, str | int]:
    """The member ``purpose`` of a statement or demand."""
    return {"for": purpose.name, **vars(purpose)}


def purpose_from_model(model: ForShowModel | ForCreditModel | ForTradeModel | ForWithdrawalModel) -> Purpose:
    """A validated document's purpose."""
    match model.for_:
        case "credit":
            return ForCredit(model.venue, model.amount, model.expires)
        case "trade":
            return ForTrade(model.limit, model.counterparty)
        case "withdrawal":
            return ForWithdrawal(model.destination)
    return SHOW


def check_purpose(
    purpose: Purpose, *, amount: str, delta: Iterable[tuple[str, str]], venue: str, hub: str, account: str
) -> None:
    """Check that a purpose fits the rest of its statement; ``MalformedInput`` names the field.

    A credit is its venue's, of no more than the statement proves, and rests on no delta. A trade has legs. A
    withdrawal is asked for by the hub, and takes out one thing.
    """
    if isinstance(purpose, ForShow):
        return
    legs = [parse_decimal(quantity, field=f"statement.delta.{i}.quantity") for i, (_, quantity) in enumerate(delta)]
    match purpose:
        case ForCredit():
            granted = parse_decimal(purpose.amount, field=f"{_AT}.amount")
            if not 0 < granted <= parse_decimal(amount, field="statement.amount"):
                raise MalformedInput("must be above 0 and at most the statement's amount", field=f"{_AT}.amount")
            if purpose.venue != venue:
                raise MalformedInput("must be the venue that the context names", field=f"{_AT}.venue")
            if legs:
                raise MalformedInput("a credit rests on what is held, not on an order", field="statement.delta")
        case ForTrade():
            if parse_decimal(purpose.limit, field=f"{_AT}.limit") < 0:
                raise MalformedInput("must not be negative", field=f"{_AT}.limit")
            if purpose.counterparty == account:
                raise MalformedInput("an account does not trade with itself", field=f"{_AT}.counterparty")
            if not legs or 0 in legs:
                raise MalformedInput("a trade has legs, none of them 0", field="statement.delta")
        case ForWithdrawal():
            if venue != hub:
                raise MalformedInput("a withdrawal is the hub's to pay", field="statement.context.spoke")
            if len(legs) != 1 or legs[0] >= 0:
                raise MalformedInput("a withdrawal takes out one thing: one negative leg", field="statement.delta")


def parse_multiplier(text: str, *, field: str) -> Fraction:
    """A multiplier: above 0, at most 1000, in whole millionths."""
    multiplier = parse_decimal(text, field=field)
    if not 0 < multiplier <= MAX_MULTIPLIER or (multiplier * PPM).denominator != 1:
        raise MalformedInput(f"must be above 0, at most {MAX_MULTIPLIER}, with at most 6 decimals", field=field)
    return multiplier


def statement_from_model(model: StatementModel) -> Statement:
    """Build a statement from a validated document; raises ``MalformedInput`` naming the field."""
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


def statement_from_bytes(data: bytes) -> Statement:
    """Parse and validate a statement document."""
    return statement_from_model(load(StatementModel, data, name="statement"))
