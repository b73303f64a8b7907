"""The clients' exchange with a hub: signing, trying again, limits, and problems as typed errors, sync and async."""

from __future__ import annotations

import asyncio
import http.server
import itertools
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import httpx2
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from tests.support.hubs import Hub, sqlite_url
from zkmargin.circuits.errors import MalformedInput, ZkMarginError
from zkmargin.service.client.exchange import Send, Settings, Wait, drive, hub_url
from zkmargin.service.client.signing import RequestSigner
from zkmargin.service.client.transport import (
    AsyncHubClient,
    Flow,
    HubClient,
    HubProblem,
    HubUnreachable,
    Request,
    Response,
    Retry,
    get,
    new_idempotency_key,
    post,
    segment,
)
from zkmargin.service.keys.request_signatures import VerifiedRequest, verify_request
from zkmargin.service.keys.signing_keys import generate_key

T = TypeVar("T")
KEY = generate_key()
SIGNER = RequestSigner(KEY, "hub-1")
URL = "https://hub.test:8443"
AT_ONCE = Retry(tries=4, base=0.0)
Handler = Callable[[httpx2.Request], httpx2.Response]


def one(request: Request) -> Flow[Response]:
    """The shortest flow: one request, its answer."""
    return (yield request)


def run_sync(handler: Handler, flow: Flow[T], **options: Any) -> T:
    with HubClient(URL, **({"retry": AT_ONCE} | options), transport=httpx2.MockTransport(handler)) as hub:
        return hub.run(flow)


def run_async(handler: Handler, flow: Flow[T], **options: Any) -> T:
    async def main() -> T:
        transport = httpx2.MockTransport(handler)
        async with AsyncHubClient(URL, **({"retry": AT_ONCE} | options), transport=transport) as hub:
            return await hub.run(flow)

    return asyncio.run(main())


both = pytest.mark.parametrize("run", [run_sync, run_async], ids=["sync", "async"])
Run = Callable[..., Any]


def verified(request: httpx2.Request) -> VerifiedRequest:
    """What the server makes of a request."""
    path, _, query = request.url.raw_path.decode().partition("?")
    return verify_request(
        method=request.method, path=path, query=query, body=request.content, hub="hub-1",
        headers=[(name.decode(), value.decode()) for name, value in request.headers.raw],
        key_of=lambda _: KEY.public_key(), now=int(time.time()),
    )  # fmt: skip


def problem(code: str, status: int = 409, **members: Any) -> httpx2.Response:
    tree = {"type": f"/v1/problems/{code}", "title": "a title", "status": status, "code": code, **members}
    headers = {"content-type": "application/problem+json; charset=utf-8"}
    return httpx2.Response(status, headers=headers, content=json.dumps(tree))


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
def test_a_retried_request_keeps_its_key_and_gets_a_new_signature(run: Run) -> None:
    seen: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        if len(seen) == 1:
            raise httpx2.ReadError("reset", request=request)
        return httpx2.Response(503) if len(seen) == 2 else httpx2.Response(200)

    key = new_idempotency_key()
    assert run(handler, one(post("/v1/credits", {"a": "1"}, idempotency_key=key)), signer=SIGNER).status == 200
    assert [r.headers["idempotency-key"] for r in seen] == [key] * 3
    assert {r.content for r in seen} == {b'{"a":"1"}'}
    assert len({verified(r).nonce for r in seen}) == 3
    assert len({new_idempotency_key() for _ in range(9)}) == 9


@both
def test_a_request_that_an_earlier_try_works_on_is_repeated_until_it_is_decided(run: Run) -> None:
    """More often than other failures: the earlier try may have to be waited out."""
    calls: list[int] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        calls.append(1)
        return problem("request-in-progress", 409) if len(calls) < 9 else problem("conflict", 409)

    with pytest.raises(HubProblem) as told:
        run(handler, one(post("/v1/credits", {}, idempotency_key="k")), signer=SIGNER)
    assert (told.value.code, len(calls)) == ("conflict", 9)


def failing(error: type[httpx2.TransportError] | int, calls: list[int]) -> Handler:
    def handler(request: httpx2.Request) -> httpx2.Response:
        calls.append(1)
        if isinstance(error, int):
            return problem("busy", error)
        raise error("KEY MATERIAL")

    return handler


