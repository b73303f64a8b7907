"""What the clients send: signed as it is sent, to the hub alone, over real sockets and to a whole hub."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import httpx2
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.exchange import (
    AT_ONCE,
    KEY,
    SIGNER,
    URL,
    Run,
    both,
    one,
    verified,
)
from tests.support.hubs import Hub, sqlite_url
from zkmargin.circuits.errors import MalformedInput
from zkmargin.service.client.exchange import Settings, hub_url
from zkmargin.service.client.signing import RequestSigner
from zkmargin.service.client.transport import (
    AsyncHubClient,
    Flow,
    HubClient,
    HubProblem,
    Request,
    Response,
    Retry,
    get,
    new_idempotency_key,
    post,
    segment,
)
from zkmargin.service.keys.request_signatures import verify_request
from zkmargin.service.keys.signing_keys import generate_key


@both
def test_a_flow_of_several_requests_gets_their_answers(run: Run) -> None:
    def flow() -> Flow[list[Any]]:
        first = yield get("/v1/a", x="1 2", y=3)
        second = yield post("/v1/b", {"n": first.json()["n"] + 1})
        return [first.json(), second.json()]

    def handler(request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            assert request.url.raw_path == b"/v1/a?x=1%202&y=3"
            assert "signature" not in request.headers
            return httpx2.Response(200, json={"n": 1})
        assert request.headers["content-type"] == "application/json"
        assert verified(request).keyid == SIGNER.keyid
        return httpx2.Response(201, json={"got": json.loads(request.content)["n"]})

    assert run(handler, flow(), signer=SIGNER) == [{"n": 1}, {"got": 2}]


@both
@pytest.mark.parametrize(
    "path", ["/v1/a%2Fb", "/v1/a b", "/v1/./a", "/v1/a/../b", "/v1//a", "/v1/a?x=1", "/v1/%7e~", "/", "//a.test/b"]
)
def test_what_is_signed_is_what_is_sent(run: Run, path: str) -> None:
    seen = []
    request = Request("POST", path, query=(("q", "a&b=c/\u00e9 +"), ("q", "")), body=b"{}")
    run(lambda r: seen.append(verified(r)) or httpx2.Response(200), one(request), signer=SIGNER)
    assert len(seen) == 1


@both
@pytest.mark.parametrize(
    "path", ["v1", "", "/a#b", "/\u00e9", "https://evil.test/", "@evil.test/", "/\x00", "/" + "a" * 70_000]
)
def test_a_path_that_leaves_the_hub_is_refused(run: Run, path: str) -> None:
    with pytest.raises(MalformedInput):
        run(lambda _: pytest.fail("was sent"), one(Request("GET", path, signed=False)))


@both
def test_a_signed_call_needs_a_key(run: Run) -> None:
    with pytest.raises(MalformedInput) as caught:
        run(lambda _: pytest.fail("was sent"), one(post("/x", {})))
    assert caught.value.field == "key"


@both
@pytest.mark.parametrize("key", ["", "a b", "a\r\nX-Evil: 1", "\u00e9", "x" * 65])
def test_an_idempotency_key_is_one_visible_word(run: Run, key: str) -> None:
    with pytest.raises(MalformedInput):
        run(lambda _: pytest.fail("was sent"), one(post("/x", {}, idempotency_key=key)), signer=SIGNER)


class _Server(http.server.BaseHTTPRequestHandler):
    """A hub over real sockets: drops the first connection, then checks the signature of what arrives."""

    protocol_version = "HTTP/1.1"
    calls = 0
    seen: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        type(self).calls += 1
        if self.calls % 2:
            self.close_connection = True
            return
        path, _, query = self.path.partition("?")
        verified = verify_request(
            method=self.command, path=path, query=query, headers=self.headers.items(), body=body, hub="hub-1",
            key_of=lambda _: KEY.public_key(), now=int(time.time()),
        )  # fmt: skip
        self.seen.append(verified.nonce)
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_over_real_sockets_a_dropped_request_is_signed_anew_and_taken() -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    request = Request("POST", "/v1/a%2Fb", (("q", "x y&\u00e9"),), b'{"a":"1"}', idempotency_key="k")
    try:
        with HubClient(url, signer=SIGNER, retry=AT_ONCE) as hub:
            assert hub.run(one(request)).body == request.body

        async def main() -> bytes:
            async with AsyncHubClient(url, signer=SIGNER, retry=AT_ONCE) as hub:
                return (await hub.run(one(request))).body

        assert asyncio.run(main()) == request.body
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert _Server.calls == 4
    assert len(set(_Server.seen)) == 2


def test_through_a_whole_hub(tmp_path: Path) -> None:
    """The application itself takes what the client signs, and its problems become typed errors."""
    hub = Hub(sqlite_url(tmp_path))
    operator = RequestSigner(hub.operator.key, "hub-1")
    with hub.client() as application:
        in_process = application._transport
        with HubClient("https://testserver", signer=operator, transport=in_process) as client:
            zone = Request("PUT", "/v1/zones/zone-1", body=b'{"cap":"100"}', idempotency_key=new_idempotency_key())
            assert client.run(one(zone)).status == 200
            assert client.run(one(zone)).status == 200
            assert client.run(one(get("/v1/venues", signed=True))).status == 200
            documents = client.run(one(get("/v1/keys"))).json()
            with pytest.raises(HubProblem) as caught:
                client.run(one(get(f"/v1/venues/{segment('venue-9')}", signed=True)))
            assert (caught.value.code, caught.value.status) == ("unknown-venue", 404)
            assert set(caught.value.extensions) == {"instance"}
            assert caught.value.remedy
        stranger = RequestSigner(generate_key(), "hub-1")
        with HubClient("https://testserver", signer=stranger, transport=in_process) as client:
            with pytest.raises(HubProblem) as caught:
                client.run(one(get("/v1/venues", signed=True)))
            assert (caught.value.code, caught.value.status) == ("unknown-key", 401)
    assert documents


@pytest.mark.parametrize(
    "url",
    ["", "hub.test", "ftp://hub.test", "https://", "https://a:b@hub.test", "https://hub.test/v1", "https://hub.test/?q",
     "https://hub.test#f", "http://hub.test", "http://10.0.0.1:80", "https://hub.test:99999", "https://[::1", "\x00"],
)  # fmt: skip
def test_an_address_that_is_no_hubs_is_refused(url: str) -> None:
    for client in (HubClient, AsyncHubClient):
        with pytest.raises(MalformedInput) as caught:
            client(url)
        assert caught.value.field == "hub"


def test_plain_http_stays_on_this_machine_unless_allowed() -> None:
    for url in ("http://localhost:8000", "http://127.0.0.1", "http://[::1]:1", "https://hub.test/"):
        hub_url(url)
    hub_url("http://hub.internal", insecure=True)


def test_a_segment_cannot_leave_its_place() -> None:
    assert segment("a/b?c#d%e \u00e9") == "a%2Fb%3Fc%23d%25e%20%C3%A9"
    for text in ("", ".", ".."):
        with pytest.raises(MalformedInput):
            segment(text)


def test_no_repr_shows_a_key_or_a_body() -> None:
    secret = KEY.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    request = post("/v1/x", {"positions": "13371337"}, idempotency_key="k")
    answer = Response(200, {"x-secret": "13371337"}, b"13371337")
    shown = [
        repr(x) for x in (SIGNER, HubClient(URL, signer=SIGNER), AsyncHubClient(URL, signer=SIGNER), request, answer)
    ]
    shown += [repr(Settings(hub_url(URL), SIGNER, Retry()))]
    for text in shown:
        assert secret.hex() not in text
        assert repr(secret) not in text
        assert "PrivateKey" not in text
        assert "13371337" not in text
