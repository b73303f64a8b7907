"""``zkmargin trade``: a venue's trade between two accounts of a hub, from two offers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zkmargin.service.cli.console import emit, reports_errors
from zkmargin.service.cli.options import Json
from zkmargin.service.cli.outputs import Writes
from zkmargin.service.cli.session import OracleKeys, Session, command, legs_of, oracle_keys

if TYPE_CHECKING:
    from zkmargin.service.client import Attested, Demand, Offer

trade_app = typer.Typer(help="A venue's trades between two accounts of a hub.", no_args_is_help=True)


@trade_app.command()
@reports_errors
def demand(
    venue: Annotated[str, typer.Option(help="Your name at the hub.")],
    leg: Annotated[list[str], typer.Option(help="What the maker receives, INSTRUMENT=QUANTITY; negative: gives.")],
    maker: Annotated[Path, typer.Option(help="Where to write the demand for the maker."), Writes("demand document")],
    taker: Annotated[
        Path,
        typer.Option(help="Where to write the demand for the taker: the opposite legs."),
        Writes("demand document"),
    ],
    limit: Annotated[str, typer.Option(help="The most that either side may lose by it at the snapshot's marks.")],
    max_horizon: Annotated[int, typer.Option(min=1, help="Oldest prices that you take, in seconds.")] = 3600,
    overlay: Annotated[list[str] | None, typer.Option(help="An overlay set of the snapshot; repeatable.")] = None,
    maker_account: Annotated[str, typer.Option(help="With whom the taker trades; any by default.")] = "any",
    taker_account: Annotated[str, typer.Option(help="With whom the maker trades; any by default.")] = "any",
    as_json: Json = False,
) -> None:
    """Write what you ask of both holders: to authorise their legs and be solvent after. For zkmargin account offer."""
    from zkmargin.service.cli.extras import extra
    from zkmargin.service.files import public, write_files

    with extra("client"):
        from zkmargin.service.client import Demand, trade_demands
    overlays = tuple(sorted(overlay or []))
    made = trade_demands(
        venue, legs_of(leg, "leg"), limit=limit, counterparties=(taker_account, maker_account),
        max_horizon=max_horizon, overlays=overlays,
    )  # fmt: skip
    for asked in made:
        Demand.from_bytes(asked.to_bytes())
    write_files(public(maker, made[0].to_bytes()), public(taker, made[1].to_bytes()))
    nonces = {"maker": made[0].nonce, "taker": made[1].nonce}
    emit(nonces, as_json=as_json, text=lambda: typer.echo(f"demands -> {maker}, {taker}"))


def _side(demand: Path, offer: Path) -> tuple[Demand, Offer]:
    from zkmargin.service.client import Demand, Offer
    from zkmargin.service.files import read_file

    return Demand.from_bytes(read_file(demand)), Offer.from_bytes(read_file(offer))


def _row(attested: Attested) -> dict[str, Any]:
    fact = attested.attestation
    return {"account": fact.account, "epoch": fact.epoch, "leaf": attested.leaf}


@command(trade_app, "book")
def ledger(
    session: Session,
    maker_demand: Annotated[Path, typer.Option(help="What you demanded of the maker.")],
    maker_offer: Annotated[Path, typer.Option(help="The maker's offer: statement, proof, attestation.")],
    taker_demand: Annotated[Path, typer.Option(help="What you demanded of the taker.")],
    taker_offer: Annotated[Path, typer.Option(help="The taker's offer.")],
    oracle_key: OracleKeys,
) -> None:
    """Check both offers in full and book the trade: both accounts' legs at once, each under a new epoch."""
    from zkmargin.service.client import book_trade, fetch_prices

    sides = _side(maker_demand, maker_offer), _side(taker_demand, taker_offer)
    digest = sides[0][1].statement.snapshot.hex()
    prices = session.run(fetch_prices(oracle_keys(oracle_key), digest=digest))
    done = session.run(book_trade(session.trust, *sides, prices, key=session.key))
    rows = {"maker": _row(done.maker), "taker": _row(done.taker)}
    text = ", ".join(f"{r['account']} epoch {r['epoch']} (leaf {r['leaf']})" for r in rows.values())
    session.emit({"trade": done.trade, **rows}, f"trade {done.trade}: {text}")
