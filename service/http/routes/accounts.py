"""Accounts: the operators' calls, the holder's own, and the attestation for whoever is entitled."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import StringConstraints
from sqlalchemy import Connection

from zkmargin.circuits.errors import MalformedInput
from zkmargin.circuits.purpose import ForWithdrawal
from zkmargin.circuits.schema import Decimal, Name, Strict
from zkmargin.service.errors import NotFound
from zkmargin.service.http.auth import Caller, HubRoute, IdempotencyKey, RequestDigest
from zkmargin.service.http.describe import signed
from zkmargin.service.http.domain import Domain
from zkmargin.service.http.hub_context import HubLedger, HubPool
from zkmargin.service.http.proving import PROOF_PROBLEMS, Part, ProvedBody, change_on_proofs, proved_of
from zkmargin.service.http.routes.transparency import InclusionView, Size
from zkmargin.service.http.routes.venues import VenueId
from zkmargin.service.http.schemas import ID_PATTERN, Amount, Answer, AttestedView, Count, Id, PublicKey
from zkmargin.service.keys.sealing import check_encryption_key
from zkmargin.service.ledger import accounts, callers, consent, epochs, idempotency, transparency, venues
from zkmargin.service.ledger.answers import AccountState, Attested, Grant, Logged
from zkmargin.service.ledger.callers import Principal
from zkmargin.service.ledger.context import Ledger

router = APIRouter(prefix="/v1/accounts", tags=["accounts"], route_class=HubRoute)
DOMAIN = Domain(router)
AccountId = Annotated[str, Path(pattern=ID_PATTERN, description="name of an account")]
Epoch = Annotated[int | None, Query(ge=1, le=2**53 - 1, description="the latest by default")]


class AccountBody(Strict):
    """An account to open. ``encryption_key`` is the holder's raw X25519 public key, to which openings are encrypted."""

    account: Id
    key: PublicKey
    encryption_key: PublicKey
    jurisdiction: Name | None = None


class AccountView(Answer):
    """An account without its positions."""

    account: Id
    rule: Name
    jurisdiction: Name | None
    state: Literal["open", "frozen"]
    epoch: Count
    live_credit: Amount
    attested: AttestedView


class GrantView(Answer):
    """Whether a venue may see an account's attestations."""

    account: Id
    venue: Id
    granted: bool


class AttestationProof(AttestedView):
    """An attestation and the proof that it is in the log."""

    inclusion: InclusionView


class OpeningView(AttestedView):
    """The latest opening, encrypted to the holder: HPKE (RFC 9180), as hex."""

    sealed_opening: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]+$")]


class DepositBody(Strict):
    """What custody received; ``reference`` is custody's and books once."""

    instrument: Name
    quantity: Decimal
    reference: Name


class WithdrawalBody(ProvedBody):
    """What to pay out, with a proof that the account does without: ``statement.delta`` is this one leg, negative.

    The statement's purpose names the destination, and the account's key authorises it.
    """

    instrument: Name
    quantity: Decimal


def expect_owner(caller: Principal, account: str, *others: str) -> None:
    """To all but the owner and these kinds an account does not exist: ``NotFound``."""
    if caller.kind not in others and (caller.kind, caller.name) != ("account", account):
        raise NotFound("no such account", field="account")


@router.post(
    "",
    **signed(
        "open_account", "accounts", "conflict", "not-found", "stale-snapshot", changes=True, body=True, status=201
    ),
)
def open_account(
    caller: Caller, key: IdempotencyKey, request: RequestDigest, ledger: HubLedger, body: AccountBody
) -> AccountView:
    """Open an account under the newest snapshot's rule. Operators only."""
    caller.expect("operator")
    check_encryption_key(bytes.fromhex(body.encryption_key), field="encryption_key")

    def unit(tx: Connection) -> AccountState:
        return accounts.open_account(
            ledger, tx, body.account, key=body.key, encryption_key=body.encryption_key, jurisdiction=body.jurisdiction
        )

    answer, _ = idempotency.once(ledger, caller.caller, key, request, unit, status=201)
    return AccountView.model_validate(answer)


@router.get("/{account}", **signed("get_account", "accounts", "not-found"))
def get(caller: Caller, ledger: HubLedger, account: AccountId) -> AccountView:
    """An account without its positions: for its owner and operators."""
    expect_owner(caller, account, "operator")

    def unit(tx: Connection) -> AccountState:
        found = epochs.read_account(ledger, tx, account)
        return accounts.state_of(found, epochs.attested(tx, account, found.epoch))

    return AccountView.model_validate(ledger.database.read(unit).to_json(ledger.money))


@router.post(
    "/{account}/deposits",
    **signed("deposit", "accounts", "not-found", "conflict", "position-limit", changes=True, body=True, status=201),
)
def deposit(
    caller: Caller,
    key: IdempotencyKey,
    request: RequestDigest,
    ledger: HubLedger,
    account: AccountId,
    body: DepositBody,
) -> AccountView:
    """Book what custody received, under a new epoch. Operators only."""
    caller.expect("operator")
    answer, _ = idempotency.once(
        ledger, caller.caller, key, request,
        lambda tx: accounts.deposit(ledger, tx, account, body.instrument, body.quantity, body.reference), status=201,
    )  # fmt: skip
    return AccountView.model_validate(answer)


