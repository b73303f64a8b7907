"""What happens around every request, as pure ASGI: its id, its limits, its line of diagnostics and its metrics.

The order is: :class:`Observe` (outermost, so that every answer is told of), then :class:`Limit`, then :class:`Head`.
Nothing unexpected passes :class:`Observe`: it becomes ``internal-error``, told by type and place alone.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zkmargin.circuits.errors import InternalError, MalformedInput, ZkMarginError
from zkmargin.service.errors import BodyTooLarge, Overloaded, RequestTimeout
from zkmargin.service.http.lanes import CALLERS, STRANGERS, Lane, Sluice
from zkmargin.service.http.problems import problem_of, response_of
from zkmargin.service.observability.diagnostics import place, reporter
from zkmargin.service.observability.metrics import Metrics

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
SCOPE_KEY = "zkmargin"
#: Bytes of an answer that are handed to the server at once; it takes more when some of them were read.
PIECE = 64 * 1024
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass
class RequestContext:
    """What is known of a request: set along the way, told at the end."""

    id: str
    code: str = ""
    principal: str = ""
    #: The method that the client sent and signed; inside, HEAD is a GET.
    method: str = ""


def context_of(scope: Scope) -> RequestContext:
    """The context of a request (of a fresh one where no middleware ran)."""
    found = scope.get(SCOPE_KEY)
    if not isinstance(found, RequestContext):
        found = scope[SCOPE_KEY] = RequestContext(secrets.token_hex(16))
    return found


def route_of(scope: Scope) -> str:
    """The template of the route that answered; never the path itself, which holds names."""
    return str(getattr(scope.get("route"), "path", "unmatched"))


async def send_problem(error: ZkMarginError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with a problem and remember its code."""
    context = context_of(scope)
    context.code = problem_of(error).code
    await response_of(error, context.id)(scope, receive, send)


class Observe:
    """Request id, line of diagnostics, metrics; and the last resort for exceptions."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self.app, self.metrics, self.diagnostics = app, metrics, reporter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        context = scope[SCOPE_KEY] = RequestContext(_request_id(scope), method=scope["method"])
        begin, status, started = time.perf_counter(), 499, False

        async def observed(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", context.id.encode())]
            await send(message)

        self.metrics.in_progress.inc()
        try:
            await self.app(scope, receive, observed)
        except Exception as err:
            if not isinstance(err, ZkMarginError):
                self.diagnostics.error("exception", kind=type(err).__name__, place=place(err), request=context.id)
            if not started:
                known = err if isinstance(err, ZkMarginError) else InternalError("unexpected")
                await send_problem(known, scope, receive, observed)
        finally:
            self.metrics.in_progress.dec()
            self._note(scope, context, status, time.perf_counter() - begin)

    def _note(self, scope: Scope, context: RequestContext, status: int, seconds: float) -> None:
        route = route_of(scope)
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        self.metrics.requests.labels(method, route, str(status)).inc()
        self.metrics.latency.labels(route).observe(seconds)
        if context.code:
            self.metrics.problems.labels(context.code).inc()
        members = {"code": context.code, "principal": context.principal}
        self.diagnostics.info(
            "request",
            method=method,
            route=route,
            status=status,
            ms=round(1000 * seconds, 2),
            request=context.id,
            **{name: value for name, value in members.items() if value},
        )


def _header(scope: Scope, name: bytes) -> str | None:
    found = [value for key, value in scope["headers"] if key == name]
    return found[0].decode("latin-1") if len(found) == 1 else None


def _request_id(scope: Scope) -> str:
    given = _header(scope, b"x-request-id")
    return given if given is not None and REQUEST_ID.fullmatch(given) else secrets.token_hex(16)


class Head:
    """HEAD as RFC 9110 (9.3.2) says: on every path that has GET, the same answer without its content."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def without_content(message: Message) -> None:
            # The server below must know, or it would miss the bytes that Content-Length announces.
            scope["method"] = "HEAD"
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        scope["method"] = "GET"
        await self.app(scope, receive, without_content)


