"""``zkmargin credit``: a venue's commands; its credit is a file, the newest signed entry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zkmargin.circuits.errors import MalformedInput
from zkmargin.service.cli.console import emit, reports_errors
from zkmargin.service.cli.options import Json
from zkmargin.service.cli.outputs import Writes
from zkmargin.service.cli.session import OracleKeys, Session, command, legs_of, oracle_keys, shown

if TYPE_CHECKING:
    from zkmargin.service.client import Credit, Demand, Offer, Prices
    from zkmargin.verifier.facts.credit_entry import CreditEntry

credit_app = typer.Typer(help="A venue's credits at a hub.", no_args_is_help=True)
Entry = Annotated[
    Path,
    typer.Option(help="The newest signed entry held; the next one replaces it."),
    Writes("credit document", held=True),
]
Amount = Annotated[str, typer.Option(help="In the hub's currency.")]


@credit_app.command()
@reports_errors
def demand(
    venue: Annotated[str, typer.Option(help="Your name at the hub.")],
    amount: Amount,
    out: Annotated[Path, typer.Option(help="Where to write the demand."), Writes("demand document")],
    expires: Annotated[
        int | None, typer.Option(help="Unix time until which you may draw; by default an hour from now.")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Only be shown that the account is good for it.")] = False,
    multiplier: Annotated[str, typer.Option(help="Scales the add-ons, at least.")] = "1",
    min_horizon: Annotated[int, typer.Option(min=1, help="Least latency buffer that you take, in seconds.")] = 60,
    max_horizon: Annotated[int, typer.Option(min=1, help="Oldest prices that you take, in seconds.")] = 3600,
    overlay: Annotated[list[str] | None, typer.Option(help="An overlay set of the snapshot; repeatable.")] = None,
    caip2: Annotated[str | None, typer.Option(help="Your chain; the hub's entry must name it.")] = None,
    as_json: Json = False,
) -> None:
    """Write what you ask of a holder, a credit or to be shown solvency, for zkmargin account offer: a fresh nonce."""
    from zkmargin.circuits.purpose import SHOW, ForCredit
    from zkmargin.service.cli.extras import extra
    from zkmargin.service.cli.options import clock
    from zkmargin.service.files import write_file

    with extra("client"):
        from zkmargin.service.client import Demand
    until = clock(None) + 3600 if expires is None else expires
    made = Demand(
        venue, amount, multiplier=multiplier, min_horizon=min_horizon, max_horizon=max_horizon,
        overlays=tuple(sorted(overlay or [])), purpose=SHOW if show else ForCredit(venue, amount, until), caip2=caip2,
    )  # fmt: skip
    Demand.from_bytes(made.to_bytes())
    write_file(out, made.to_bytes())
    told = {"nonce": made.nonce, "purpose": made.purpose.name} | ({} if show else {"expires": until})
    emit(told, as_json=as_json, text=lambda: typer.echo(f"demand {made.nonce} -> {out}"))


def _row(entry: CreditEntry) -> dict[str, Any]:
    names = ("credit", "account", "venue", "amount", "used", "released", "currency", "state", "sequence", "expires")
    return {name: getattr(entry, name) for name in names}


def _show(session: Session, credit: Credit, path: Path | None) -> None:
    if path is not None:
        from zkmargin.service.files import write_file

        write_file(path, credit.document)
    e = credit.entry
    parts = f"{e.amount} {e.currency}, used {e.used}, released {e.released}"
    text = f"credit {e.credit} ({e.state}, entry {e.sequence}): {parts}"
    session.emit(_row(e), text if path is None else f"{text} -> {path}")


def _offer(
    offer: Path | None,
    statement: Path | None,
    proof: Path | None,
    authorisation: Path | None,
    attestation: Path | None,
    leaf: int,
) -> Offer:
    """From the offer document, or from its five parts."""
    from zkmargin.circuits.documents.statement import statement_from_bytes
    from zkmargin.prover.documents import parse_proof
    from zkmargin.service.client import Offer
    from zkmargin.service.files import read_file

    if offer is not None:
        return Offer.from_bytes(read_file(offer))
    if statement is None or proof is None or authorisation is None or attestation is None or leaf < 0:
        parts = "--statement, --proof, --authorisation, --attestation and --leaf"
        raise MalformedInput(f"give --offer, or {parts}", field="offer")
    stated = statement_from_bytes(read_file(statement))
    signed = read_file(authorisation)
    return Offer(stated, parse_proof(read_file(proof), stated), read_file(attestation), leaf, signed)


def _demanded(path: Path | None, venue: str | None, amount: str | None, offer: Offer) -> Demand:
    """From the demand document, or from the command line, which then takes the statement's nonce for its own."""
    from zkmargin.service.client import Demand
    from zkmargin.service.files import read_file

    if path is not None:
        return Demand.from_bytes(read_file(path))
    if venue is None:
        raise MalformedInput("give --demand, or --venue and --amount", field="demand")
    stated = offer.statement
    return Demand(venue, amount or stated.amount, stated.context.nonce, purpose=stated.purpose)