@both
@pytest.mark.parametrize(
    ("error", "repeatable", "tries"),
    [
        (httpx2.ConnectError, True, 4), (httpx2.ConnectError, False, 4), (httpx2.ConnectTimeout, False, 4),
        (httpx2.ReadError, True, 4), (httpx2.ReadError, False, 1), (httpx2.ReadTimeout, False, 1),
        (httpx2.RemoteProtocolError, False, 1), (httpx2.RemoteProtocolError, True, 4), (httpx2.WriteError, False, 1),
        (502, True, 4), (503, True, 4), (504, True, 4), (429, True, 4), (503, False, 1),
        (500, True, 1), (409, True, 1), (400, True, 1), (301, True, 1),
    ],
)  # fmt: skip
def test_only_what_does_no_harm_is_tried_again_and_not_for_ever(
    run: Run, error: type[httpx2.TransportError] | int, repeatable: bool, tries: int
) -> None:
    calls: list[int] = []
    request = post("/v1/x", {}, idempotency_key="k" if repeatable else None)
    with pytest.raises(HubProblem if isinstance(error, int) else HubUnreachable) as caught:
        run(failing(error, calls), one(request), signer=SIGNER)
    assert len(calls) == tries
    assert "KEY MATERIAL" not in str(caught.value)
    assert caught.value.exit_code == (12 if isinstance(error, int) else 13)


@both
def test_a_breaker_is_not_tried_again(run: Run) -> None:
    calls: list[int] = []
    with pytest.raises(HubProblem) as caught:
        run(lambda _: calls.append(1) or problem("breaker-open", 503), one(get("/x")))
    assert (caught.value.code, len(calls)) == ("breaker-open", 1)


def waits(retry: Retry, answers: Iterator[Response | httpx2.TransportError]) -> list[float]:
    """The waits of one repeatable request, without sleeping; chance always says the most."""
    actions = drive(one(get("/x")), Settings(hub_url(URL), None, retry, jitter=lambda _, most: most))
    out = []
    action = next(actions)
    try:
        while True:
            if isinstance(action, Wait):
                out.append(action.seconds)
                action = actions.send(None)
            else:
                answer = next(answers)
                action = actions.throw(answer) if isinstance(answer, Exception) else actions.send(answer)
    except (StopIteration, ZkMarginError):
        return out


def test_the_waits_double_up_to_a_cap_and_obey_the_hub() -> None:
    lost = itertools.repeat(httpx2.ReadError("x"))
    assert waits(Retry(tries=6, base=0.5, cap=3.0), lost) == [0.5, 1.0, 2.0, 3.0, 3.0]

    def busy(after: str) -> Iterator[Response]:
        return itertools.repeat(Response(503, {"retry-after": after}, b""))

    assert waits(Retry(tries=3, base=0.5, cap=3.0), busy("2")) == [2.0, 2.0]
    assert waits(Retry(tries=3, base=0.5, cap=3.0), busy("100000")) == [3.0, 3.0]
    for odd in ("", "-5", "1.5", "\u0663", "9" * 400, "Wed, 21 Oct 2015 07:28:00 GMT"):
        assert waits(Retry(tries=3, base=0.5, cap=3.0), busy(odd)) == [0.5, 1.0]
    assert waits(Retry(tries=3, base=0.5, deadline=0.4), lost) == []
    assert waits(Retry(tries=3, base=0.5, deadline=0.4), busy("")) == []
    assert waits(Retry(tries=1), lost) == []


@given(st.integers(1, 8), st.floats(0, 2), st.floats(0, 5))
def test_chance_stays_within_the_wait(tries: int, base: float, cap: float) -> None:
    settings = Settings(hub_url(URL), None, Retry(tries=tries, base=base, cap=cap))
    actions = drive(one(get("/x")), settings)
    action, number = next(actions), 0
    while number < tries - 1:
        action = actions.throw(httpx2.ReadError("x"))
        assert isinstance(action, Wait)
        assert 0 <= action.seconds <= min(cap, base * 2**number)
        action, number = actions.send(None), number + 1
    assert isinstance(action, Send)
    with pytest.raises(HubUnreachable):
        actions.throw(httpx2.ReadError("x"))


@both
def test_the_client_sleeps_as_it_is_told(run: Run) -> None:
    calls: list[int] = []
    with pytest.raises(HubProblem):
        run(failing(503, calls), one(get("/x")), retry=Retry(tries=3, base=0.001))
    assert len(calls) == 3


@both
def test_a_problem_is_a_typed_error_with_its_members(run: Run) -> None:
    answer = problem(
        "stale-epoch", 409, detail="epoch 7 is past", field="statement.context.epoch", remedy="prove again", epoch=9
    )
    with pytest.raises(HubProblem) as caught:
        run(lambda _: answer, one(get("/x")))
    error = caught.value
    assert (error.code, error.status, error.detail) == ("stale-epoch", 409, "epoch 7 is past")
    assert (error.field, error.remedy, error.extensions) == ("statement.context.epoch", "prove again", {"epoch": 9})
    assert error.to_json() == {
        "code": "stale-epoch", "message": "epoch 7 is past", "field": "statement.context.epoch",
        "remedy": "prove again",
    }  # fmt: skip
    assert HubProblem.code == "hub-problem"


