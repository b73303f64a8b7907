"""The clients: they perform what ``exchange`` decides, over httpx2, sync and async.

with HubClient("https://hub.example", signer=RequestSigner(key, "hub-1")) as hub:
    entry = hub.run(request_credit(...))
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import httpx2

from zkmargin.circuits.errors import MalformedInput, ZkMarginError
from zkmargin.service.client.exchange import (
    Actions,
    Flow,
    HubProblem,
    HubUnreachable,
    Request,
    Response,
    Retry,
    Send,
    Settings,
    Wait,
    drive,
    get,
    hub_url,
    new_idempotency_key,
    post,
    segment,
)
from zkmargin.service.client.signing import RequestSigner

if TYPE_CHECKING:
    import ssl

__all__ = [
    "AsyncHubClient", "Flow", "HubClient", "HubProblem", "HubUnreachable", "Request", "RequestSigner", "Response",
    "Retry", "get", "new_idempotency_key", "post", "segment",
]  # fmt: skip

T = TypeVar("T")

#: Seconds without progress: to connect, then between any two pieces that are sent or received.
TIMEOUT = httpx2.Timeout(30.0, connect=5.0)
#: What performing an action may raise into the flow.
_OUTCOMES = (httpx2.TransportError, ZkMarginError)


class _Body:
    """Collects an answer within its limits, so that a hostile hub can fill neither memory nor time."""

    def __init__(self, action: Send, response: httpx2.Response) -> None:
        self._action, self._response, self._parts, self._size = action, response, list[bytes](), 0
        # Without this a few kilobytes of gzip could become gigabytes.
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise MalformedInput("the answer is compressed, which nobody asked for", field="response")

    def add(self, part: bytes) -> None:
        self._size += len(part)
        self._parts.append(part)
        if self._size > self._action.max_response:
            raise MalformedInput(f"the answer is larger than {self._action.max_response} bytes", field="response")
        if time.monotonic() > self._action.deadline:
            raise httpx2.ReadTimeout("the answer did not end in time")

    def response(self) -> Response:
        headers = {name.lower(): value for name, value in self._response.headers.items()}
        return Response(self._response.status_code, headers, b"".join(self._parts))


class _Client:
    """What both clients hold. The signer's key is in no repr."""

    def __init__(
        self,
        url: str,
        *,
        signer: RequestSigner | None = None,
        retry: Retry | None = None,
        insecure: bool = False,
    ) -> None:
        self._settings = Settings(hub_url(url, insecure=insecure), signer, retry or Retry())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._settings.url)!r}, signer={self._settings.signer!r})"


class HubClient(_Client):
    """A client of one hub; a context manager that keeps its connections.

    ``signer`` signs the calls that need it. ``retry`` says how often. ``insecure`` allows plain http to another
    machine. ``tls`` is the context to trust instead of the system's, ``transport`` stands in for the network.
    """

    def __init__(
        self,
        url: str,
        *,
        signer: RequestSigner | None = None,
        retry: Retry | None = None,
        insecure: bool = False,
        tls: ssl.SSLContext | None = None,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        super().__init__(url, signer=signer, retry=retry, insecure=insecure)
        self._http = httpx2.Client(timeout=TIMEOUT, transport=transport, verify=tls or True)

    def run(self, flow: Flow[T]) -> T:
        """Run a flow to its result. Raises what the flow raises: ``HubProblem``, ``HubUnreachable``, or the typed
        error of a check that failed.
        """
        actions: Actions[T] = drive(flow, self._settings)
        try:
            action = next(actions)
            while True:
                try:
                    outcome = self._perform(action)
                except _OUTCOMES as err:
                    action = actions.throw(err)
                else:
                    action = actions.send(outcome)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            actions.close()

    def _perform(self, action: Send | Wait) -> Response | None:
        if isinstance(action, Wait):
            time.sleep(action.seconds)
            return None
        response = self._http.send(action.request, stream=True)
        try:
            body = _Body(action, response)
            for part in response.iter_bytes():
                body.add(part)
        finally:
            response.close()
        return body.response()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncHubClient(_Client):
    """The same for asyncio: ``await hub.run(flow)``, ``async with``."""

    def __init__(
        self,
        url: str,
        *,
        signer: RequestSigner | None = None,
        retry: Retry | None = None,
        insecure: bool = False,
        tls: ssl.SSLContext | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(url, signer=signer, retry=retry, insecure=insecure)
        self._http = httpx2.AsyncClient(timeout=TIMEOUT, transport=transport, verify=tls or True)

    async def run(self, flow: Flow[T]) -> T:
        """Run a flow to its result; raises as :meth:`HubClient.run`."""
        actions: Actions[T] = drive(flow, self._settings)
        try:
            action = next(actions)
            while True:
                try:
                    outcome = await self._perform(action)
                except _OUTCOMES as err:
                    action = actions.throw(err)
                else:
                    action = actions.send(outcome)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            actions.close()

    async def _perform(self, action: Send | Wait) -> Response | None:
        import asyncio

        if isinstance(action, Wait):
            await asyncio.sleep(action.seconds)
            return None
        response = await self._http.send(action.request, stream=True)
        try:
            body = _Body(action, response)
            async for part in response.aiter_bytes():
                body.add(part)
        finally:
            await response.aclose()
        return body.response()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
