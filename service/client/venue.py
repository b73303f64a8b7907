"""The venue's flows: check what a holder offers, request a credit, report, release. All is checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from zkmargin.circuits.errors import MalformedInput, StaleStatement, StatementMismatch
from zkmargin.circuits.purpose import ForCredit, ForShow
from zkmargin.circuits.units import parse_decimal
from zkmargin.service.client.exchange import Flow, Request, get, new_idempotency_key, post, segment
from zkmargin.service.client.holder import Attested, Prices, accept_attested
from zkmargin.service.client.negotiation import Demand, Offer
from zkmargin.service.client.trust import Trust, accept_inclusion, checked, document_of, member
from zkmargin.verifier.facts.attestation import Attestation
from zkmargin.verifier.facts.credit_entry import CreditEntry, check_credit, check_follows
from zkmargin.verifier.proof_document import ProofDocument
from zkmargin.verifier.verdict import Evidence, Signed, examine


@dataclass(frozen=True)
class Credit:
    """A credit as the hub signed it, and the account's epoch after it (None when positions did not change)."""

    entry: CreditEntry
    document: bytes = field(repr=False)
    attested: Attested | None = None


def check_offer(trust: Trust, demand: Demand, offer: Offer, prices: Prices) -> Flow[Attested]:
    """All that a venue must know before it trusts an account for an amount; gives the attestation, checked.

    In order: the statement is the one demanded, at initial level or better, and authorised where it moves value (by
    whose key only the hub can say); the snapshot is the oracle's and in force;
    the attestation is the hub's; times hold; the proof holds; the attestation is in the hub's log, of which the hub
    shows one history, under a recent head of its newest key. All times are checked by the trust's clock. Whether the
    epoch is the account's latest only the hub can say, and does when the credit is requested. A nonce must be demanded
    once: that is for the venue to see to.

    Raises the typed error of the first check that fails; ``StaleStatement`` also where a later epoch was seen before.
    """
    floor = trust.newest(offer.statement.context.account)
    attested = yield from check_proof(trust, demand, offer, prices)
    trust.see(attested.attestation, floor=floor)
    return attested


def check_proof(trust: Trust, demand: Demand, offer: Offer, prices: Prices) -> Flow[Attested]:
    """All of :func:`check_offer` but that no later epoch was seen before."""
    now = trust.clock()
    demand.check(offer.statement)
    if not isinstance(offer.statement.purpose, ForShow):
        offer.evidence()
    if not prices.signature.in_force(now):
        raise StaleStatement("the snapshot is not in force", field="snapshot")
    fact: Attestation = yield from checked(trust, "attestation", offer.attestation)
    examine(
        Evidence(
            offer.statement, prices.snapshot, ProofDocument(offer.statement.digest, offer.proof), now=now,
            attestation=lambda: Signed(fact), signed_snapshot=lambda: Signed(prices.signature),
        )
    ).require()  # fmt: skip
    inclusion = (yield get("/v1/log/inclusion", leaf=offer.leaf)).json()
    yield from accept_inclusion(trust, offer.attestation, inclusion)
    return Attested(fact, offer.attestation, offer.leaf)


def request_credit(
    trust: Trust,
    demand: Demand,
    offer: Offer,
    prices: Prices,
    *,
    expires: int | None = None,
    amount: str | None = None,
    key: str | None = None,
) -> Flow[Credit]:
    """Check an offer and reserve the credit at the hub: the signed entry, checked against what was asked.

    ``amount`` and ``expires`` are what the holder authorised by default, and at most that. ``key`` is the idempotency
    key: after an unknown outcome ask again with the same one, and it happens once. ``HubProblem`` with code
    ``stale-epoch`` means that another change came first: the holder fetches its holding again and makes a new offer.
    """
    purpose = demand.purpose
    if not isinstance(purpose, ForCredit):
        raise StatementMismatch("a credit needs a demand for one", field="demand.purpose")
    wanted = purpose.amount if amount is None else amount
    end = purpose.expires if expires is None else expires
    # A later epoch than the offer's may be this very credit's, whose answer was lost: the hub says which.
    attested = yield from check_proof(trust, demand, offer, prices)
    trust.see(attested.attestation)
    statement = offer.statement
    body = {**offer.evidence(), "amount": wanted, "expires": end}
    answer = (yield post("/v1/credits", body, idempotency_key=key or new_idempotency_key())).json()
    credit = yield from _accept(trust, answer, statement.context.account)
    entry = credit.entry
    check_credit(entry, statement, attested.attestation, prices.snapshot, caip2=demand.caip2, now=trust.clock())
    _expect(entry, {"amount": wanted, "used": "0", "released": "0", "sequence": 0, "expires": end})
    _changed(credit).expect_after(statement.context.epoch)
    return credit


