"""A statement's purpose from the options of a command."""

from __future__ import annotations

from zkmargin.circuits.errors import MalformedInput, StaleStatement
from zkmargin.circuits.purpose import ANY, SHOW, ForCredit, ForTrade, ForWithdrawal, Purpose

#: What each purpose has besides its name: one that it lacks was meant for another.
_OPTIONS: dict[str, tuple[str, ...]] = {
    "show": (), "credit": ("expires",), "trade": ("limit", "counterparty"), "withdrawal": ("to",)
}  # fmt: skip


def purpose_of(
    use: str, venue: str, amount: str, now: int, *, expires: int | None = None, limit: str | None = None,
    counterparty: str | None = None, destination: str | None = None,
) -> Purpose:  # fmt: skip
    """A statement's purpose from what a person gives: its name, and the members that it has. A credit without
    ``expires`` (Unix seconds) ends an hour from ``now``.

    Raises ``MalformedInput`` for a member that is missing or of another purpose, ``StaleStatement`` for a credit that
    has ended.
    """
    given = {"expires": expires, "limit": limit, "counterparty": counterparty, "to": destination}
    for name, value in given.items():
        if value is not None and use in _OPTIONS and name not in _OPTIONS[use]:
            raise MalformedInput(f"--for {use} has no --{name}", field=name)
    if expires is not None and expires <= now:
        raise StaleStatement("the credit would have ended already", field="expires")
    match use:
        case "show":
            return SHOW
        case "credit":
            return ForCredit(venue, amount, now + 3600 if expires is None else expires)
        case "trade" if limit is not None:
            return ForTrade(limit, counterparty or ANY)
        case "withdrawal" if destination is not None:
            return ForWithdrawal(destination)
        case "trade" | "withdrawal":
            missing = "limit" if use == "trade" else "to"
            raise MalformedInput(f"--for {use} needs --{missing}", field=missing)
    raise MalformedInput("must be show, credit, trade or withdrawal", field="for")
