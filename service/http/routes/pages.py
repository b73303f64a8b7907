"""What a person sees: a page at ``/``, the calls at ``/docs``, the API description and an example that holds now.

Everything comes from this service: no other host is named, and the pages forbid the browser to ask one.
"""

from __future__ import annotations

import html
import json
from collections.abc import AsyncIterator, Iterator
from functools import lru_cache
from importlib import resources
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

from zkmargin.service.http import problems
from zkmargin.service.http.context import OfService
from zkmargin.service.http.domain import Allowance, Domain
from zkmargin.service.http.example import of_batch
from zkmargin.service.http.routes.proofs import calls as proofs
from zkmargin.service.http.routing import StrictRoute

router = APIRouter(route_class=StrictRoute)
DOMAIN = Domain(
    router,
    allowances=(Allowance("/v1/example", cross_origin=True), Allowance("/v1/openapi.json", cross_origin=True)),
)

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
pre,code{font-family:ui-monospace,monospace;font-size:.9em}pre{background:#f4f4f4;padding:1rem;overflow-x:auto}
table{border-collapse:collapse;width:100%}td{border-top:1px solid #ddd;padding:.3rem .6rem .3rem 0;vertical-align:top}
td:nth-child(-n+2){white-space:nowrap}
""".strip()
# Nobody can sign in here: a signed call is signed by its caller's own program, whose key has no place in a page.
_SCRIPT = """
const nothing = () => null;
window.onload = () => SwaggerUIBundle({
  url: "v1/openapi.json", dom_id: "#calls", deepLinking: true, validatorUrl: null, defaultModelsExpandDepth: 0,
  plugins: [() => ({ wrapComponents: { authorizeBtn: () => nothing, authorizeOperationBtn: () => nothing } })],
});
""".strip()
_OURS = {"page.css": (_STYLE.encode(), "text/css"), "calls.js": (_SCRIPT.encode(), "text/javascript")}
_SWAGGER = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
#: For the assets, which change with the installed package only.
ASSET_SECONDS = 3600
#: Bytes of them that are handed to the server at once; about what it keeps for a connection by itself.
PIECE = 64 * 1024
_COMMON = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
#: A page of ours needs its style sheet and nothing else.
_PLAIN = {**_COMMON, "Content-Security-Policy": f"{_NOTHING}; style-src 'self'", "Cache-Control": "no-store"}
#: Swagger UI sets styles of its own and has icons inside its style sheet; scripts come from here alone.
_INTERACTIVE = {
    **_COMMON,
    "Content-Security-Policy": f"{_NOTHING}; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'",
    "Cache-Control": "no-cache",
}


class _Asset(StreamingResponse):
    """Bytes that are sent piece by piece, so that of a reader who does not read a piece waits here and not all."""

    def __init__(self, data: bytes) -> None:
        pieces = (data[at : at + PIECE] for at in range(0, len(data), PIECE))
        headers = {**_COMMON, "Cache-Control": f"max-age={ASSET_SECONDS}", "Content-Length": str(len(data))}
        super().__init__(_each(pieces), headers=headers)


async def _each(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


class _Style(_Asset):
    media_type = "text/css"


class _Script(_Asset):
    media_type = "text/javascript"


def _page(title: str, body: str, *, style: str = "docs/page.css", head: str = "") -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="{style}">{head}</head>'
        f"<body>{body}</body></html>\n"
    )


@lru_cache(maxsize=4)
def _calls(app: FastAPI) -> str:
    """Every call of the description as rows of a table: method, path, and the first sentence about it."""
    tree = app.openapi()
    rows = []
    for path, calls in tree["paths"].items():
        for method, call in calls.items():
            first = call["description"].partition(". ")[0].partition("\n")[0]
            about = html.escape(first.replace("`", "").rstrip("."))
            rows.append(f"<tr><td>{method.upper()}</td><td><code>{html.escape(path)}</code></td><td>{about}</td></tr>")
    return "".join(rows)


def front_page(app: FastAPI, base: str) -> str:
    """The page at ``/``; ``base`` is the address under which the reader came."""
    role = app.state.service.settings.role
    shown = html.escape(base.rstrip("/"))
    return _page(
        f"zkmargin {role}",
        f"<h1>zkmargin {role}</h1><p>{html.escape(app.description)}</p>"
        '<ul><li><a href="docs">its calls, to read and to try</a></li>'
        '<li><a href="v1/openapi.json">the same for programs (OpenAPI)</a></li>'
        '<li><a href="v1/problems">what its refusals mean</a></li>'
        '<li><a href="health/ready">whether it can work now</a></li></ul>'
        "<h2>Try it</h2><p>A proof that holds now, and its verdict:</p>"
        f"<pre>curl -s {shown}/v1/example &gt; example.json\n"
        f"curl -s -H 'Content-Type: application/json' -d @example.json {shown}/v1/proofs/verify</pre>"
        f"<h2>Calls</h2><table>{_calls(app)}</table>",
    )


@router.get("/", include_in_schema=False, response_class=HTMLResponse)
async def front(request: Request) -> Response:
    """What this service is, for a person."""
    return HTMLResponse(front_page(request.app, str(request.base_url)), headers=_PLAIN)


@router.get("/docs", include_in_schema=False, response_class=HTMLResponse)
async def docs(request: Request) -> Response:
    """The API description in Swagger UI."""
    head = '<script src="docs/swagger-ui-bundle.js"></script>'
    body = (
        '<div id="calls"></div><noscript><p>Without scripts: <a href="./">the calls in short</a>,'
        ' <a href="v1/openapi.json">the description</a>.</p></noscript><script src="docs/calls.js"></script>'
    )
    page = _page(request.app.title, body, style="docs/swagger-ui.css", head=head)
    return HTMLResponse(page, headers=_INTERACTIVE)


def _serve_asset(name: str, data: bytes, kind: type[_Asset]) -> None:
    async def asset() -> Response:
        return kind(data)

    router.add_api_route(f"/docs/{name}", asset, include_in_schema=False, response_class=kind)


for _name, (_data, _kind) in _OURS.items():
    _serve_asset(_name, _data, _Style if _kind == "text/css" else _Script)
for _name, _kind in _SWAGGER.items():
    _file = resources.files("fastapi_swagger.resources").joinpath(_name)
    _serve_asset(_name, _file.read_bytes(), _Style if _kind == "text/css" else _Script)


@router.get(
    "/v1/example",
    operation_id="get_example",
    tags=["proofs"],
    responses={
        200: {
            "description": "Successful Response",
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/VerifyRequest"},
                    "example": proofs.frozen_example(),
                }
            },
        },
        **problems.responses(),
    },
)
async def example(service: OfService) -> Response:
    """A body for `POST /v1/proofs/verify` that is valid now: a demo account of this service, proved a moment ago.

    `curl -s http://127.0.0.1:8080/v1/example > example.json`, then
    `curl -s -H 'Content-Type: application/json' -d @example.json http://127.0.0.1:8080/v1/proofs/verify`. It is good
    for most of an hour.
    """
    made = await service.example.get()
    return Response(made.body, media_type="application/json", headers={"Cache-Control": "no-store"})


@router.get("/v1/openapi.json", include_in_schema=False)
async def openapi(request: Request, service: OfService) -> Response:
    """The API description, its verify examples made anew, so that what a reader tries holds."""
    made = await service.example.get()
    body = service.description.get(made, lambda: json.dumps(with_examples(request.app.openapi(), made.tree)).encode())
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-cache"})


def with_examples(tree: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    """The description with this example in place of the frozen one. What is given stays as it is."""
    paths = dict(tree["paths"])
    for path, example in (("/v1/proofs/verify", made), ("/v1/proofs/verify-batch", of_batch(made))):
        call = paths[path]["post"]
        content = {"application/json": call["requestBody"]["content"]["application/json"] | {"example": example}}
        paths[path] = paths[path] | {"post": call | {"requestBody": call["requestBody"] | {"content": content}}}
    return tree | {"paths": paths}
