"""What a person and a browser see of the service: pages, an example that holds, HEAD, and calls of other origins."""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import re
import subprocess
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx2
import pytest

from tests.support.hubs import Session, Signer, sqlite_url
from tests.support.ledgers import started
from tests.support.services import call, is_problem, running, serve, settings
from zkmargin.circuits.errors import MalformedInput
from zkmargin.service.cli.serve import page_of
from zkmargin.service.client.signing import RequestSigner
from zkmargin.service.http import example
from zkmargin.service.http.app import create_app
from zkmargin.service.http.routes import pages
from zkmargin.service.settings import load_settings

VERIFY = "/v1/proofs/verify"
#: Verification and what describes it; no other call is ever open to pages of other origins.
PUBLIC = (VERIFY, f"{VERIFY}-batch", "/v1/example", "/v1/openapi.json", "/v1/problems")
OTHER = "https://app.example"


class Links(HTMLParser):
    """What a page points to, and what runs in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.places: list[str] = []
        self.inline: list[str] = []
        self._in = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.places += [value for name in ("href", "src") if (value := given.get(name)) is not None]
        self.inline += [name for name in given if name.startswith("on") or name == "style"]
        self._in = tag

    def handle_data(self, data: str) -> None:
        if self._in in ("script", "style") and data.strip():
            self.inline.append(data)


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_names_no_other_host_and_all_its_links_lead_somewhere(path: str) -> None:
    page = call("GET", path)
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    found = Links(page.text)
    assert len(found.places) > 3
    assert not found.inline
    for place in found.places:
        assert not re.match(r"(\w+:)?//", place), place
        if place != "health/ready":  # needs the pool, which this test does not start
            assert call("GET", urljoin(path, place)).status_code == 200, place


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_forbids_what_it_does_not_need(path: str) -> None:
    headers = call("GET", path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == policy["base-uri"] == "'none'"
    assert policy.get("script-src", "'none'") in ("'none'", "'self'")
    assert "http" not in headers["content-security-policy"]
    wanted = {"x-content-type-options": "nosniff", "x-frame-options": "DENY", "referrer-policy": "no-referrer"}
    assert wanted.items() <= dict(headers).items()


def test_the_scripts_of_the_page_ask_only_this_service() -> None:
    script = call("GET", "/docs/calls.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert re.findall(r'url: "([^"]*)"', script.text) == ["v1/openapi.json"]
    assert "SwaggerUIBundle" in call("GET", "/docs/swagger-ui-bundle.js").text


def test_the_front_page_lists_every_call_of_its_role(tmp_path: Path) -> None:
    verifier = create_app(settings())
    hub = create_app(settings(role="hub", database_url=sqlite_url(tmp_path)))
    for app in (verifier, hub):
        text = call("GET", "/", app=app).text
        for path in app.openapi()["paths"]:
            assert f"<code>{path}</code>" in text
    assert "/v1/credits" not in call("GET", "/", app=verifier).text


def test_a_hostile_host_header_is_only_text() -> None:
    text = call("GET", "/", headers={"host": 'x"><script>alert(1)</script>'}).text
    assert "<script>" not in text


def test_the_example_holds_in_every_check_and_is_made_once() -> None:
    async def use(client: httpx2.AsyncClient) -> tuple[Any, Any, Any, Any]:
        body = (await client.get("/v1/example")).json()
        again = (await client.get("/v1/example")).json()
        verdict = (await client.post(VERIFY, json=body)).json()
        tree = (await client.get("/v1/openapi.json")).json()
        return body, again, verdict, tree

    body, again, verdict, tree = serve(create_app(settings()), use)
    assert body == again
    assert verdict["verdict"] == "valid"
    assert set(verdict["checks"].values()) == {"passed"}
    assert verdict["amount"] == example.AMOUNT
    described = tree["paths"][VERIFY]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert described == body
    # Nothing that opens the commitment, and no private key, is in what strangers get.
    assert set(body) == {
        "statement", "proof", "attestation", "signed_snapshot", "snapshot", "hub_key", "oracle_key",
    }  # fmt: skip


def test_the_examples_of_the_description_hold_when_they_are_sent_as_they_are() -> None:
    """The kind: every example of a verify call, one by one and as a batch. The frozen one is the control."""

    async def use(client: httpx2.AsyncClient) -> list[Any]:
        answers = []
        for tree in ((await client.get("/v1/openapi.json")).json(), create_app(settings()).openapi()):
            for path in (VERIFY, f"{VERIFY}-batch"):
                body = tree["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
                answers.append((await client.post(path, json=body)).json())
        return answers

    one, many, old, old_batch = serve(create_app(settings()), use)
    assert one["verdict"] == "valid"
    assert (many["proofs"], many["valid"]) == (1, 1)
    assert (old["verdict"], old["failed"]["check"]) == ("invalid", "times")
    assert old_batch["valid"] == 0


def test_an_old_example_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one of the future, when the clock was set back."""
    times = iter([1000, 1000 + example.KEEP_SECONDS - 1, 1000 + example.KEEP_SECONDS, 900])
    monkeypatch.setattr(example, "make", lambda now: {"made": now})

    async def main() -> list[Any]:
        held = example.FreshExample(clock=lambda: next(times))
        return [(await held.get()).tree["made"] for _ in range(4)]

    assert asyncio.run(main()) == [1000, 1000, 1000 + example.KEEP_SECONDS, 900]
    assert example.GOOD_SECONDS >= 2 * example.KEEP_SECONDS


