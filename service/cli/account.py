"""``zkmargin account``: the holder's own commands, and the operator's on an account."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zkmargin.circuits.errors import MalformedInput
from zkmargin.service.cli.authorise import PolicyFile, Yes, agree, authorise
from zkmargin.service.cli.console import emit, reports_errors
from zkmargin.service.cli.options import Json
from zkmargin.service.cli.outputs import Writes
from zkmargin.service.cli.session import (
    EncryptionKey,
    Force,
    OracleKeys,
    Session,
    Unencrypted,
    command,
    oracle_keys,
    raw_public,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from zkmargin.service.client import Attested, Holding, Prices

account_app = typer.Typer(help="An account at a hub: the holder's commands and the operator's.", no_args_is_help=True)
account_app.command("authorise")(authorise)
Account = Annotated[str, typer.Argument(help="Name of the account.")]
Venue = Annotated[str, typer.Argument(help="Name of the venue.")]
Elect = Annotated[list[str] | None, typer.Option(help="A public election, NAME=PIECE; repeatable.")]


@account_app.command()
@reports_errors
def keygen(
    key: Annotated[
        Path, typer.Option(help="Where to write the signing key (secret)."), Writes("signing key", only_copy=True)
    ],
    public: Annotated[Path, typer.Option(help="Where to write its public key."), Writes("public signing key")],
    encryption_key: Annotated[
        Path, typer.Option(help="Where to write the encryption key (secret)."), Writes("encryption key", only_copy=True)
    ],
    encryption_public: Annotated[
        Path, typer.Option(help="Where to write its public key."), Writes("public encryption key")
    ],
    unencrypted: Unencrypted = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Make a holder's keys: Ed25519 to sign requests, X25519 to which the hub encrypts openings."""
    from zkmargin.service import files
    from zkmargin.service.keys.sealing import generate_encryption_key
    from zkmargin.service.keys.signing_keys import generate_key, private_pem, public_pem

    made, (secret, shown) = generate_key(), generate_encryption_key()
    files.write_files(
        files.secret(key, private_pem(made), unencrypted=unencrypted),
        files.secret(encryption_key, secret, unencrypted=unencrypted),
        files.public(public, public_pem(made)),
        files.public(encryption_public, shown),
        force=force,
    )
    emit(
        {"public": str(public), "encryption_public": str(encryption_public)},
        as_json=as_json,
        text=lambda: typer.echo(f"public keys -> {public}, {encryption_public}"),
    )


def _show(session: Session, attested: Attested, done: str) -> None:
    fact = attested.attestation
    session.emit(
        {"account": fact.account, "epoch": fact.epoch, "commitment": fact.commitment.hex(), "leaf": attested.leaf},
        f"{done}: account {fact.account}, epoch {fact.epoch}, leaf {attested.leaf} of the log",
    )


@command(account_app, "open")
def open_account(
    session: Session,
    account: Account,
    public: Annotated[Path, typer.Option(help="The holder's public signing key (PEM).")],
    encryption_public: Annotated[Path, typer.Option(help="The holder's public encryption key (PEM).")],
    jurisdiction: Annotated[
        str | None, typer.Option(help="Overlay set that every statement of the account must carry.")
    ] = None,
) -> None:
    """As an operator: open an account for a holder's keys."""
    from zkmargin.service.client import open_account as flow
    from zkmargin.service.files import read_file
    from zkmargin.service.keys.sealing import load_encryption_public

    keys = raw_public(public).hex(), load_encryption_public(read_file(encryption_public)).hex()
    made = flow(
        session.trust, account, public=keys[0], encryption_public=keys[1], jurisdiction=jurisdiction, key=session.key
    )
    _show(session, session.run(made), "opened")


@command(account_app, "show")
def show(session: Session, account: Account) -> None:
    """Show an account without its positions, as the hub says."""
    from zkmargin.service.client import fetch_account

    tree = session.run(fetch_account(account))
    session.emit(
        {name: tree.get(name) for name in ("account", "rule", "jurisdiction", "state", "epoch", "live_credit")}
    )