def _prices(session: Session, offer: Offer, keys: list[Path], snapshot: Path | None, signed: Path | None) -> Prices:
    """The offer's snapshot: the hub's by its digest, or from files; signed by a trusted oracle and in force."""
    from zkmargin.service.client import fetch_prices
    from zkmargin.service.client.holder import check_prices

    if (snapshot is None) != (signed is None):
        raise MalformedInput("--snapshot and --signed-snapshot go together", field="signed-snapshot")
    if snapshot is None or signed is None:
        return session.run(fetch_prices(oracle_keys(keys), digest=offer.statement.snapshot.hex()))
    from zkmargin.service.files import read_file

    return check_prices(read_file(snapshot), read_file(signed), oracle_keys(keys))


@command(credit_app, "request")
def request(
    session: Session,
    out: Annotated[Path, typer.Option(help="Where to write the signed entry."), Writes("credit document")],
    oracle_key: OracleKeys,
    demand: Annotated[Path | None, typer.Option(help="What you demanded.")] = None,
    venue: Annotated[str | None, typer.Option(help="Without --demand: your name at the hub.")] = None,
    amount: Annotated[str | None, typer.Option(help="Without --demand: how much; the statement's by default.")] = None,
    offer: Annotated[Path | None, typer.Option(help="The holder's offer.")] = None,
    statement: Annotated[Path | None, typer.Option(help="Without --offer: the statement.")] = None,
    proof: Annotated[Path | None, typer.Option(help="Without --offer: its proof.")] = None,
    authorisation: Annotated[Path | None, typer.Option(help="Without --offer: the holder's signature of it.")] = None,
    attestation: Annotated[Path | None, typer.Option(help="Without --offer: the attestation of its epoch.")] = None,
    leaf: Annotated[int, typer.Option(help="Without --offer: the attestation's leaf in the log.")] = -1,
    snapshot: Annotated[Path | None, typer.Option(help="The snapshot; by default fetched by its digest.")] = None,
    signed_snapshot: Annotated[Path | None, typer.Option(help="The oracle's signature of it.")] = None,
    expires: Annotated[
        int | None, typer.Option(help="Unix time of the credit's end; by default the end that is authorised.")
    ] = None,
) -> None:
    """Check a holder's offer in full, and reserve the credit at the hub."""
    from zkmargin.service.client import request_credit

    made = _offer(offer, statement, proof, authorisation, attestation, leaf)
    asked = _demanded(demand, venue, amount, made)
    prices = _prices(session, made, oracle_key, snapshot, signed_snapshot)
    flow = request_credit(session.trust, asked, made, prices, expires=expires, amount=amount, key=session.key)
    _show(session, session.run(flow), out)


def _held(session: Session, path: Path) -> CreditEntry:
    """The entry of the venue's own file, its signature checked again: of whichever key, as it was shown in its time."""
    from zkmargin.service.client.trust import checked
    from zkmargin.service.files import read_file

    entry: CreditEntry = session.run(checked(session.trust, "held_entry", read_file(path)))
    return entry


@command(credit_app, "consume")
def consume(
    session: Session,
    entry: Entry,
    amount: Annotated[str, typer.Option(help="So much more is used.")],
    fill: Annotated[list[str] | None, typer.Option(help="A leg traded, INSTRUMENT=QUANTITY; repeatable.")] = None,
) -> None:
    """Report what was used of a credit, and the fills. The hub keeps the report; no position changes."""
    from zkmargin.service.client import consume as flow

    legs = legs_of(fill or [], "fill")
    held = _held(session, entry)
    _show(session, session.run(flow(session.trust, held, amount=amount, fills=legs, key=session.key)), entry)


@command(credit_app, "release")
def release(
    session: Session,
    entry: Entry,
    free: Annotated[str, typer.Option(help="Of what is not used.")] = "0",
    used: Annotated[str, typer.Option(help="Of what is used.")] = "0",
    paid: Annotated[str, typer.Option(help="Of the used part, what the account pays the venue.")] = "0",
) -> None:
    """Give back parts of a credit, paid or not; all given back closes it. Operators: for a venue that is gone."""
    from zkmargin.service.client import release as flow

    made = flow(session.trust, _held(session, entry), free=free, used=used, paid=paid, key=session.key)
    _show(session, session.run(made), entry)


@command(credit_app, "expire")
def expire(session: Session, entry: Entry) -> None:
    """Free what is unused of a credit whose time is over. The hub does so by itself, a little later."""
    from zkmargin.service.client import expire as flow

    _show(session, session.run(flow(session.trust, _held(session, entry), key=session.key)), entry)


@command(credit_app, "show")
def show(
    session: Session,
    credit: Annotated[str, typer.Argument(help="Its id.")],
    entry: Annotated[
        Path | None,
        typer.Option(help="Write its newest entry here; must follow one that is there."),
        Writes("credit document", held=True),
    ] = None,
) -> None:
    """Fetch a credit's newest signed entry, and check it."""
    from zkmargin.service.client import fetch_credit

    held = None if entry is None or not entry.exists() else _held(session, entry)
    _show(session, session.run(fetch_credit(session.trust, credit, held=held)), entry)


@command(credit_app, "list")
def listing(session: Session, live: Annotated[bool, typer.Option("--live", help="Only live ones.")] = False) -> None:
    """List the credits that you may see, each entry checked."""
    from zkmargin.service.client import fetch_credits

    rows = [_row(credit.entry) for credit in session.run(fetch_credits(session.trust, live=live))]
    text = "\n".join("  ".join(shown(value) for value in row.values()) for row in rows) or "none"
    session.emit({"credits": rows}, text)
