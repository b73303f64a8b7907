"""Garbage at every endpoint of a real server: it stays alive, answers with problems, and the ledger is as it was."""

from __future__ import annotations

import json
import os
import random
import secrets
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.ledgers import DATABASES, fresh_url
from tests.support.live import Live, live_hub
from zkmargin.service.client.signing import RequestSigner

pytestmark = pytest.mark.slow

#: Requests for each endpoint and kind of garbage; ``make fuzz-service`` sets more.
ROUNDS = int(os.environ.get("ZKMARGIN_FUZZ_ROUNDS", "1"))
SEED = int(os.environ.get("ZKMARGIN_FUZZ_SEED", "1"))
Call = tuple[str, str, str]


@pytest.fixture(scope="module", params=DATABASES if ROUNDS > 1 else DATABASES[:1])
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    directory = tmp_path_factory.mktemp("hub")
    limits = {"MAX_BODY_BYTES": "200000", "MAX_DOCUMENT_BYTES": "400000"}
    with fresh_url(request.param, directory) as url, live_hub(url, directory / "log", **limits) as made:
        yield made


def calls(live: Live) -> list[Call]:
    """Every call of the description on things that exist, and who may make it."""
    known = {
        "account": "alice", "venue": "spoke-b", "credit": live.credit, "zone": "zone-1", "code": "conflict",
        "digest": live.snapshot.digest.hex(), "kid": "0" * 32,
    }  # fmt: skip
    out = []
    for path, methods in live.session.http.get("/v1/openapi.json").json()["paths"].items():
        for method in methods:
            caller = "operator/ops"
            if path == "/v1/snapshots":
                caller = "oracle/feed"
            elif path.startswith(("/v1/credits", "/v1/trades")):
                caller = "venue/spoke-a"
            elif path.endswith(("/withdrawals", "/opening", "/grants/{venue}")):
                caller = "account/alice"
            out.append((caller, method.upper(), path.format_map(known)))
    return out


def valid_bodies(live: Live) -> dict[str, Any]:
    """For each path with a body, one that passes the models; spoiled by the test before it is sent."""
    s = live.session
    key = "ab" * 32
    credit = s.credit_body("alice", live.snapshot, venue="spoke-a", amount="1")
    side = {k: v for k, v in credit.items() if k in ("statement", "proof", "authorisation")}
    latest = s.ok(None, "GET", "/v1/snapshots/latest")
    return {
        "/v1/snapshots": {"snapshot": latest["snapshot"], "signed": latest["signed"]},
        "/v1/zones/zone-1": {"cap": "6000000"},
        "/v1/venues": {"venue": "v", "caip2": "eip155:1", "zone": "zone-1", "cap": "1", "key": key},
        "/v1/venues/spoke-b/cap": {"cap": "1"},
        "/v1/breakers/open": {"scope": "hub"},
        "/v1/breakers/close": {"scope": "hub"},
        "/v1/keys": {"key": key, "not_before": 1, "not_after": 2},
        "/v1/accounts": {"account": "a", "key": key, "encryption_key": key, "jurisdiction": "retail"},
        "/v1/accounts/alice/deposits": {"instrument": "QUOTE-0", "quantity": "1", "reference": "r"},
        "/v1/accounts/alice/withdrawals": side
        | {"instrument": "QUOTE-0", "quantity": "1"},
        "/v1/credits": credit,
        "/v1/trades": {"maker": side, "taker": side},
        f"/v1/credits/{live.credit}/consume": {
            "sequence": 1, "amount": "1", "fills": [{"instrument": "QUOTE-0", "quantity": "-1"}],
        },
        f"/v1/credits/{live.credit}/release": {"sequence": 1, "free": "1", "used": "0", "paid": "0"},
        "/v1/proofs/verify": {"statement": credit["statement"], "proof": credit["proof"]},
        "/v1/proofs/verify-batch": {"items": [{"statement": credit["statement"], "proof": credit["proof"]}]},
    }  # fmt: skip


#: Values of no form that any field has.
WRONG: list[Any] = [
    None, True, -1, 10**400, 2**63, 2**64, "\x00", "\ud800", "ä" * 70, "x" * 100_000, "9" * 81, "-0", "1e9", "0x10",
    "NaN", [], {}, [[[]]], {"": None}, "../../etc/passwd", "' OR 1=1 --", "%s%n", "\u202e", "1" * 5000,
]  # fmt: skip


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values, containers included."""
    yield path
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, (*path, key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree[:2]):
            yield from leaves(value, (*path, index))


def spoiled(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value at a path."""
    if not path:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = spoiled(tree[path[0]], path[1:], value)
    return copy


