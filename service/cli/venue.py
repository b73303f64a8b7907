"""``zkmargin venue`` and ``zkmargin key``: an operator's commands on venues, zones and breakers; callers' keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from zkmargin.service.cli.session import Session, command, raw_public, shown

venue_app = typer.Typer(help="Venues, zones and circuit breakers, as an operator.", no_args_is_help=True)
key_app = typer.Typer(help="Keys at the hub: your own, and as an operator anybody's.", no_args_is_help=True)
Venue = Annotated[str, typer.Argument(help="Name of the venue.")]
Cap = Annotated[str, typer.Option(help="Most live credit, in the hub's currency.")]
Scope = Annotated[str, typer.Argument(help="hub, or venue/NAME.")]


@command(venue_app, "zone")
def zone(session: Session, zone: Annotated[str, typer.Argument(help="Name of the zone.")], cap: Cap) -> None:
    """Make a zone, or change its cap."""
    from zkmargin.service.client import set_zone

    session.emit(session.run(set_zone(zone, cap, key=session.key)))


@command(venue_app, "register")
def register(
    session: Session,
    venue: Venue,
    caip2: Annotated[str, typer.Option(help="Its chain (CAIP-2), as eip155:1.")],
    zone: Annotated[str, typer.Option(help="Its zone.")],
    cap: Cap,
    public: Annotated[Path, typer.Option(help="Its public signing key (PEM).")],
) -> None:
    """Admit a venue."""
    from zkmargin.service.client import register_venue

    key = raw_public(public).hex()
    session.emit(session.run(register_venue(venue, caip2=caip2, zone=zone, cap=cap, public=key, key=session.key)))


def _list(session: Session, name: str, rows: list[Any]) -> None:
    text = "\n".join("  ".join(shown(value) for value in row.values()) for row in rows) or "none"
    session.emit({name: rows}, text)


@command(venue_app, "list")
def listing(session: Session) -> None:
    """List all venues."""
    from zkmargin.service.client import fetch_venues

    _list(session, "venues", session.run(fetch_venues()))


@command(venue_app, "show")
def show(session: Session, venue: Venue) -> None:
    """Show one venue: as an operator, or as the venue itself."""
    from zkmargin.service.client import fetch_venues

    session.emit(session.run(fetch_venues(venue))[0])


@command(venue_app, "cap")
def cap(session: Session, venue: Venue, cap: Cap) -> None:
    """Change a venue's cap."""
    from zkmargin.service.client import set_venue_cap

    session.emit(session.run(set_venue_cap(venue, cap, key=session.key)))


@command(venue_app, "suspend")
def suspend(session: Session, venue: Venue) -> None:
    """No new credit for this venue."""
    from zkmargin.service.client import set_venue

    session.emit(session.run(set_venue(venue, "suspend", key=session.key)))


@command(venue_app, "resume")
def resume(session: Session, venue: Venue) -> None:
    """New credit for this venue again."""
    from zkmargin.service.client import set_venue

    session.emit(session.run(set_venue(venue, "resume", key=session.key)))


@command(venue_app, "breakers")
def breakers(session: Session) -> None:
    """List the circuit breakers that are open."""
    from zkmargin.service.client import fetch_breakers

    _list(session, "breakers", session.run(fetch_breakers()))


@command(venue_app, "open-breaker")
def open_breaker(session: Session, scope: Scope) -> None:
    """Open a breaker by hand: exposure in its scope may only fall."""
    from zkmargin.service.client import set_breaker

    _list(session, "breakers", session.run(set_breaker(scope, "open", key=session.key))["breakers"])


@command(venue_app, "close-breaker")
def close_breaker(session: Session, scope: Scope) -> None:
    """Close a breaker, after looking at what opened it."""
    from zkmargin.service.client import set_breaker

    _list(session, "breakers", session.run(set_breaker(scope, "close", key=session.key))["breakers"])


@command(key_app, "add")
def add(
    session: Session,
    public: Annotated[Path, typer.Option(help="One more public key (PEM) of yours.")],
    not_before: Annotated[int | None, typer.Option(help="Unix time; now by default.")] = None,
    not_after: Annotated[int | None, typer.Option(help="Unix time; no end by default.")] = None,
) -> None:
    """Register one more key of yours: the first half of a rotation."""
    from zkmargin.service.client import add_key

    flow = add_key(raw_public(public).hex(), not_before=not_before, not_after=not_after, key=session.key)
    session.emit(session.run(flow))


@command(key_app, "retire")
def retire(session: Session, kid: Annotated[str, typer.Argument(help="Id of the key, as add printed it.")]) -> None:
    """End one of your keys now, signing with another: the second half."""
    from zkmargin.service.client import retire_key

    session.emit(session.run(retire_key(kid, key=session.key)))


@command(key_app, "revoke")
def revoke(session: Session, kid: Annotated[str, typer.Argument(help="Id of the key.")]) -> None:
    """As an operator: end anybody's key now, when it is lost or stolen."""
    from zkmargin.service.client import revoke_key

    session.emit(session.run(revoke_key(kid, key=session.key)))
