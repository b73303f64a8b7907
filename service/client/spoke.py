"""The spoke's flows: check what a holder sends, request a credit, report, release. All is checked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from circuits.canonical import parse_json
from circuits.errors import StaleStatement, StatementMismatch
from circuits.statement import Statement
from circuits.units import parse_decimal
from verifier.credit_entry import CreditEntry, check_credit, check_follows
from verifier.verify import verify_account

from .exchange import Flow, Request, get, new_idempotency_key, post, segment
from .holder import Attested, Prices, accept_attested
from .trust import Trust, checked, document_of, member


@dataclass(frozen=True)
class Demand:
    """What a spoke asked of a holder: the statement must say exactly this, or more.

    ``nonce`` is the spoke's own for this request, ``max_horizon`` the oldest prices it takes, in seconds.
    """

    spoke: str
    nonce: str
    amount: str
    multiplier: str = "1"
    max_horizon: int = 3600
    overlays: tuple[str, ...] = ()
    delta: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Credit:
    """A credit as the hub signed it, and the account's epoch after it (None when positions did not change)."""

    entry: CreditEntry
    document: bytes = field(repr=False)
    attested: Attested | None = None


def check_proof(
    trust: Trust,
    demand: Demand,
    statement: Statement,
    proof: bytes,
    attestation: bytes,
    prices: Prices,
    *,
    now: int | None = None,
) -> Flow[None]:
    """All that a spoke must know before it trusts an account for an amount, without asking the hub about the account.

    The statement is the one demanded, initial level or better; the attestation is the hub's; the snapshot is the
    oracle's and in force; times hold; the proof holds. Whether the epoch is the account's latest only the hub can
    say: it does when the credit is requested. Raises the typed error of the first check that fails.
    """
    at = int(time.time()) if now is None else now
    _check_demand(demand, statement)
    if not prices.signature.in_force(at):
        raise StaleStatement("the snapshot is not in force", field="snapshot")
    attested = yield from checked(trust, "attestation", attestation)
    verify_account(statement, prices.snapshot, proof, attested, now=at)


def _check_demand(demand: Demand, statement: Statement) -> None:
    terms = statement.terms
    wanted = [
        ("context.spoke", statement.context.spoke == demand.spoke),
        ("context.nonce", statement.context.nonce == demand.nonce),
        ("amount", parse_decimal(statement.amount, field="amount") >= parse_decimal(demand.amount, field="amount")),
        ("level", terms.level == "initial"),
        ("multiplier", terms.multiplier >= parse_decimal(demand.multiplier, field="multiplier")),
        ("horizon", terms.horizon <= demand.max_horizon),
        ("overlays", set(demand.overlays) <= set(terms.overlays)),
        ("delta", statement.delta == demand.delta),
    ]
    for name, holds in wanted:
        if not holds:
            raise StatementMismatch("is not what was demanded", field=f"statement.{name}")


def request_credit(
    trust: Trust,
    statement: Statement,
    proof: bytes,
    attested: Attested,
    prices: Prices,
    *,
    amount: str,
    expires: int,
    key: str | None = None,
) -> Flow[Credit]:
    """Reserve a credit at the hub on a holder's proof; gives the signed entry, checked against what was asked.

    ``key`` is the idempotency key: after an unknown outcome ask again with the same one, and it happens once.
    ``HubProblem`` with code ``stale-epoch`` means that another change came first: the holder proves again.
    """
    body = {
        "statement": parse_json(statement.to_bytes(), name="statement"),
        "proof": {"schema": "zkmargin/proof/1", "statement": statement.digest.hex(), "proof": proof.hex()},
        "amount": amount,
        "expires": expires,
    }
    request = post("/v1/credits", body, idempotency_key=key or new_idempotency_key())
    answer = (yield request).json()
    credit = yield from _accept(trust, answer, statement.context.account)
    check_credit(credit.entry, statement, attested.attestation, prices.snapshot)
    if parse_decimal(credit.entry.amount, field="amount") != parse_decimal(amount, field="amount"):
        raise StatementMismatch("the hub issued another amount", field="credit.amount")
    return credit


def _accept(trust: Trust, answer: Any, account: str) -> Flow[Credit]:
    document = document_of(member(answer, "entry", dict))
    entry: CreditEntry = yield from checked(trust, "entry", document)
    if entry.account != account:
        raise StatementMismatch("the entry is of another account", field="credit.account")
    attested = None
    if answer.get("attested") is not None:
        attested = yield from accept_attested(trust, account, answer)
    return Credit(entry, document, attested)


def consume(
    trust: Trust,
    held: CreditEntry,
    *,
    amount: str,
    fills: Sequence[tuple[str, str]] = (),
    key: str | None = None,
) -> Flow[Credit]:
    """Report that so much more of a credit is used, and the legs that traded; gives the next signed entry."""
    body = {
        "sequence": held.sequence + 1,
        "amount": amount,
        "fills": [{"instrument": name, "quantity": quantity} for name, quantity in fills],
    }
    return (yield from _follow(trust, held, "consume", body, key))


def release(
    trust: Trust, held: CreditEntry, *, free: str = "0", used: str = "0", key: str | None = None
) -> Flow[Credit]:
    """Give back parts of a credit; gives the next signed entry."""
    body = {"sequence": held.sequence + 1, "free": free, "used": used}
    return (yield from _follow(trust, held, "release", body, key))


def expire(trust: Trust, held: CreditEntry, *, key: str | None = None) -> Flow[Credit]:
    """Free what is unused of a credit whose time is over."""
    return (yield from _follow(trust, held, "expire", None, key))


def _follow(trust: Trust, held: CreditEntry, verb: str, body: Any, key: str | None) -> Flow[Credit]:
    path, key = f"/v1/credits/{segment(held.credit)}/{verb}", key or new_idempotency_key()
    request = Request("POST", path, idempotency_key=key) if body is None else post(path, body, idempotency_key=key)
    credit = yield from _accept(trust, (yield request).json(), held.account)
    check_follows(held, credit.entry)
    return credit


def fetch_credit(trust: Trust, credit: str) -> Flow[Credit]:
    """One credit's newest signed entry."""
    answer = (yield get(f"/v1/credits/{segment(credit)}", signed=True)).json()
    document = document_of(member(answer, "entry", dict))
    entry: CreditEntry = yield from checked(trust, "entry", document)
    if entry.credit != credit:
        raise StatementMismatch("the entry is of another credit", field="credit.credit")
    return Credit(entry, document)


def fetch_credits(trust: Trust, *, live: bool = False) -> Flow[list[Credit]]:
    """All credits that the caller may see, oldest first, each with its signed entry verified."""
    out: list[Credit] = []
    after = 0
    while True:
        page = (yield get("/v1/credits", signed=True, live=str(live).lower(), after=after, limit=200)).json()
        for row in member(page, "credits", list):
            document = document_of(member(row, "entry", dict))
            entry: CreditEntry = yield from checked(trust, "entry", document)
            out.append(Credit(entry, document))
        following = page.get("next")
        if not isinstance(following, int) or following <= after:
            return out
        after = following
