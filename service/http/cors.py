"""Calls from browsers of other origins (CORS): only those in which nobody is somebody, and never with credentials."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from zkmargin.service.http.problems import BASE

#: Verification and what describes it. Signed calls are not here: a page has no business with anybody's key.
PUBLIC = frozenset({"/v1/proofs/verify", "/v1/proofs/verify-batch", "/v1/example", "/v1/openapi.json", "/v1/problems"})
PREFLIGHT_SECONDS = 600


class PublicCors:
    """Starlette's CORS middleware around the public calls; all others answer as if it were not there."""

    def __init__(self, app: ASGIApp, *, origins: Sequence[str]) -> None:
        self.app = app
        self.public = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=("GET", "HEAD", "POST"),
            allow_headers=("content-type",),
            allow_credentials=False,
            expose_headers=("x-request-id", "retry-after"),
            max_age=PREFLIGHT_SECONDS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        public = scope["type"] == "http" and (scope["path"] in PUBLIC or scope["path"].startswith(BASE))
        await (self.public if public else self.app)(scope, receive, send)
