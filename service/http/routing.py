"""How a request reaches a call: content type, then who signed it, then strict JSON, then the models.

FastAPI would read any JSON, with duplicate keys and floats. :class:`StrictRoute` parses as
:mod:`zkmargin.circuits.canonical` does; a call whose work begins with the body's bytes (verification) takes the
request itself and parses elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from zkmargin.circuits.errors import InternalError
from zkmargin.service.errors import NotAcceptable, UnsupportedMediaType
from zkmargin.service.http.schemas import parse_body

#: A body of so many bytes parses in some 10 ms.
INLINE_BYTES = 32 * 1024
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class _Parsed(Request):
    """A request whose JSON has been read already."""

    tree: Any = None

    async def json(self) -> Any:
        """The tree that strict parsing gave."""
        return self.tree


def check_content_type(request: Request) -> None:
    """``UnsupportedMediaType`` unless the body is declared as JSON in UTF-8, not compressed."""
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if kind.strip().lower() != "application/json" or charset not in ("", "utf-8"):
        raise UnsupportedMediaType("the body must be application/json", field="content-type")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("the body must not be compressed", field="content-encoding")


def check_accept(request: Request, media_type: str) -> None:
    """``NotAcceptable`` when the client names types and none of them covers ``media_type`` (RFC 9110, 12.5.1)."""
    accept = ",".join(request.headers.getlist("accept"))
    if not accept.strip():
        return
    family = media_type.split("/", maxsplit=1)[0] + "/*"
    for part in accept.split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        refused = any(p.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000") for p in parameters)
        if kind in ("*/*", family, media_type) and not refused:
            return
    raise NotAcceptable(f"this call answers with {media_type}", field="accept")


class StrictRoute(APIRoute):
    """A route with strict JSON bodies."""

    async def authenticate(self, request: Request) -> None:
        """Find the caller of a call that must be signed; routes of a hub can."""
        raise InternalError("a signed call on a route that knows no signatures")

    def get_route_handler(self) -> Handler:
        """FastAPI's handler behind the checks of headers and the strict parser."""
        handle = super().get_route_handler()
        takes_model = self.body_field is not None
        takes_body = takes_model or "requestBody" in (self.openapi_extra or {})
        signed = "security" in (self.openapi_extra or {})
        answer = getattr(getattr(self.response_class, "value", self.response_class), "media_type", None)

        async def checked(request: Request) -> Response:
            check_accept(request, answer or "application/json")
            if takes_body:
                check_content_type(request)
            if signed:
                await self.authenticate(request)
            if not takes_model:
                return await handle(request)
            data = await request.body()
            parsed = _Parsed(request.scope, request.receive)
            parsed._body = data
            # Parsing holds the event loop, and everybody else with it.
            large = len(data) > INLINE_BYTES
            parsed.tree = await run_in_threadpool(parse_body, data) if large else parse_body(data)
            return await handle(parsed)

        return checked
