"""Every failure is an RFC 9457 problem of a registered type, and none says what was sent."""

from __future__ import annotations

import asyncio
import json
import pickle
from typing import Any

import pytest

from tests.support.services import call, is_problem, settings
from zkmargin.circuits import errors
from zkmargin.circuits.errors import MalformedInput, ZkMarginError
from zkmargin.prover.errors import NotSolvent
from zkmargin.service import errors as service_errors
from zkmargin.service import refusals
from zkmargin.service.errors import Overloaded, ServiceError
from zkmargin.service.http import lanes
from zkmargin.service.http.app import create_app
from zkmargin.service.http.problems import PROBLEMS, body_of
from zkmargin.service.keys import request_signatures
from zkmargin.service.refusals import Refusal
from zkmargin.service.settings import load_settings
from zkmargin.verifier.facts.transparency import LogForked

PLANTED = "planted-4711-secret"


def kinds() -> list[type[ZkMarginError]]:
    modules = (errors, service_errors, refusals, request_signatures)
    found = [v for m in modules for v in vars(m).values() if isinstance(v, type)]
    return sorted(
        {k for k in found if issubclass(k, ZkMarginError) and k not in (ZkMarginError, ServiceError, Refusal)},
        key=lambda k: k.__name__,
    )


def make(kind: type[ZkMarginError]) -> ZkMarginError:
    if kind is NotSolvent:
        return NotSolvent("short by 17", scenario="down", shortfall="17")
    if kind is LogForked:
        return LogForked("two", held=1, shown=2, proven=True)
    if issubclass(kind, Refusal):
        return kind("a message", field="a.field", epoch=8)
    if kind is Overloaded:
        return Overloaded(retry_after=7)
    if issubclass(kind, ServiceError):
        return kind("a message", field="a.field", extensions={"epoch": 8})
    return kind("a message", field="a.field")


@pytest.mark.parametrize("kind", kinds())
def test_every_code_has_a_type(kind: type[ZkMarginError]) -> None:
    assert kind.code in PROBLEMS


@pytest.mark.parametrize("kind", kinds())
def test_every_error_crosses_processes_whole(kind: type[ZkMarginError]) -> None:
    error = make(kind)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(copy) is kind
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)


@pytest.mark.parametrize("kind", [errors.InternalError, errors.CorruptData, NotSolvent])
def test_what_is_not_for_the_client_is_not_shown(kind: type[ZkMarginError]) -> None:
    error = make(kind)
    assert error.message not in json.dumps(body_of(error, "x"))
    assert "field" not in body_of(error, "x")


def test_extensions_are_members_but_never_replace_the_standard_ones() -> None:
    tree = body_of(service_errors.NotFound("gone", extensions={"epoch": 8, "status": 200}), "x")
    assert (tree["epoch"], tree["status"]) == (8, 404)


def test_types_are_served_where_they_point() -> None:
    listed = call("GET", "/v1/problems").json()["problems"]
    assert {p["code"] for p in listed} == set(PROBLEMS)
    app = create_app(settings())
    for problem in listed:
        assert call("GET", problem["type"], app=app).json() == problem


def test_paths_methods_and_types_that_do_not_exist() -> None:
    is_problem(call("GET", f"/v1/{PLANTED}"), 404, "not-found")
    is_problem(call("GET", "/v1/problems/nonesuch"), 404, "not-found", "code")
    is_problem(call("GET", f"/v1/problems/{PLANTED}"), 422, "malformed-input", "code")
    wrong = call("DELETE", "/v1/problems")
    is_problem(wrong, 405, "method-not-allowed")
    assert "GET" in wrong.headers["allow"]
    is_problem(call("GET", "/v1/problems", headers={"accept": "image/png"}), 406, "not-acceptable", "accept")
    refused = {"accept": "application/json;q=0, text/html"}
    is_problem(call("GET", "/v1/problems", headers=refused), 406, "not-acceptable", "accept")
    assert call("GET", "/v1/problems", headers={"accept": "text/html, application/*;q=0.1"}).status_code == 200


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("headers", "status", "code", "field"),
    [
        ({}, 415, "unsupported-media-type", "content-type"),
        ({"content-type": "text/plain"}, 415, "unsupported-media-type", "content-type"),
        ({"content-type": "application/json; charset=utf-16"}, 415, "unsupported-media-type", "content-type"),
        (JSON | {"content-encoding": "gzip"}, 415, "unsupported-media-type", "content-encoding"),
        (JSON | {"content-length": "99999999999"}, 413, "body-too-large", "content-length"),
        (JSON | {"content-length": "many"}, 422, "malformed-input", "content-length"),
    ],
)
def test_headers_are_checked_before_a_body_is_read(headers: dict[str, str], status: int, code: str, field: str) -> None:
    is_problem(call("POST", "/v1/proofs/verify", content=b"{}", headers=headers), status, code, field)


