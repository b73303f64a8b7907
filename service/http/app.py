"""One FastAPI application, two roles. The verifier role needs no database and holds no secret."""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Scope

from zkmargin.circuits.errors import InternalError, MalformedInput, ZkMarginError
from zkmargin.circuits.rules.installed import register_installed
from zkmargin.circuits.schema import form_of
from zkmargin.service.errors import MethodNotAllowed, NotFound, RequestTimeout
from zkmargin.service.http import problems
from zkmargin.service.http.cors import PublicCors
from zkmargin.service.http.example import FreshExample
from zkmargin.service.http.lanes import PUBLIC, STRANGERS, STRANGERS_BYTES, VERIFY, WAITING, WATCHED, Lane, Sluice
from zkmargin.service.http.middleware import Head, Limit, Observe, context_of
from zkmargin.service.http.routes import pages, proofs, system
from zkmargin.service.http.routes.models import FORMS
from zkmargin.service.observability import diagnostics
from zkmargin.service.observability.metrics import Metrics
from zkmargin.service.settings import CONFIG_VARIABLE, Settings, load_settings

VERSION = "1.0.0"
Check = Callable[[], Awaitable[bool]]
#: Started with the application and closed after its last request, in reverse order.
Resource = Callable[["Service"], AbstractAsyncContextManager[None]]
_SAFE_PART = re.compile(r"[A-Za-z0-9_.:/+-]{1,64}")
ABOUT = {
    "hub": "Keeps accounts, reserves credits on proofs of solvency, and verifies proofs for anybody.",
    "verifier": "Verifies proofs of solvency, keeps nothing and knows nobody.",
}
TAGS = [proofs.TAG, {"name": "system", "description": "health, metrics, problem types"}]


@dataclass
class Service:
    """What the calls of one application share; ``request.app.state.service``."""

    settings: Settings
    metrics: Metrics
    checks: dict[str, Check] = field(default_factory=dict)
    resources: list[Resource] = field(default_factory=list)
    #: Calls that may have a body of ``max_document_bytes``: path to method.
    large_paths: dict[str, str] = field(default_factory=dict)
    #: Models that the API description needs and no signature names.
    models: list[type[Any]] = field(default_factory=lambda: [problems.Problem])
    #: Security schemes of the API description.
    security: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, Any] = field(default_factory=dict)
    example: FreshExample = field(default_factory=FreshExample)
    lanes: dict[str, Lane] = field(default_factory=dict)
    sluice: Sluice = field(default_factory=lambda: Sluice(STRANGERS_BYTES))

    def lane(self, scope: Scope) -> str:
        """The lane of a request: verification is for anybody, and whose key is known here is no stranger."""
        if proofs.LARGE.get(scope["path"]) == scope["method"]:
            return VERIFY
        if scope["path"] in WATCHED:
            return WATCHED[scope["path"]]
        door = self.parts.get("door")
        return PUBLIC if door is None else door.lane(scope)


def create_app(settings: Settings) -> FastAPI:
    """The application of a role, ready to be served."""
    diagnostics.configure(settings.log_level, settings.log_format)
    register_installed(settings.rules)
    service = Service(settings, Metrics())
    app = FastAPI(
        title=f"zkmargin {settings.role}",
        version=VERSION,
        description=ABOUT[settings.role],
        lifespan=_lifespan,
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # served by pages, with an example that holds
        redirect_slashes=False,
    )
    app.state.service = service
    service.resources.append(proofs.pool_of)
    service.large_paths.update(proofs.LARGE)
    service.models.extend(proofs.MODELS)
    # Who serves strangers alone gives them all the room.
    service.lanes.update({name: Lane(settings.max_concurrency, waiting=WAITING) for name in STRANGERS})
    app.include_router(proofs.router)
    app.include_router(system.router)
    app.include_router(pages.router)
    if settings.role == "hub":
        # The verifier role needs no database, so nothing of the ledger is imported there.
        from zkmargin.service.http import hub_role

        hub_role.install(app, service)
    _handle_errors(app)
    _describe(app, service)
    app.add_middleware(Head)
    app.add_middleware(
        Limit,
        lanes=service.lanes,
        lane=service.lane,
        sluice=service.sluice,
        body_bytes=settings.max_body_bytes,
        large_bytes=settings.max_document_bytes,
        large_paths=service.large_paths,
        pending_bytes=settings.max_pending_bytes,
        body_timeout=settings.body_timeout,
    )
    if settings.cors_origins:
        app.add_middleware(PublicCors, origins=settings.cors_origins)
    app.add_middleware(Observe, metrics=service.metrics)
    return app


