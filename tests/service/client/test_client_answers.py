"""What the clients make of answers: problems as typed errors, and limits of size, time and form."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator

import httpx2
import pytest

from tests.support.exchange import (
    Run,
    both,
    one,
    problem,
)
from zkmargin.circuits.errors import MalformedInput
from zkmargin.service.client.transport import (
    Flow,
    HubProblem,
    HubUnreachable,
    Request,
    Response,
    Retry,
    get,
)


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