def garbage(rng: random.Random, body: Any) -> Iterator[bytes]:
    """Bodies that no call can take."""
    yield rng.randbytes(rng.randint(1, 300))
    yield b""
    yield b"null"
    yield b"[" * 20_000
    yield b'{"a":' * 5_000 + b"1" + b"}" * 5_000
    yield b'{"amount":1e999999999}'
    yield b'{"a":1,"a":2}'
    yield b"\xff\xfe{\x00}\x00"
    yield b'"' + b"x" * 150_000 + b'"'
    yield b"1" + b"0" * 100_000
    if body is not None:
        places = list(leaves(body))
        for _ in range(6):
            wrong = spoiled(body, rng.choice(places), rng.choice(WRONG))
            yield json.dumps(wrong).encode("utf-8", "surrogatepass")
        yield json.dumps(body | {"extra": 1}).encode()
        yield json.dumps(body).encode()[:-1]


#: Headers with which no call works.
WRONG_HEADERS: tuple[dict[str, str], ...] = (
    {"content-type": "text/plain"}, {"content-type": ""}, {"content-encoding": "gzip"}, {"accept": "image/png"},
    {"content-type": "application/json; charset=utf-16"}, {"idempotency-key": "a b"},
)  # fmt: skip
SIGNED_HEADERS = ("signature", "signature-input", "content-digest", "idempotency-key")
#: Where a name, an id or a number stands in a path or query.
TEMPLATES = (
    "/v1/accounts/{}", "/v1/credits/{}", "/v1/venues/{}", "/v1/snapshots/{}", "/v1/problems/{}",
    "/v1/accounts/{}/opening", "/v1/credits?after={}", "/v1/credits?limit={}", "/v1/log/head?size={}",
    "/v1/log/inclusion?leaf={}", "/v1/log/consistency?first={0}&second={0}",
    "/v1/accounts/alice/attestation?epoch={}",
)  # fmt: skip


def headers_for(live: Live, call: Call, body: bytes, *, signed: bool, **more: str) -> dict[str, str]:
    caller, method, target = call
    path, _, query = target.partition("?")
    given = {"content-type": "application/json", "idempotency-key": secrets.token_hex(8)} | more
    if not signed:
        return given
    signer = RequestSigner(live.hub.signers[caller].key, "hub-1")
    return signer.sign(method, path, query, given, body, now=live.session.clock())


def refused(answer: Any, where: str) -> None:
    """A problem, and no fault of the server's."""
    assert 400 <= answer.status_code < 500 or answer.status_code == 503, f"{where}: {answer.status_code} {answer.text}"
    assert answer.headers["content-type"] == "application/problem+json", where
    assert answer.json()["status"] == answer.status_code, where


def test_bodies_of_no_form(live: Live) -> None:
    """Random bytes, wrong types, huge numbers, deep nesting, giant strings: signed, so that they get far."""
    rng, bodies, before = random.Random(SEED), valid_bodies(live), live.digest()
    sent = 0
    for call in calls(live):
        _, method, path = call
        if path not in bodies or method == "GET":
            continue
        for _ in range(ROUNDS):
            for data in garbage(rng, bodies[path]):
                answer = live.session.http.request(
                    method, path, content=data, headers=headers_for(live, call, data, signed=True)
                )
                if path.startswith("/v1/proofs/") and answer.status_code == 200:
                    assert answer.json().get("verdict") != "valid"
                else:
                    refused(answer, f"{method} {path} {data[:200]!r}")
                sent += 1
    assert sent > 200
    live.alive()
    assert live.digest() == before


