"""Calls from browsers of other origins (CORS): only those in which nobody is somebody, and never with credentials."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from zkmargin.service.http.problems import BASE

PREFLIGHT_SECONDS = 600


class PublicCors:
    """Starlette's CORS middleware around the calls of these paths, and the problem types that they answer with.

    All others answer as if it were not there. Signed calls never are among them: a page has no business with anybody's
    key.
    """

    def __init__(self, app: ASGIApp, *, origins: Sequence[str], paths: frozenset[str]) -> None:
        self.app, self.paths = app, paths
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
        public = scope["type"] == "http" and (scope["path"] in self.paths or scope["path"].startswith(BASE))
        await (self.public if public else self.app)(scope, receive, send)