def test_a_streamed_body_is_cut_at_the_limit() -> None:
    sent = 0

    async def stream() -> Any:
        nonlocal sent
        for _ in range(1000):
            sent += 1024
            yield b" " * 1024

    answer = call("POST", "/v1/proofs/verify", content=stream(), headers=JSON, given={"max_document_bytes": 4096})
    is_problem(answer, 413, "body-too-large", "body")
    assert sent <= 4096 + 2048


def scope(path: str, method: str = "POST") -> dict[str, Any]:
    return {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [(b"content-type", b"application/json")], "http_version": "1.1", "scheme": "http",
        "server": ("service", 80), "client": ("client", 1), "asgi": {"version": "3.0"}, "root_path": "",
    }  # fmt: skip


def test_a_body_that_never_comes_does_not_hold_the_service() -> None:
    app = create_app(settings(body_timeout=0.01))
    sent: list[Any] = []

    async def never() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope("/v1/proofs/verify"), never, send))
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["code"] == "request-timeout"


def test_too_many_requests_in_progress_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "WAIT_MS", (1, 1))
    app = create_app(settings(max_concurrency=1))
    statuses: list[int] = []
    retry: list[bytes] = []

    async def main() -> None:
        gate = asyncio.Event()

        async def slow() -> Any:
            await gate.wait()
            return {"type": "http.request", "body": b"{", "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
                retry.extend(value for key, value in message["headers"] if key == b"retry-after")

        first = asyncio.create_task(app(scope("/v1/proofs/verify"), slow, send))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await app(scope("/v1/proofs/verify-batch"), slow, send)
        await app(scope("/health/live", "GET"), slow, send)
        gate.set()
        await first

    asyncio.run(main())
    # The full service still says that it lives, and the first request is served (its pool is not started here).
    assert statuses[:2] == [503, 200]
    assert retry[0] == b"2"
    assert len(statuses) == 3


def test_an_unexpected_exception_says_and_logs_nothing_of_itself(capfd: pytest.CaptureFixture[str]) -> None:
    app = create_app(settings(log_level="info"))

    @app.get("/v1/bug")
    async def bug() -> None:
        portfolio = PLANTED
        raise ValueError(portfolio)

    answer = call("GET", f"/v1/bug?position={PLANTED}", app=app)
    is_problem(answer, 500, "internal-error")
    logged = capfd.readouterr()
    assert "ValueError" in logged.err
    assert "bug:" in logged.err
    assert PLANTED not in answer.text + logged.err + logged.out
    assert PLANTED not in call("GET", "/metrics", app=app).text


def test_a_request_id_is_kept_only_when_it_is_one() -> None:
    assert call("GET", "/health/live", headers={"x-request-id": "abcdef-123"}).headers["x-request-id"] == "abcdef-123"
    for bad in ("short", "x" * 65, "new\tline-123"):
        assert call("GET", "/health/live", headers={"x-request-id": bad}).headers["x-request-id"] != bad


def test_settings_come_from_the_line_then_the_environment_then_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    file = tmp_path / "service.toml"
    file.write_text('port = 1001\nmax_batch = 7\nhost = "::1"\n')
    monkeypatch.setenv("ZKMARGIN_PORT", "1002")
    monkeypatch.setenv("ZKMARGIN_HOST", "::2")
    read = load_settings(file, host="::3", role=None)
    assert (read.host, read.port, read.max_batch, read.role) == ("::3", 1002, 7, "verifier")


def test_bad_settings_are_named_and_secrets_never_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("ZKMARGIN_STORAGE_KEY", PLANTED)
    monkeypatch.setenv("ZKMARGIN_DATABASE_URL", f"postgresql://u:{PLANTED}@h/d")
    assert PLANTED not in repr(load_settings())
    file = tmp_path / "service.toml"
    for text, field in (
        (f'port = "{PLANTED}"', "port"),
        (f'unknown = "{PLANTED}"', "unknown"),
        ("batch_wait_ms = 6", "batch_wait_ms"),
        (f"{PLANTED} =", "config"),
    ):
        file.write_text(text)
        with pytest.raises(MalformedInput) as caught:
            load_settings(file)
        assert caught.value.field == field
        assert PLANTED not in str(caught.value)
    with pytest.raises(MalformedInput):
        load_settings(tmp_path / "nonesuch.toml")