@router.post(
    "/{account}/withdrawals",
    **signed(
        "withdraw", "accounts", "not-found", "account-frozen", "breaker-open", "stale-snapshot", "stale-epoch",
        "statement-refused", "not-authorised", "position-limit", *PROOF_PROBLEMS, changes=True, body=True, status=201,
    ),
)  # fmt: skip
async def withdraw(
    caller: Caller,
    key: IdempotencyKey,
    digest: RequestDigest,
    ledger: HubLedger,
    account: AccountId,
    body: WithdrawalBody,
    pool: HubPool,
) -> AccountView:
    """Take out what the account is proved to do without: the statement's delta is this one leg, its `spoke` the hub."""
    expect_owner(caller, account)
    proved = proved_of(body)
    statement = proved.statement
    if statement.context.account != account:
        raise MalformedInput("names another account", field="statement.context.account")

    def before(tx: Connection) -> Attested:
        held = epochs.read_account(ledger, tx, account)
        accounts.expect_terms(ledger, held, statement, venue=ledger.name)
        epochs.expect_epoch(held, statement.context.epoch)
        consent.expect_purpose(statement, ForWithdrawal)
        consent.expect_authorised(ledger, tx, proved)
        return epochs.attested(tx, account, held.epoch)

    def unit(tx: Connection) -> AccountState:
        return accounts.withdraw(ledger, tx, account, body.instrument, body.quantity, proved)

    call = idempotency.Call(caller.caller, key, digest, 201)
    answer = await change_on_proofs(pool, ledger, call, [Part(before, proved)], unit)
    return AccountView.model_validate(answer)


@router.post(
    "/{account}/epochs",
    **signed("recommit", "accounts", "not-found", "position-limit", changes=True, status=201),
)
def recommit(
    caller: Caller, key: IdempotencyKey, request: RequestDigest, ledger: HubLedger, account: AccountId
) -> AccountView:
    """A new epoch of the same positions, on the newest registry: when the snapshot lists other instruments."""
    expect_owner(caller, account, "operator")
    answer, _ = idempotency.once(
        ledger, caller.caller, key, request, lambda tx: accounts.recommit(ledger, tx, account), status=201
    )
    return AccountView.model_validate(answer)


def _set_state(caller: Principal, key: str, request: bytes, ledger: Ledger, account: str, state: str) -> AccountView:
    caller.expect("operator")
    answer, _ = idempotency.once(
        ledger, caller.caller, key, request, lambda tx: accounts.set_state(ledger, tx, account, state)
    )
    return AccountView.model_validate(answer)


@router.post("/{account}/freeze", **signed("freeze_account", "accounts", "not-found", changes=True))
def freeze(
    caller: Caller, key: IdempotencyKey, request: RequestDigest, ledger: HubLedger, account: AccountId
) -> AccountView:
    """No new credit and no withdrawal; what is out may be reported, released, expired. Operators only."""
    return _set_state(caller, key, request, ledger, account, "frozen")


@router.post("/{account}/unfreeze", **signed("unfreeze_account", "accounts", "not-found", changes=True))
def unfreeze(
    caller: Caller, key: IdempotencyKey, request: RequestDigest, ledger: HubLedger, account: AccountId
) -> AccountView:
    """Open a frozen account again. Operators only."""
    return _set_state(caller, key, request, ledger, account, "open")


@router.get("/{account}/opening", **signed("get_opening", "accounts", "not-found"))
def opening(caller: Caller, ledger: HubLedger, account: AccountId) -> OpeningView:
    """The holder's own opening of the latest epoch, encrypted to the holder's key. Nobody else gets it."""
    expect_owner(caller, account)
    found = ledger.database.read(lambda tx: accounts.encrypted_opening(ledger, tx, account))
    return OpeningView.model_validate(found.to_json(ledger.money))


@router.get("/{account}/attestation", **signed("get_attestation", "accounts", "not-found"))
def attestation(
    caller: Caller, ledger: HubLedger, account: AccountId, epoch: Epoch = None, size: Size = None
) -> AttestationProof:
    """The attestation of an epoch with its inclusion proof: for the owner, operators, and venues with a grant."""

    def unit(tx: Connection) -> Logged:
        callers.may_see(tx, caller, account)
        found = epochs.attested(tx, account, epoch)
        return Logged(found, transparency.logged(tx, found.leaf, size))

    return AttestationProof.model_validate(ledger.database.read(unit).to_json(ledger.money))


@router.put("/{account}/grants/{venue}", **signed("grant", "accounts", "not-found", "unknown-venue", changes=True))
def grant(
    caller: Caller, key: IdempotencyKey, request: RequestDigest, ledger: HubLedger, account: AccountId, venue: VenueId
) -> GrantView:
    """Let a venue see the account's attestations. Owner only."""
    return _grant(caller, key, request, ledger, account, venue, granted=True)


@router.delete("/{account}/grants/{venue}", **signed("revoke", "accounts", "not-found", "unknown-venue", changes=True))
def revoke(
    caller: Caller, key: IdempotencyKey, request: RequestDigest, ledger: HubLedger, account: AccountId, venue: VenueId
) -> GrantView:
    """Take the grant back. Owner only."""
    return _grant(caller, key, request, ledger, account, venue, granted=False)


def _grant(
    caller: Principal, key: str, request: bytes, ledger: Ledger, account: str, venue: str, *, granted: bool
) -> GrantView:
    expect_owner(caller, account)

    def unit(tx: Connection) -> Grant:
        epochs.read_account(ledger, tx, account)
        venues.read(tx, venue)
        (callers.grant if granted else callers.revoke)(tx, account, venue)
        return Grant(account, venue, granted)

    answer, _ = idempotency.once(ledger, caller.caller, key, request, unit)
    return GrantView.model_validate(answer)