def test_paths_queries_and_headers_of_no_form(live: Live) -> None:
    """Names, ids and numbers that are none; content types and headers that are wrong or there twice."""
    rng, bodies, before = random.Random(SEED), valid_bodies(live), live.digest()
    http = live.session.http
    odd = [
        "%00",
        "%ff%fe",
        "..%2f..",
        "x" * 3000,
        "%F0%9F%92%A9",
        "-1",
        "0",
        "'%20OR%201=1",
        "%0d%0aX:%20y",
        "%7Baccount%7D",
    ]
    for name in odd:
        for template in TEMPLATES:
            path = template.format(name)
            call = ("operator/ops", "GET", path)
            answer = http.request("GET", path, headers=headers_for(live, call, b"", signed=True))
            assert answer.status_code < 500, f"{path}: {answer.text}"
    for path in (
        "/v1/log/head?size=99999999999999999999",
        "/v1/log/inclusion?leaf=9223372036854775808",
        "/v1/log/head?size=1&size=2",
    ):
        assert http.get(path).status_code < 500, path
    for caller, method, path in calls(live):
        if method == "GET":
            continue
        data = json.dumps(bodies.get(path, {})).encode()
        for more in WRONG_HEADERS:
            headers = headers_for(live, (caller, method, path), data, signed=False, **more)
            answer = http.request(method, path, content=data, headers=headers)
            if not path.startswith("/v1/proofs/"):
                refused(answer, f"{method} {path} {more}")
        # Twice the same header: which one was signed would be a matter of taste.
        once = headers_for(live, (caller, method, path), data, signed=True)
        for name in [n for n in once if n.lower() in SIGNED_HEADERS]:
            twice = [*once.items(), (name, once[name][:-2] + rng.choice("abc") + once[name][-1:])]
            if not path.startswith("/v1/proofs/"):
                refused(http.request(method, path, content=data, headers=twice), f"{method} {path} twice {name}")
    live.alive()
    assert live.digest() == before


def exchange(live: Live, data: bytes, *, close: bool = False, wait: float = 1.0) -> bytes:
    """Raw bytes to the server; what came back."""
    parts = urlsplit(live.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=wait) as connection:
        connection.sendall(data)
        if close:
            connection.shutdown(socket.SHUT_WR)
        out = b""
        try:
            while chunk := connection.recv(65536):
                out += chunk
                if b"\r\n\r\n" in out and b"HTTP/1.1 100" not in out:
                    break
        except (TimeoutError, ConnectionError):
            pass
        return out


def test_bytes_that_are_no_http(live: Live) -> None:
    """Truncated and chunked bodies, wrong lengths, slow senders, random bytes on the socket."""
    rng, before = random.Random(SEED), live.digest()
    body = json.dumps(valid_bodies(live)["/v1/accounts/alice/deposits"]).encode()
    call = ("operator/ops", "POST", "/v1/accounts/alice/deposits")
    lines = "".join(f"{k}: {v}\r\n" for k, v in headers_for(live, call, body, signed=True).items())
    head = f"POST {call[2]} HTTP/1.1\r\nhost: x\r\n{lines}".encode()
    size, chunked = f"content-length: {len(body)}\r\n".encode(), b"transfer-encoding: chunked\r\n"
    for data, close in (
        (head + size + b"\r\n" + body[:10], True),  # truncated
        (head + size + b"\r\n" + body[:10], False),  # a sender that stops and goes
        (head + b"content-length: -1\r\n\r\n" + body, True),
        (head + b"content-length: 99999999999999999999\r\n\r\n" + body, True),
        (head + size + b"content-length: 5\r\n\r\n" + body, True),
        (head + size + chunked + b"\r\n" + b"0\r\n\r\n", True),  # smuggling
        (head + chunked + b"\r\nzz\r\n" + body, True),
        (head + chunked + b"\r\nffffffffffffffff\r\n" + body, True),
        (head + chunked + b"\r\n5\r\n" + body[:5] + b"\r\n", True),
        (head + chunked + b"\r\n" + b"1\r\n{\r\n" * 300 + b"0\r\n\r\n", True),
        (head + b"x: " + b"y" * 100_000 + b"\r\n\r\n", True),
        (head + b"x: y\r\n" * 5_000 + b"\r\n", True),
        (b"GET /v1/credits HTTP/9.9\r\n\r\n", True),
        (b"GET http://other/v1/credits HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", True),
        (b"POST /v1/credits HTTP/1.1\r\n\x00: \xff\r\n\r\n", True),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", True),
        *((rng.randbytes(rng.randint(1, 2000)), True) for _ in range(20 * ROUNDS)),
    ):
        answer = exchange(live, data, close=close)
        assert not answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 5")), (data[:300], answer[:300])
    live.alive()
    assert live.digest() == before
    # The control: the same bytes, whole and in chunks, are a deposit.
    parts = b"".join(
        f"{len(body[i : i + 7]):x}\r\n".encode() + body[i : i + 7] + b"\r\n" for i in range(0, len(body), 7)
    )
    whole = head + chunked + b"\r\n" + parts + b"0\r\n\r\n"
    assert exchange(live, whole, wait=60).startswith(b"HTTP/1.1 201")
    assert live.digest() != before
