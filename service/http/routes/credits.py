"""Credits: the venues' calls."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import Field
from sqlalchemy import Connection

from zkmargin.circuits.errors import MalformedInput
from zkmargin.circuits.schema import Decimal, Name, Strict, Time
from zkmargin.circuits.units import to_quanta
from zkmargin.service.errors import NotFound
from zkmargin.service.http.auth import Caller, HubRoute, IdempotencyKey, RequestDigest
from zkmargin.service.http.describe import signed
from zkmargin.service.http.domain import Domain
from zkmargin.service.http.hub_context import HubLedger, HubPool
from zkmargin.service.http.proving import PROOF_PROBLEMS, Part, ProvedBody, change_on_proofs, proved_of
from zkmargin.service.http.schemas import Amount, Answer, AttestedView, Count, CreditId, Id, SignedDocument
from zkmargin.service.ledger import answers, breakers, credits, idempotency, renewal
from zkmargin.service.ledger.answers import CreditPage, CreditState
from zkmargin.service.ledger.callers import Principal
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.store.rows import CreditRow
from zkmargin.service.store.tables import MAX_QUANTA

router = APIRouter(prefix="/v1/credits", route_class=HubRoute)
DOMAIN = Domain(router)
CreditPath = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="id of a credit")]
Sequence = Annotated[int, Field(ge=1, le=2**53 - 1)]


class CreditBody(ProvedBody):
    """A credit on a proof that the account's key authorises: at most the purpose's amount, until its end at most."""

    amount: Decimal
    expires: Time


class FillBody(Strict):
    """One leg of a trade: signed quantity in units."""

    instrument: Name
    quantity: Decimal


class ConsumeBody(Strict):
    """A venue's report: so much more is used, for these fills. ``sequence`` counts the credit's changes."""

    sequence: Sequence
    amount: Amount
    fills: Annotated[list[FillBody], Field(max_length=64)] = Field(default_factory=list)


class ReleaseBody(Strict):
    """Parts of a credit to give back. ``paid``, at most ``used``, is what the account pays the venue of it."""

    sequence: Sequence
    free: Amount = "0"
    used: Amount = "0"
    paid: Amount = "0"


class CreditView(Answer):
    """A credit and its signed entry."""

    credit: CreditId
    account: Id
    venue: Id
    epoch: Count
    amount: Amount
    free: Amount
    used: Amount
    released: Amount
    state: Literal["live", "closed"]
    sequence: Count
    issued: Time
    expires: Time
    entry: SignedDocument


class CreditChange(CreditView):
    """A credit after a change; ``attested`` is the account's new epoch, or null when positions did not change."""

    attested: AttestedView | None


class CreditList(Answer):
    """A page of credits, oldest first; ``next`` continues it."""

    credits: list[CreditView]
    next: Count | None


def _quanta(ledger: Ledger, text: str, field: str) -> int:
    amount = to_quanta(text, ledger.decimals, field=field)
    if amount > MAX_QUANTA:
        raise MalformedInput("must be below 2^63 quanta", field=field)
    return amount


@router.post(
    "",
    **signed(
        "request_credit", "credits", "not-found", "unknown-venue", "venue-suspended", "account-frozen", "cap-exceeded",
        "breaker-open", "stale-snapshot", "stale-epoch", "amount-above-proof", "statement-refused",
        "not-authorised", "position-limit", *PROOF_PROBLEMS, changes=True, body=True, status=201,
    ),
)  # fmt: skip
async def reserve(
    caller: Caller, key: IdempotencyKey, digest: RequestDigest, ledger: HubLedger, body: CreditBody, pool: HubPool
) -> CreditChange:
    """Reserve a credit on a proof of the account's latest epoch, as its key authorises: one transaction, one winner.

    ``stale-epoch`` means that another change came first: the holder fetches the new opening and proves again.
    """
    caller.expect("venue")
    amount, proved = ledger.quanta(body.amount, field="amount"), proved_of(body)
    answer = await change_on_proofs(
        pool, ledger, idempotency.Call(caller.caller, key, digest, 201),
        [Part(lambda tx: credits.precheck(ledger, tx, caller.name, proved, amount, body.expires), proved)],
        lambda tx: credits.reserve(ledger, tx, caller.name, proved, amount, body.expires),
        rejected=lambda: breakers.count_failure(ledger, caller.name),
    )  # fmt: skip
    return CreditChange.model_validate(answer)


