"""Both clients on a hub that a function plays: one request, its answer, no socket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

import httpx2
import pytest

from zkmargin.service.client.signing import RequestSigner
from zkmargin.service.client.transport import (
    AsyncHubClient,
    Flow,
    HubClient,
    Request,
    Response,
    Retry,
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