@both
@pytest.mark.parametrize(
    ("answer", "code", "detail"),
    [
        (lambda: httpx2.Response(500, text="<html>trace"), "http-500", "the hub answered with status 500"),
        (lambda: httpx2.Response(404, json={"detail": "no problem details"}), "http-404",
         "the hub answered with status 404"),
        (lambda: httpx2.Response(302, headers={"location": "https://evil.test"}), "http-302",
         "the hub answered with status 302"),
        (lambda: httpx2.Response(409, headers={"content-type": "application/problem+json"}, content=b"{"), "http-409",
         "the hub answered with status 409"),
        (lambda: httpx2.Response(409, headers={"content-type": "application/problem+json"}, content=b"[1]"), "http-409",
         "the hub answered with status 409"),
        (lambda: problem("about:blank"), "http-409", "a title"),
        (lambda: problem("x" * 65), "http-409", "a title"),
        (lambda: problem("\x1b[2J"), "http-409", "a title"),
        (lambda: problem("busy", detail=5, field=["a"], remedy={}), "busy", "a title"),
        (lambda: problem("busy", title=None), "busy", "the hub answered with status 409"),
        (lambda: problem("busy", detail="a\x1b[2J\nb\u202e", field="\x1b"), "busy", "a [2J b "),
        (lambda: problem("busy", detail="x" * 5000), "busy", "x" * 1000),
    ],
)  # fmt: skip
def test_odd_refusals_are_typed_and_safe_to_print(
    run: Run, answer: Callable[[], httpx2.Response], code: str, detail: str
) -> None:
    with pytest.raises(HubProblem) as caught:
        run(lambda _: answer(), one(get("/x")))
    assert (caught.value.code, caught.value.detail) == (code, detail)
    assert caught.value.field is None
    assert caught.value.remedy is None


@both
def test_a_flow_may_handle_a_refusal_and_go_on(run: Run) -> None:
    def flow() -> Flow[str]:
        try:
            yield get("/a")
        except HubProblem as err:
            answer = yield get(f"/{err.code}")
            return str(answer.json())
        return "not refused"

    def handler(request: httpx2.Request) -> httpx2.Response:
        return problem("gone") if request.url.path == "/a" else httpx2.Response(200, json=request.url.path)

    assert run(handler, flow()) == "/gone"


@both
def test_a_flow_is_closed_when_it_ends_early(run: Run) -> None:
    closed: list[str] = []

    def flow() -> Generator[Request, Response, None]:
        try:
            yield get("/a")
            raise MalformedInput("a check of the flow failed", field="x")
        finally:
            closed.append("check")

    def interrupted(_: httpx2.Request) -> httpx2.Response:
        raise KeyboardInterrupt

    with pytest.raises(MalformedInput, match="a check of the flow failed"):
        run(lambda _: httpx2.Response(200), flow())
    with pytest.raises(KeyboardInterrupt):
        run(interrupted, flow())
    assert closed == ["check", "check"]


class Endless(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body that never ends."""

    def __init__(self) -> None:
        self.sent = 0

    def __iter__(self) -> Iterator[bytes]:
        while True:
            self.sent += 1
            yield bytes(1024)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part


@both
def test_an_answer_is_read_only_to_its_limit(run: Run) -> None:
    request = get("/x", max_response=10_000)
    assert len(run(lambda _: httpx2.Response(200, content=bytes(10_000)), one(request)).body) == 10_000
    with pytest.raises(MalformedInput):
        run(lambda _: httpx2.Response(200, content=bytes(10_001)), one(request))
    stream = Endless()
    with pytest.raises(MalformedInput) as caught:
        run(lambda _: httpx2.Response(200, stream=stream), one(request))
    assert caught.value.field == "response"
    assert stream.sent <= 11
    assert get("/x", max_response=10**12).max_response <= 16 * 1024 * 1024


@both
def test_an_answer_ends_in_time(run: Run) -> None:
    with pytest.raises(HubUnreachable):
        run(lambda _: httpx2.Response(200, stream=Endless()), one(get("/x")), retry=Retry(deadline=-1.0))


@both
def test_a_compressed_answer_is_refused_unread(run: Run) -> None:
    stream = Endless()
    with pytest.raises(MalformedInput):
        run(lambda _: httpx2.Response(200, headers={"content-encoding": "gzip"}, stream=stream), one(get("/x")))
    assert stream.sent == 0


@both
@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"a":1.5}', b'{"a":1,"a":2}', b"[" * 10_000])
def test_an_answer_that_is_no_strict_json_is_malformed(run: Run, body: bytes) -> None:
    answer = run(lambda _: httpx2.Response(200, content=body), one(get("/x")))
    with pytest.raises(MalformedInput) as caught:
        answer.json()
    assert caught.value.field == "response"


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