def _may_see(caller: Principal, row: CreditRow) -> None:
    mine = {"operator": True, "venue": row.venue == caller.name, "account": row.account == caller.name}
    if not mine.get(caller.kind, False):
        raise NotFound("no such credit", field="credit")


@router.get("", **signed("list_credits", "credits"))
def listing(
    caller: Caller,
    ledger: HubLedger,
    live: Annotated[bool, Query(description="only credits that are live")] = False,
    after: Annotated[int, Query(ge=0, le=2**53 - 1, description="`next` of the page before")] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> CreditList:
    """Credits, oldest first: a venue's own, an account's own, or all for operators."""
    caller.expect("operator", "venue", "account")
    account = caller.name if caller.kind == "account" else None
    venue = caller.name if caller.kind == "venue" else None

    def unit(tx: Connection) -> CreditPage:
        page = credits.listing(tx, account=account, venue=venue, live=live, after=after, limit=limit)
        return replace(page, credits=tuple(renewal.shown(ledger, tx, credit) for credit in page.credits))

    return CreditList.model_validate(ledger.database.read(unit).to_json(ledger.money))


@router.get("/{credit}", **signed("get_credit", "credits", "not-found"))
def get(caller: Caller, ledger: HubLedger, credit: CreditPath) -> CreditView:
    """One credit: for its venue, its account and operators."""

    def unit(tx: Connection) -> CreditState:
        row = credits.read(tx, credit)
        _may_see(caller, row)
        return renewal.shown(ledger, tx, credits.state_of(row))

    return CreditView.model_validate(ledger.database.read(unit).to_json(ledger.money))


@router.post(
    "/{credit}/consume",
    **signed(
        "consume_credit", "credits", "not-found", "sequence-conflict", "credit-expired", "amount-unavailable",
        changes=True, body=True,
    ),
)  # fmt: skip
def consume(
    caller: Caller,
    key: IdempotencyKey,
    request: RequestDigest,
    ledger: HubLedger,
    credit: CreditPath,
    body: ConsumeBody,
) -> CreditChange:
    """Report what is used, and for which fills. The journal keeps it; the credit stays live."""
    caller.expect("venue")
    amount = _quanta(ledger, body.amount, "amount")
    fills = [(fill.instrument, fill.quantity) for fill in body.fills]
    answer, _ = idempotency.once(
        ledger, caller.caller, key, request,
        lambda tx: credits.consume(ledger, tx, caller.name, credit, body.sequence, amount, fills),
    )  # fmt: skip
    return CreditChange.model_validate(answer)


@router.post(
    "/{credit}/release",
    **signed(
        "release_credit", "credits", "not-found", "sequence-conflict", "amount-unavailable", changes=True, body=True
    ),
)
def release(
    caller: Caller,
    key: IdempotencyKey,
    request: RequestDigest,
    ledger: HubLedger,
    credit: CreditPath,
    body: ReleaseBody,
) -> CreditChange:
    """Give back parts of a credit; of the used part, ``paid`` goes to the venue from the account's cash.

    Only its venue can, or an operator for a venue that is gone, without payment.
    """
    caller.expect("venue", "operator")
    free, used, paid = (_quanta(ledger, getattr(body, name), name) for name in ("free", "used", "paid"))
    venue = caller.name if caller.kind == "venue" else None
    answer, _ = idempotency.once(
        ledger, caller.caller, key, request,
        lambda tx: credits.release(ledger, tx, venue, credit, body.sequence, free, used, paid),
    )  # fmt: skip
    return CreditChange.model_validate(answer)


@router.post("/{credit}/expire", **signed("expire_credit", "credits", "not-found", "not-expired", changes=True))
def expire(
    caller: Caller, key: IdempotencyKey, request: RequestDigest, ledger: HubLedger, credit: CreditPath
) -> CreditChange:
    """Free what is unused of a credit whose time is over. The hub does so by itself; this does it now."""

    def unit(tx: Connection) -> answers.CreditChange:
        _may_see(caller, credits.read(tx, credit))
        change = credits.expire(ledger, tx, credit)
        return replace(change, credit=renewal.shown(ledger, tx, change.credit))

    answer, _ = idempotency.once(ledger, caller.caller, key, request, unit)
    return CreditChange.model_validate(answer)