def test_strangers_together_cause_one_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def slow(now: int) -> dict[str, Any]:
        time.sleep(0.05)
        made.append(now)
        return {}

    monkeypatch.setattr(example, "make", slow)

    async def main() -> None:
        held = example.FreshExample()
        await asyncio.gather(*(held.get() for _ in range(50)))

    asyncio.run(main())
    assert len(made) == 1


def test_curl_as_printed_gives_a_valid_verdict(tmp_path: Path) -> None:
    """The two lines of the front page, copied out of it, on a real server."""
    with running(tmp_path / "log") as (_, url):
        page = httpx2.get(url).text
        found = re.search(r"<pre>(.*?)</pre>", page, re.S)
        assert found
        command = html.unescape(found[1])
        assert command.count(url) == 2
        done = subprocess.run(["bash", "-ec", command], cwd=tmp_path, capture_output=True, text=True, check=True)  # noqa: S607
        assert json.loads(done.stdout)["verdict"] == "valid"
        listening = next(line for line in (tmp_path / "log").read_text().splitlines() if '"listening"' in line)
        assert json.loads(listening)["page"] == f"{url}/"


@pytest.mark.parametrize(
    ("host", "page"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080/"), ("0.0.0.0", "http://127.0.0.1:8080/"),  # noqa: S104
        ("::", "http://[::1]:8080/"), ("::1", "http://[::1]:8080/"), ("hub.internal", "http://hub.internal:8080/"),
    ],
)  # fmt: skip
def test_the_page_is_named_by_an_address_that_answers(host: str, page: str) -> None:
    assert page_of(host, 8080) == page


def every_get(app: Any) -> list[str]:
    known = {
        "{code}": "stale-epoch", "{digest}": "0" * 64, "{account}": "alice", "{venue}": "spoke-a", "{credit}": "c",
        "{kid}": "0" * 64, "{zone}": "z",
    }  # fmt: skip
    paths = [path for path, calls in app.openapi()["paths"].items() if "get" in calls]
    paths += ["/", "/docs", "/docs/page.css", "/v1/openapi.json"]
    return [re.sub(r"\{\w+\}", lambda match: known.get(match[0], "x"), path) for path in paths]


def test_head_answers_on_every_get_as_get_does_without_content(tmp_path: Path) -> None:
    """Also where GET is refused: the same status and headers, no content."""
    with started(sqlite_url(tmp_path)) as world:
        http = world.session.http
        paths = every_get(http.app)
        assert len(paths) > 20
        for path in paths:
            full, head = http.get(path), http.request("HEAD", path)
            assert head.status_code == full.status_code, path
            assert head.content == b"", path
            own = {"x-request-id", "content-length", "date"}
            assert {k: v for k, v in head.headers.items() if k not in own} == {
                k: v for k, v in full.headers.items() if k not in own
            }, path


def test_a_signed_head_is_signed_as_head(tmp_path: Path) -> None:
    with started(sqlite_url(tmp_path)) as world:
        s = world.session
        s.account("alice")
        assert answer_of(s, "account/alice", "HEAD", "HEAD", "/v1/accounts/alice").status_code == 200
        assert answer_of(s, "account/alice", "GET", "HEAD", "/v1/accounts/alice").status_code == 401


def answer_of(s: Session, caller: str, signed: str, sent: str, path: str) -> Any:
    """A request that is signed with one method and sent with another."""
    signer: Signer = s.hub.signers[caller]
    headers = RequestSigner(signer.key, "hub-1").sign(signed, path, "", {}, b"", now=s.clock())
    return s.http.request(sent, path, headers=headers)


def test_head_over_a_socket_sends_headers_alone(tmp_path: Path) -> None:
    with running(tmp_path / "log") as (_, url):
        for path in ("/health/live", "/health/ready", "/", "/v1/problems"):
            done = subprocess.run(["curl", "-sS", "-I", url + path], capture_output=True, text=True, check=True)  # noqa: S607
            assert done.stdout.startswith("HTTP/1.1 200"), path
            assert "content-length" in done.stdout
        with httpx2.Client(base_url=url) as http:  # the connection is still in step after each of them
            for _ in range(3):
                assert http.head("/health/live").status_code == 200
                assert http.get("/health/live").json() == {"status": "ok"}
        assert '"exception"' not in (tmp_path / "log").read_text()


