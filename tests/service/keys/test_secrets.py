"""Planted positions, blindings and keys: none of them in any log, metric, error, file or row, in any usual writing."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, select, text

from tests.support.ledgers import DATABASES, fresh_url
from tests.support.live import live_hub
from zkmargin.circuits.purpose import ForTrade
from zkmargin.service.ledger import setup
from zkmargin.service.store.database import Database
from zkmargin.service.store.tables import metadata
from zkmargin.verifier.field import encode_scalar

#: Quantities that nothing else could be: digits at random, within the position limits.
LOTS = {"QUOTE-0": 0.01, "SPOT-3": 0.001, "PERPETUAL-2": 0.01}


def decimals(text_: str) -> set[bytes]:
    return {text_.encode()}


def integers(value: int) -> set[bytes]:
    """Decimal, hex, and bytes in both orders, as short as they are and as wide as fields."""
    out = {str(value).encode(), f"{value:x}".encode(), f"{value:X}".encode()}
    for width in {(value.bit_length() + 7) // 8, 8, 32}:
        if value.bit_length() <= 8 * width:
            for order in ("big", "little"):
                raw = value.to_bytes(width, order)  # type: ignore[arg-type]
                out |= encoded(raw) if width == 32 else {raw}
    return {form for form in out if len(form) >= 5}


def encoded(raw: bytes) -> set[bytes]:
    """Bytes as they are, in hex, and inside base64 at each of the three alignments, in both alphabets."""
    out = {raw, raw.hex().encode(), raw.hex().upper().encode()}
    for shift in range(3):
        whole = base64.b64encode(b"\x00" * shift + raw)
        # Characters that neighbours would change are left out.
        begin, end = {0: 0, 1: 2, 2: 3}[shift], len(whole) - (4 if (len(raw) + shift) % 3 else 0)
        out |= {whole[begin:end], whole[begin:end].replace(b"+", b"-").replace(b"/", b"_")}
    return {form for form in out if len(form) >= 8}


def found(planted: dict[str, set[bytes]], haystack: bytes) -> list[str]:
    """Names of the planted values that are somewhere in there."""
    return [name for name, forms in planted.items() if any(form in haystack for form in forms)]


def rows_in_clear(database: Database) -> bytes:
    """Every column of every row as text and as bytes."""

    def unit(tx: Connection) -> bytes:
        parts: list[bytes] = []
        for table in metadata.sorted_tables:
            for row in tx.execute(select(table)):
                for value in row:
                    raw = bytes(value) if isinstance(value, (bytes, memoryview)) else str(value).encode()
                    parts += [raw, raw.hex().encode()]
        return b"\n".join(parts)

    return database.consistent(unit)


def files_of(database: Database, directory: Path) -> bytes:
    """The database's own files, write-ahead log included; for PostgreSQL every row as it writes it."""
    if database.sqlite:
        return b"".join(path.read_bytes() for path in sorted(directory.glob("hub.db*")))

    def unit(tx: Connection) -> bytes:
        names = tx.execute(
            text("SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname = 'public'")
        ).scalars()
        parts = [str(tx.execute(text(f"SELECT string_agg(t::text, ' ') FROM {name} t")).scalar()) for name in names]  # noqa: S608
        return "\n".join(parts).encode()

    return database.read(unit)