def from_environment() -> FastAPI:
    """The application of a server process that was started without a command line."""
    config = os.environ.get(CONFIG_VARIABLE)
    return create_app(load_settings(Path(config) if config else None))


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    report = diagnostics.reporter()
    async with AsyncExitStack() as stack:
        try:
            for resource in service.resources:
                await stack.enter_async_context(resource(service))
        except ZkMarginError as err:
            report.error("start failed", **err.to_json())
            raise
        except Exception as err:
            report.error("start failed", kind=type(err).__name__, place=diagnostics.place(err))
            raise
        report.info("ready", role=service.settings.role, process=os.getpid())
        yield
        report.info("stopping", process=os.getpid())
    service.metrics.close()


def _handle_errors(app: FastAPI) -> None:
    """Every failure as a problem document."""

    def answer(request: Request, error: ZkMarginError) -> Response:
        context = context_of(request.scope)
        problem = problems.problem_of(error)
        context.code = problem.code
        if problem.status == 500:
            diagnostics.reporter().error(
                "fault", kind=type(error).__name__, place=diagnostics.place(error), request=context.id
            )
        return problems.response_of(error, context.id)

    async def typed(request: Request, error: Exception) -> Response:
        return answer(request, error if isinstance(error, ZkMarginError) else InternalError("unexpected"))

    async def invalid(request: Request, error: Exception) -> Response:
        faults = error.errors() if isinstance(error, RequestValidationError) else []
        return answer(request, _malformed(faults[0] if faults else {}))

    async def http(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        if status == 405:
            refused = MethodNotAllowed("the path has no such method")
            methods = (getattr(error, "headers", None) or {}).get("Allow", "")
            refused.allow = methods.replace("GET", "GET, HEAD")
            return answer(request, refused)
        if status == 404:
            return answer(request, NotFound("no such path"))
        if status < 500:
            return answer(request, MalformedInput("the request could not be read", field="body"))
        return answer(request, InternalError("unexpected"))

    async def gone(request: Request, error: Exception) -> Response:
        # Nobody reads this answer; it is for diagnostics and metrics, where it is no fault of ours.
        return answer(request, RequestTimeout("the client went away before the body was complete"))

    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(ZkMarginError, typed)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)


def _malformed(fault: dict[str, Any]) -> MalformedInput:
    """A fault of pydantic as a typed error: where and what, never the input."""
    place = [str(part) for part in fault.get("loc", ())[1:]]
    path = ".".join(part if _SAFE_PART.fullmatch(part) else "?" for part in place)
    match fault.get("type"):
        case "extra_forbidden":
            message = "unknown key"
        case "string_pattern_mismatch":
            pattern = fault["ctx"]["pattern"]
            message = FORMS.get(pattern) or form_of(pattern)
        case _:
            message = fault.get("msg", "not valid")
    return MalformedInput(message, field=path or "body")


@lru_cache
def _examples() -> dict[str, Any]:
    """Examples of models, from a real session."""
    tree: dict[str, Any] = json.loads(
        resources.files("zkmargin.service.http.routes").joinpath("examples.json").read_bytes()
    )
    return tree


def _describe(app: FastAPI, service: Service) -> None:
    """The OpenAPI document: FastAPI's own, without the answers that this service never gives, with its problems."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            tree = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=TAGS,
            )
            for path in tree["paths"].values():
                for operation in path.values():
                    answer = operation["responses"].get("422", {})
                    if "HTTPValidationError" in str(answer.get("content", {}).get("application/json", "")):
                        del answer["content"]["application/json"]
            if service.security:
                tree.setdefault("components", {}).setdefault("securitySchemes", {}).update(service.security)
            schemas = tree["components"].setdefault("schemas", {})
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            _, more = models_json_schema(
                [(model, "validation") for model in service.models], ref_template="#/components/schemas/{model}"
            )
            schemas.update(more["$defs"])
            for name, example in _examples().items():
                if name in schemas:
                    # After FastAPI, which drops members that are null from examples.
                    schemas[name]["examples"] = [example]
            app.openapi_schema = tree
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