def _changed(credit: Credit) -> Attested:
    """The new epoch that a change of live credit makes."""
    if credit.attested is None:
        raise MalformedInput("the hub's answer is not of its form", field="response.attested")
    return credit.attested


def _expect(entry: CreditEntry, wanted: dict[str, Any]) -> None:
    """The entry says what was asked for; ``StatementMismatch`` naming the field."""
    for name, value in wanted.items():
        has: Any = getattr(entry, name)
        if isinstance(has, str):
            has, value = parse_decimal(has, field=name), Fraction(value)  # noqa: PLW2901
        if has != value:
            raise StatementMismatch("the hub signed another than was asked for", field=f"credit.{name}")


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
    """Report that so much more of a credit is used, and for which fills; gives the next signed entry.

    The hub keeps the report and changes no position: what a venue holds for an account is the venue's to margin.
    """
    body = {
        "sequence": held.sequence + 1,
        "amount": amount,
        "fills": [{"instrument": name, "quantity": quantity} for name, quantity in fills],
    }
    credit = yield from _follow(trust, held, "consume", body, key)
    used = Fraction(held.used) + parse_decimal(amount, field="amount")
    _expect(credit.entry, {"sequence": held.sequence + 1, "used": used, "released": held.released})
    if credit.attested is not None:
        raise StatementMismatch("a report changes no position", field="response.attested")
    return credit


def release(
    trust: Trust, held: CreditEntry, *, free: str = "0", used: str = "0", paid: str = "0", key: str | None = None
) -> Flow[Credit]:
    """Give back parts of a credit, free or used; gives the next signed entry. All released closes it.

    Of the used part ``paid`` goes to the venue: the account loses the cash, the hub owes it to the venue. The entry
    does not tell the payment apart. An operator may release for a venue that is gone, without payment.
    """
    back = parse_decimal(used, field="used")
    if parse_decimal(paid, field="paid") > back:
        raise MalformedInput("at most the used part that is released", field="paid")
    body = {"sequence": held.sequence + 1, "free": free, "used": used, "paid": paid}
    credit = yield from _follow(trust, held, "release", body, key)
    released = Fraction(held.released) + back + parse_decimal(free, field="free")
    wanted = {"sequence": held.sequence + 1, "used": Fraction(held.used) - back, "released": released}
    _expect(credit.entry, wanted)
    _changed(credit)
    return credit


def expire(trust: Trust, held: CreditEntry, *, key: str | None = None) -> Flow[Credit]:
    """Free what is unused of a credit whose time is over; gives its newest signed entry, in which nothing is free."""
    credit = yield from _follow(trust, held, "expire", None, key)
    if credit.entry.open:
        raise StatementMismatch("the hub left something free", field="credit.released")
    return credit


def _follow(trust: Trust, held: CreditEntry, verb: str, body: Any, key: str | None) -> Flow[Credit]:
    path, key = f"/v1/credits/{segment(held.credit)}/{verb}", key or new_idempotency_key()
    request = Request("POST", path, idempotency_key=key) if body is None else post(path, body, idempotency_key=key)
    credit = yield from _accept(trust, (yield request).json(), held.account)
    check_follows(held, credit.entry)
    return credit


def fetch_credit(trust: Trust, credit: str, *, held: CreditEntry | None = None) -> Flow[Credit]:
    """One credit's newest signed entry, which must follow the one held, if given."""
    answer = (yield get(f"/v1/credits/{segment(credit)}", signed=True)).json()
    document = document_of(member(answer, "entry", dict))
    entry: CreditEntry = yield from checked(trust, "entry", document)
    if entry.credit != credit:
        raise StatementMismatch("the entry is of another credit", field="credit.credit")
    if held is not None:
        check_follows(held, entry)
    return Credit(entry, document)


def fetch_credits(trust: Trust, *, live: bool = False) -> Flow[list[Credit]]:
    """All credits that the caller may see, oldest first, each with its signed entry verified."""
    found: dict[str, Credit] = {}
    after = 0
    while True:
        page = (yield get("/v1/credits", signed=True, live=str(live).lower(), after=after, limit=200)).json()
        before = len(found)
        for row in member(page, "credits", list):
            document = document_of(member(row, "entry", dict))
            entry: CreditEntry = yield from checked(trust, "entry", document)
            found[entry.credit] = Credit(entry, document)
        following = page.get("next")
        if not isinstance(following, int):
            return list(found.values())
        if following <= after or len(found) == before:
            raise MalformedInput("a list of credits without an end", field="response.next")
        after = following