@command(account_app, "deposit")
def deposit(
    session: Session,
    account: Account,
    instrument: Annotated[str, typer.Option(help="What came in.")],
    quantity: Annotated[str, typer.Option(help="How much, in units.")],
    reference: Annotated[str, typer.Option(help="Custody's own name of the receipt; books once.")],
) -> None:
    """As an operator: book what custody received."""
    from zkmargin.service.client import deposit as flow

    made = flow(session.trust, account, instrument=instrument, quantity=quantity, reference=reference, key=session.key)
    _show(session, session.run(made), "deposited")


def _prices_and_holding(
    session: Session, account: str, encryption_key: Path, oracle_key: list[Path]
) -> tuple[Prices, Holding]:
    """The newest prices and the holder's own opening on them, both checked."""
    from zkmargin.service.client import fetch_holding, fetch_prices
    from zkmargin.service.files import read_file, unseal
    from zkmargin.service.keys.sealing import load_encryption_key

    private = load_encryption_key(unseal(read_file(encryption_key), name="encryption-key"))
    prices = session.run(fetch_prices(oracle_keys(oracle_key)))
    return prices, session.run(fetch_holding(session.trust, account, private, prices.snapshot))


@command(account_app, "withdraw")
def withdraw(
    session: Session,
    account: Account,
    instrument: Annotated[str, typer.Option(help="What to take out.")],
    quantity: Annotated[str, typer.Option(help="How much, in units.")],
    encryption_key: EncryptionKey,
    oracle_key: OracleKeys,
    destination: Annotated[str, typer.Option("--to", help="Where custody pays it, as custody names it.")],
    elect: Elect = None,
    overlay: Annotated[list[str] | None, typer.Option(help="The account's jurisdiction; repeatable.")] = None,
    yes: Yes = False,
    policy: PolicyFile = None,
) -> None:
    """As the holder: prove here that the account can do without it, authorise it, and withdraw it."""
    from zkmargin.service.cli.options import clock
    from zkmargin.service.client import authorise, withdrawal_statement
    from zkmargin.service.client import withdraw as flow

    prices, holding = _prices_and_holding(session, account, encryption_key, oracle_key)
    stated = withdrawal_statement(
        prices, holding, instrument=instrument, quantity=quantity, destination=destination,
        elections=_elections(elect), overlays=overlay or [],
    )  # fmt: skip
    agree(stated, prices.snapshot, yes=yes, policy=policy, now=clock(None))
    signed = authorise(stated, _signing_key(session), now=clock(None))
    made = flow(session.trust, prices, holding, statement=stated, authorisation=signed, key=session.key)
    _show(session, session.run(made), "withdrawn")


def _signing_key(session: Session) -> Ed25519PrivateKey:
    """The account's key, without which nothing is authorised."""
    key = session.private_key()
    if key is None:
        raise MalformedInput("authorising needs the account's key: give --key", field="key")
    return key


def _elections(texts: list[str] | None) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts or []]
    if not all(sep for _, sep, _ in pairs):
        raise MalformedInput("must be NAME=PIECE", field="elect")
    return {name: piece for name, _, piece in pairs}


@command(account_app, "opening")
def opening(
    session: Session,
    account: Account,
    out: Annotated[
        Path, typer.Option(help="Where to write the opening (secret)."), Writes("opening document", only_copy=True)
    ],
    encryption_key: EncryptionKey,
    oracle_key: OracleKeys,
    attestation: Annotated[
        Path | None, typer.Option(help="Write the attestation here."), Writes("attestation document")
    ] = None,
    snapshot: Annotated[
        Path | None, typer.Option(help="Write the snapshot that it is listed on here."), Writes("snapshot document")
    ] = None,
    signed_snapshot: Annotated[
        Path | None, typer.Option(help="Write the oracle's signature of it here."), Writes("signed-snapshot document")
    ] = None,
    unencrypted: Unencrypted = False,
    force: Force = False,
) -> None:
    """As the holder: fetch your own opening, decrypt and check it here, and write it for zkmargin prove."""
    from zkmargin.prover.documents import opening_bytes
    from zkmargin.service import files

    prices, holding = _prices_and_holding(session, account, encryption_key, oracle_key)
    plain = opening_bytes(holding.opening, prices.snapshot.registry_digest)
    documents = (
        (attestation, holding.attested.document),
        (snapshot, prices.document),
        (signed_snapshot, prices.signed),
    )
    files.write_files(
        files.secret(out, plain, unencrypted=unencrypted),
        *(files.public(path, document) for path, document in documents if path is not None),
        force=force,
    )
    _show(session, holding.attested, f"opening -> {out}")