def jws_payloads(haystack: bytes) -> bytes:
    """What stands inside base64url tokens, which a search of the bytes would miss only if it were cut otherwise."""
    out: list[bytes] = []
    for token in haystack.replace(b'"', b" ").split():
        for part in token.split(b"."):
            if len(part) > 20:
                try:
                    out.append(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
                except ValueError:
                    continue
    return b"\n".join(out)


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with fresh_url(request.param, tmp_path) as made:
        yield made


def test_the_search_finds_what_is_there() -> None:
    """The control: every writing of a value, wherever it stands."""
    raw, value = secrets.token_bytes(32), 987_654_321_987
    for lead in (b"", b"x", b"xy"):
        assert found({"key": encoded(raw)}, base64.b64encode(lead + raw + b"tail"))
        assert found({"key": encoded(raw)}, base64.urlsafe_b64encode(lead + raw))
        assert found({"key": encoded(raw)}, lead + raw)
    assert found({"key": encoded(raw)}, b"{" + raw.hex().upper().encode())
    for form in (str(value), f"{value:x}", str([value])):
        assert found({"lots": integers(value)}, form.encode())
    for order in ("big", "little"):
        assert found({"lots": integers(value)}, value.to_bytes(32, order))  # type: ignore[arg-type]
        assert found({"lots": integers(value)}, base64.b64encode(value.to_bytes(32, order)))  # type: ignore[arg-type]
    assert not found({"key": encoded(raw), "lots": integers(value)}, secrets.token_bytes(10_000))


@pytest.mark.slow
def test_no_secret_leaves_the_vault(url: str, tmp_path: Path) -> None:
    """A whole session with a real server that logs everything; then every byte that it left is searched."""
    log, errors = tmp_path / "server.log", []
    with live_hub(url, log) as live:
        s, hub = live.session, live.hub
        planted: dict[str, set[bytes]] = {}
        number = secrets.SystemRandom()
        held = {"QUOTE-0": f"{number.randint(10**5, 9 * 10**5)}.{number.randint(11, 99)}",
                "SPOT-3": f"{number.randint(10**5, 9 * 10**5)}.{number.randint(111, 999)}"}  # fmt: skip
        for instrument, quantity in held.items():
            body = {"instrument": instrument, "quantity": quantity, "reference": f"receipt-of-{instrument}"}
            s.ok("operator/ops", "POST", "/v1/accounts/bob/deposits", body)
            planted[f"quantity of {instrument}"] = decimals(quantity)
        fills = [
            {"instrument": "PERPETUAL-2", "quantity": "777.13"},
            {"instrument": "QUOTE-0", "quantity": "-49930.61"},
        ]
        credit = s.ok(
            "venue/spoke-b", "POST", "/v1/credits",
            s.credit_body("bob", live.snapshot, venue="spoke-b", amount="500"),
        )["credit"]  # fmt: skip
        report = {"sequence": 1, "amount": "100", "fills": fills}
        s.ok("venue/spoke-b", "POST", f"/v1/credits/{credit}/consume", report)
        planted["quantity of a fill"] = decimals("777.13") | decimals("49930.61")
        # A trade: its legs are public to its venue, and to nobody else.
        legs = (("SPOT-3", f"-{number.randint(10**3, 9 * 10**3)}.{number.randint(111, 999)}"), ("QUOTE-0", "0.07"))
        trade = s.trade_body(
            "bob", "alice", live.snapshot, venue="spoke-b", legs=legs, purpose=ForTrade("9999999", "any")
        )
        s.ok("venue/spoke-b", "POST", "/v1/trades", trade)
        planted["quantity of a trade"] = decimals(legs[0][1].removeprefix("-"))
        for epoch in range(2):
            opening, _ = s.opening("bob", live.snapshot)
            for instrument, lots in zip(live.snapshot.instruments, opening.lots, strict=True):
                if lots > 10**4 and instrument.kind != "credit":
                    planted[f"lots of {instrument.id} at {epoch}"] = integers(lots)
            for index, blinding in enumerate(opening.blinding):
                raw = encode_scalar(blinding)
                planted[f"blinding {index} at {epoch}"] = encoded(raw) | encoded(raw[::-1]) | {
                    str(int.from_bytes(raw, order)).encode() for order in ("big", "little")  # type: ignore[arg-type]
                }  # fmt: skip
            s.ok("account/bob", "POST", "/v1/accounts/bob/epochs")
        setup.rotate_signing_key(hub.ledger)
        s.ok("account/bob", "POST", "/v1/accounts/bob/epochs")
        for key in hub.ring.keys:
            planted["storage key"] = encoded(key.secret)
        seen = hub.database.read(
            lambda tx: [
                hub.ring.open(bytes(row.sealed), purpose=f"signing-key/{row.number}")
                for row in tx.execute(select(metadata.tables["signing_keys"]))
            ]
        )
        assert len(seen) == 2
        for index, raw in enumerate(seen):
            planted[f"signing key {index}"] = encoded(raw)
        # Refusals that have the planted values in their requests.
        for path, body in (
            ("deposits", {"instrument": "NOPE", "quantity": held["QUOTE-0"], "reference": "r"}),
            ("deposits", {"instrument": "QUOTE-0", "quantity": held["QUOTE-0"] + "7", "reference": "r"}),
            ("deposits", {"instrument": "SPOT-3", "quantity": held["SPOT-3"], "reference": "r", "x": held["SPOT-3"]}),
            ("deposits", {"instrument": "SPOT-3", "quantity": held["SPOT-3"], "reference": "receipt-of-SPOT-3"}),
            ("withdrawals", {"instrument": "QUOTE-0", "quantity": held["QUOTE-0"]}),
            (held["QUOTE-0"], {}),
        ):
            answer = s.call("operator/ops", "POST", f"/v1/accounts/bob/{path}", body)
            assert answer.status_code >= 400
            errors.append(answer.content)
        bad = {"sequence": 2, "amount": "1", "fills": [{"instrument": "PERPETUAL-2", "quantity": "777.13"}]}
        bad["sequence"] = 3
        errors.append(s.call("venue/spoke-b", "POST", f"/v1/credits/{credit}/consume", bad).content)
        errors.append(s.call("venue/spoke-b", "POST", "/v1/trades", trade).content)
        trade["taker"]["statement"]["delta"][0]["quantity"] = "1"
        errors.append(s.call("venue/spoke-b", "POST", "/v1/trades", trade).content)
        shown = [s.call(c, "GET", p).content for c, p in (
            ("account/bob", "/v1/accounts/bob"), ("operator/ops", "/v1/accounts/bob"),
            ("account/bob", "/v1/accounts/bob/attestation"), ("venue/spoke-b", "/v1/credits"),
            ("account/bob", "/v1/accounts/bob/opening"), (None, "/v1/keys"), (None, "/v1/log/head"),
        )]  # fmt: skip
        metrics = s.http.get("/metrics").content
        live.alive()
        places = {
            "metrics": metrics,
            "errors": b"\n".join(errors),
            "answers": b"\n".join(shown) + jws_payloads(b"\n".join(shown)),
            "rows": rows_in_clear(hub.database),
            "tokens": jws_payloads(rows_in_clear(hub.database)),
            "files": files_of(hub.database, tmp_path),
        }
    places["files after the end"] = files_of(Database(url), tmp_path)
    places["log"] = log.read_bytes()
    assert len(planted) >= 12
    for name, haystack in places.items():
        assert len(haystack) > 200, name
        assert found(planted, haystack) == [], name
    # The control on the same haystacks: what is public is where it should be.
    public = {"account": {b"bob"}}
    assert all(found(public, places[name]) for name in ("rows", "tokens", "files", "answers", "log"))
    assert json.loads(places["errors"].splitlines()[0])["code"] == "malformed-input"
