"""What the clients try again, how often, and how long they wait in between."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.exchange import (
    SIGNER,
    URL,
    Handler,
    Run,
    both,
    one,
    problem,
    verified,
)
from zkmargin.circuits.errors import ZkMarginError
from zkmargin.service.client.exchange import Send, Settings, Wait, drive, hub_url
from zkmargin.service.client.transport import (
    HubProblem,
    HubUnreachable,
    Response,
    Retry,
    get,
    new_idempotency_key,
    post,
)


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