@command(account_app, "offer")
def offer(
    session: Session,
    account: Account,
    demand: Annotated[Path, typer.Option(help="The venue's demand.")],
    out: Annotated[Path, typer.Option(help="Where to write the offer (public)."), Writes("offer document")],
    encryption_key: EncryptionKey,
    oracle_key: OracleKeys,
    elect: Elect = None,
    yes: Yes = False,
    policy: PolicyFile = None,
) -> None:
    """As the holder: prove here what a venue demands, authorise it after it was said in words, and write the offer."""
    from zkmargin.circuits.purpose import ForShow
    from zkmargin.service.cli.options import clock
    from zkmargin.service.client import Demand, offer_for, statement_for
    from zkmargin.service.files import read_file, write_file

    asked = Demand.from_bytes(read_file(demand))
    prices, holding = _prices_and_holding(session, account, encryption_key, oracle_key)
    stated = statement_for(asked, prices, holding, elections=_elections(elect))
    owed = holding.owed(prices.snapshot)
    agree(stated, prices.snapshot, yes=yes, policy=policy, now=clock(None), owed=owed)
    key = None if isinstance(stated.purpose, ForShow) else _signing_key(session)
    made = offer_for(stated, prices, holding, key=key, now=clock(None))
    write_file(out, made.to_bytes())
    _show(session, holding.attested, f"offer ({asked.purpose.name}) for {asked.venue} -> {out}")


@command(account_app, "attestation")
def attestation(
    session: Session,
    account: Account,
    out: Annotated[Path, typer.Option(help="Where to write the attestation."), Writes("attestation document")],
    epoch: Annotated[int | None, typer.Option(min=1, help="The latest by default.")] = None,
) -> None:
    """As the holder, an operator or a granted venue: fetch an attestation, checked to be in the hub's one log."""
    from zkmargin.service.client import fetch_attestation
    from zkmargin.service.files import write_file

    found = session.run(fetch_attestation(session.trust, account, epoch=epoch))
    write_file(out, found.document)
    _show(session, found, f"attestation -> {out}")


@command(account_app, "recommit")
def recommit(session: Session, account: Account) -> None:
    """As the holder or an operator: a new epoch of the same positions, when the snapshot lists other instruments."""
    from zkmargin.service.client import recommit as flow

    _show(session, session.run(flow(session.trust, account, key=session.key)), "recommitted")


def _set_state(session: Session, account: str, verb: str) -> None:
    from zkmargin.service.client import set_account

    state = session.run(set_account(account, verb, key=session.key))["state"]
    session.emit({"account": account, "state": state}, f"account {account} is {state}")


@command(account_app, "freeze")
def freeze(session: Session, account: Account) -> None:
    """As an operator: no new credit, withdrawal or trade."""
    _set_state(session, account, "freeze")


@command(account_app, "unfreeze")
def unfreeze(session: Session, account: Account) -> None:
    """As an operator: open a frozen account again."""
    _set_state(session, account, "unfreeze")


def _grant(session: Session, account: str, venue: str, *, granted: bool) -> None:
    from zkmargin.service.client import set_grant

    session.run(set_grant(account, venue, granted=granted, key=session.key))
    text = f"venue {venue} {'may see' if granted else 'no longer sees'} the attestations of {account}"
    session.emit({"account": account, "venue": venue, "granted": granted}, text)


@command(account_app, "grant")
def grant(session: Session, account: Account, venue: Venue) -> None:
    """As the holder: let a venue see the account's attestations."""
    _grant(session, account, venue, granted=True)


@command(account_app, "revoke")
def revoke(session: Session, account: Account, venue: Venue) -> None:
    """As the holder: take the grant back."""
    _grant(session, account, venue, granted=False)
