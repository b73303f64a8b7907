"""The operators' and oracles' flows: zones, venues, breakers, accounts, deposits, snapshots, callers' keys."""

from __future__ import annotations

from typing import Any

from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.strict_json import parse_json
from zkmargin.service.client.exchange import Flow, Request, get, new_idempotency_key, post, segment
from zkmargin.service.client.holder import Attested, accept_attested
from zkmargin.service.client.trust import Trust, member


def _send(method: str, path: str, body: Any, key: str | None) -> Flow[Any]:
    data = b"" if body is None else canonical_bytes(body)
    return (yield Request(method, path, body=data, idempotency_key=key or new_idempotency_key())).json()


def set_zone(zone: str, cap: str, *, key: str | None = None) -> Flow[Any]:
    """Make a zone or change its cap."""
    return (yield from _send("PUT", f"/v1/zones/{segment(zone)}", {"cap": cap}, key))


def register_venue(venue: str, *, caip2: str, zone: str, cap: str, public: str, key: str | None = None) -> Flow[Any]:
    """Admit a venue with its public key (64 hex digits)."""
    body = {"venue": venue, "caip2": caip2, "zone": zone, "cap": cap, "key": public}
    return (yield from _send("POST", "/v1/venues", body, key))


def set_venue(venue: str, verb: str, *, key: str | None = None) -> Flow[Any]:
    """``suspend`` or ``resume`` a venue."""
    return (yield from _send("POST", f"/v1/venues/{segment(venue)}/{segment(verb)}", None, key))


def set_venue_cap(venue: str, cap: str, *, key: str | None = None) -> Flow[Any]:
    """Change a venue's cap."""
    return (yield from _send("PUT", f"/v1/venues/{segment(venue)}/cap", {"cap": cap}, key))


def fetch_venues(venue: str | None = None) -> Flow[list[Any]]:
    """All venues, or one."""
    if venue is not None:
        return [(yield get(f"/v1/venues/{segment(venue)}", signed=True)).json()]
    return member((yield get("/v1/venues", signed=True)).json(), "venues", list)


def set_breaker(scope: str, verb: str, *, key: str | None = None) -> Flow[Any]:
    """``open`` or ``close`` the breaker of ``hub`` or ``venue/ID``."""
    return (yield from _send("POST", f"/v1/breakers/{segment(verb)}", {"scope": scope}, key))


def fetch_breakers() -> Flow[list[Any]]:
    """Open breakers."""
    return member((yield get("/v1/breakers", signed=True)).json(), "breakers", list)


def open_account(
    trust: Trust,
    account: str,
    *,
    public: str,
    encryption_public: str,
    jurisdiction: str | None = None,
    key: str | None = None,
) -> Flow[Attested]:
    """Open an account for a holder's keys (64 hex digits each); gives its first attestation."""
    body: dict[str, Any] = {"account": account, "key": public, "encryption_key": encryption_public}
    if jurisdiction is not None:
        body["jurisdiction"] = jurisdiction
    answer = yield from _send("POST", "/v1/accounts", body, key)
    return (yield from accept_attested(trust, account, answer))


def deposit(
    trust: Trust, account: str, *, instrument: str, quantity: str, reference: str, key: str | None = None
) -> Flow[Attested]:
    """Book what custody received; ``reference`` is custody's and books once."""
    body = {"instrument": instrument, "quantity": quantity, "reference": reference}
    answer = yield from _send("POST", f"/v1/accounts/{segment(account)}/deposits", body, key)
    return (yield from accept_attested(trust, account, answer))


def set_account(account: str, verb: str, *, key: str | None = None) -> Flow[Any]:
    """``freeze`` or ``unfreeze`` an account."""
    return (yield from _send("POST", f"/v1/accounts/{segment(account)}/{segment(verb)}", None, key))


def publish_snapshot(snapshot: bytes, signed: bytes, *, key: str | None = None) -> Flow[Any]:
    """As an oracle: publish a snapshot document with its signature; gives its digest and validity as the hub says."""
    body = {"snapshot": parse_json(snapshot, name="snapshot"), "signed": parse_json(signed, name="signed-snapshot")}
    return (yield post("/v1/snapshots", body, idempotency_key=key or new_idempotency_key())).json()


def add_key(
    public: str, *, not_before: int | None = None, not_after: int | None = None, key: str | None = None
) -> Flow[Any]:
    """Register one more public key of the caller."""
    body: dict[str, Any] = {"key": public}
    body |= {} if not_before is None else {"not_before": not_before}
    body |= {} if not_after is None else {"not_after": not_after}
    return (yield from _send("POST", "/v1/keys", body, key))


def retire_key(kid: str, *, key: str | None = None) -> Flow[Any]:
    """End one of the caller's keys now."""
    return (yield from _send("POST", f"/v1/keys/{segment(kid)}/retire", None, key))


def revoke_key(kid: str, *, key: str | None = None) -> Flow[Any]:
    """As an operator: end anybody's key now, when it is lost or stolen."""
    return (yield from _send("POST", f"/v1/keys/{segment(kid)}/revoke", None, key))