class Limit:
    """Room by lanes, and bounds on each body, on all bodies together, and on the time that a body takes.

    ``lane`` names the lane of a request, ``large`` says of a path and method whether its body may have ``large_bytes``;
    strangers together hold at most half of ``pending_bytes``.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        lanes: Mapping[str, Lane],
        lane: Callable[[Scope], str],
        sluice: Sluice,
        body_bytes: int,
        large_bytes: int,
        large: Callable[[str, str], bool],
        pending_bytes: int,
        body_timeout: float,
    ) -> None:
        self.app, self.lanes, self.lane, self.sluice = app, lanes, lane, sluice
        self.pending_bytes, self.body_timeout = pending_bytes, body_timeout
        self.body_bytes, self.large_bytes, self.large = body_bytes, large_bytes, large
        self.held = dict.fromkeys((True, False), 0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request within the limits; typed errors of a body that breaks them reach the app's handlers."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # The server could still add to its list, and what is signed must be what is read.
        scope["headers"] = list(scope["headers"])
        name = self.lane(scope)
        # Venues and accounts publish nothing.
        large = name != CALLERS and self.large(scope["path"], scope["method"])
        limit = self.large_bytes if large else self.body_bytes
        lane, stranger = self.lanes[name], name in STRANGERS
        try:
            declared = _declared_length(scope)
            if declared > limit:
                raise BodyTooLarge(f"larger than {limit} bytes", field="content-length")
            self.check_held(declared, stranger)
            await lane.enter()
        except ZkMarginError as err:
            await send_problem(err, scope, receive, send)
            return
        body = _Body(self, receive, limit, stranger)
        answer = _Answer(self, send, lane, stranger)
        try:
            await self.app(scope, body.receive, answer.send)
            if answer.refusal is not None:
                await send_problem(answer.refusal, scope, receive, send)
        finally:
            answer.leave()
            self.held[stranger] -= body.received

    def check_held(self, more: int, stranger: bool) -> None:
        """``Overloaded`` where so many more bytes are too many."""
        if sum(self.held.values()) + more > self.pending_bytes or (
            stranger and self.held[stranger] + more > self.pending_bytes // 2
        ):
            raise Overloaded("too many bytes in progress")


def _declared_length(scope: Scope) -> int:
    text = _header(scope, b"content-length")
    if text is None:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise MalformedInput("not a length", field="content-length")
    return int(text)


class _Answer:
    """The sending side of one request: its place is given back when the work is done, since how fast the answer is read
    is up to the reader. What waits to be read counts like a body.
    """

    def __init__(self, limit: Limit, send: Send, lane: Lane, stranger: bool) -> None:
        self.limit, self.downstream, self.lane, self.stranger = limit, send, lane, stranger
        self.inside = True
        self.refusal: Overloaded | None = None

    def leave(self) -> None:
        if self.inside:
            self.inside = False
            self.lane.leave()

    async def send(self, message: Message) -> None:
        data = message.get("body", b"")
        if message["type"] == "http.response.start":
            size = int(dict(message.get("headers", ())).get(b"content-length", b"0"))
            self.leave()
            try:
                self.limit.check_held(size if size > PIECE else 0, self.stranger)
            except Overloaded as err:
                # Raised here it would meet an application that has begun to answer.
                self.refusal = err
        if self.refusal is not None:
            return
        if len(data) <= PIECE:
            await self.downstream(message)
            return
        self.limit.held[self.stranger] += len(data)
        try:
            for start in range(0, len(data), PIECE):
                more = start + PIECE < len(data) or message.get("more_body", False)
                await self.downstream({**message, "body": data[start : start + PIECE], "more_body": more})
        finally:
            self.limit.held[self.stranger] -= len(data)


class _Body:
    """The receiving side of one request, counted and timed until the body is complete."""

    def __init__(self, limit: Limit, receive: Receive, most: int, stranger: bool) -> None:
        self.limit, self.upstream, self.most, self.stranger = limit, receive, most, stranger
        self.received = 0
        self.complete = False
        self.deadline = asyncio.get_running_loop().time() + limit.body_timeout

    async def receive(self) -> Message:
        if self.complete:
            return await self.upstream()
        try:
            async with asyncio.timeout_at(self.deadline):
                message = await self.upstream()
        except TimeoutError:
            raise RequestTimeout("the body did not arrive in time") from None
        if message["type"] != "http.request":
            self.complete = True
            return message
        size = len(message.get("body", b""))
        self.received += size
        self.limit.held[self.stranger] += size
        self.complete = not message.get("more_body", False)
        if self.stranger:
            await asyncio.sleep(self.limit.sluice.delay(size, asyncio.get_running_loop().time()))
        if self.received > self.most:
            raise BodyTooLarge(f"larger than {self.most} bytes", field="body")
        self.limit.check_held(0, self.stranger)
        return message