def test_a_path_without_get_has_no_head() -> None:
    refused = call("HEAD", VERIFY)
    assert refused.status_code == 405
    assert refused.headers["allow"] == "POST"
    assert call("PUT", "/health/live").headers["allow"] == "GET, HEAD"


def preflight(path: str, origin: str, **given: Any) -> httpx2.Response:
    headers = {
        "Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type",
    }  # fmt: skip
    return call("OPTIONS", path, given=given, headers=headers)


def test_no_other_origin_may_call_by_default() -> None:
    for answer in (preflight(VERIFY, OTHER), call("GET", "/v1/problems", headers={"Origin": OTHER})):
        assert not [name for name in answer.headers if name.startswith("access-control")]
    is_problem(preflight(VERIFY, OTHER), 405, "method-not-allowed")


@pytest.mark.parametrize("path", [*PUBLIC, "/v1/problems/stale-epoch"])
def test_an_allowed_origin_may_make_the_public_calls_without_credentials(path: str) -> None:
    given = {"cors_origins": (OTHER,)}
    asked = preflight(path, OTHER, **given)
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == OTHER
    assert "access-control-allow-credentials" not in asked.headers
    stranger = preflight(path, "https://evil.example", **given)
    assert "access-control-allow-origin" not in stranger.headers
    got = call("GET", path, given=given, headers={"Origin": OTHER})
    assert got.headers["access-control-allow-origin"] == OTHER  # also on a refusal, or the page could not read it
    assert "Origin" in got.headers["vary"]
    assert "access-control-allow-credentials" not in got.headers


def test_signed_calls_and_pages_are_never_open_to_other_origins(tmp_path: Path) -> None:
    """The kind: every other call of a hub, though all origins are allowed."""
    app = create_app(settings(role="hub", cors_origins=("*",), database_url=sqlite_url(tmp_path)))
    others = [path for path in app.openapi()["paths"] if path not in PUBLIC and not path.startswith("/v1/problems")]
    assert len(others) > 20
    for path in (*others, "/", "/docs"):
        headers = {"Origin": OTHER, "Access-Control-Request-Method": "POST"}
        answer = call("OPTIONS", path.replace("{", "").replace("}", ""), app=app, headers=headers)
        assert not [name for name in answer.headers if name.startswith("access-control")], path
    assert call("GET", "/v1/problems", app=app, headers={"Origin": OTHER}).headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    "origin",
    ["app.example", "https://app.example/", "https://app.example/x", "null", "", "https://*.example", "ftp://a", "a b"],
)
def test_what_is_no_origin_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(MalformedInput) as refused:
        load_settings(cors_origins=(origin,))
    assert refused.value.field == "cors_origins.0"


@pytest.mark.parametrize("origin", ["*", "http://localhost:3000", "https://a.example", "http://[::1]:8080"])
def test_origins_are_taken(origin: str) -> None:
    assert load_settings(cors_origins=(origin,)).cors_origins == (origin,)


def test_the_description_is_written_once_for_each_example(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for it all day causes no more than copies."""
    written: list[int] = []
    real = pages.with_examples
    monkeypatch.setattr(pages, "with_examples", lambda *given: written.append(1) or real(*given))

    async def use(client: httpx2.AsyncClient) -> set[bytes]:
        return {(await client.get("/v1/openapi.json")).content for _ in range(20)}

    assert len(serve(create_app(settings()), use)) == 1
    assert len(written) == 1


def test_who_does_not_read_an_asset_keeps_a_piece_of_it() -> None:
    """What is handed on is waited for: the next piece comes when the last one was taken."""
    sent: list[int] = []

    async def main() -> None:
        async def send(message: Any) -> None:
            sent.append(len(message.get("body", b"")))
            if len(sent) == 3:  # the start and two pieces; then the reader stops reading
                await asyncio.sleep(3600)

        async def receive() -> Any:
            await asyncio.sleep(3600)

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "method": "GET", "path": "/docs/swagger-ui-bundle.js",
            "raw_path": b"/docs/swagger-ui-bundle.js", "query_string": b"", "headers": [], "root_path": "",
        }  # fmt: skip
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(create_app(settings())(scope, receive, send), 0.3)

    asyncio.run(main())
    assert sent == [0, pages.PIECE, pages.PIECE]


def test_an_asset_says_how_long_it_is() -> None:
    answer = call("GET", "/docs/swagger-ui-bundle.js")
    assert int(answer.headers["content-length"]) == len(answer.content) > 10**6


def test_the_example_is_dated_by_the_clock() -> None:
    now = int(time.time())
    assert pages.of_batch(example.make(now))["snapshots"][0]["time"] == now
