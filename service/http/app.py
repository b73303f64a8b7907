"""One FastAPI application, two roles. The verifier role needs no database and holds no secret."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

from zkmargin.circuits.errors import ZkMarginError
from zkmargin.circuits.rules.registration import register_installed
from zkmargin.service.http import openapi, schemas
from zkmargin.service.http.context import Role, S
from zkmargin.service.http.cors import PublicCors
from zkmargin.service.http.domain import Allowances
from zkmargin.service.http.failures import handle_errors
from zkmargin.service.http.middleware import Head, Limit, Observe
from zkmargin.service.http.roles import verifier
from zkmargin.service.observability import diagnostics
from zkmargin.service.observability.metrics import Metrics
from zkmargin.service.settings import CONFIG_VARIABLE, Settings, load_settings

VERSION = "1.0.0"


def create_app(settings: Settings) -> FastAPI:
    """The application of the configured role, ready to be served."""
    diagnostics.configure(settings.log_level, settings.log_format)
    register_installed(settings.rules)
    if settings.role == "hub":
        # The verifier role needs no database, so nothing of the ledger is imported there.
        from zkmargin.service.http.roles import hub

        return application(hub.ROLE, settings)
    return application(verifier.ROLE, settings)


def from_environment() -> FastAPI:
    """The application of a server process that was started without a command line."""
    config = os.environ.get(CONFIG_VARIABLE)
    return create_app(load_settings(Path(config) if config else None))


def application(role: Role[S], settings: Settings) -> FastAPI:
    """The application of a role: the calls of its domains behind what happens around every request."""
    service = role.make(settings, Metrics(), Allowances(role.domains))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with _logged(role, service):
            yield

    app = FastAPI(
        title=f"zkmargin {settings.role}",
        version=VERSION,
        description=role.about,
        lifespan=lifespan,
        openapi_tags=openapi.tags_of(role.domains),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # served by pages, with an example that holds
        redirect_slashes=False,
    )
    app.state.service = service
    forms = dict(schemas.FORMS)
    for domain in role.domains:
        app.include_router(domain.router)
        forms.update(domain.forms)
    handle_errors(app, forms)
    openapi.describe(app, role.domains, role.security)
    app.add_middleware(Head)
    app.add_middleware(
        Limit,
        lanes=service.lanes,
        lane=service.lane,
        sluice=service.sluice,
        body_bytes=settings.max_body_bytes,
        large_bytes=settings.max_document_bytes,
        large=service.allowances.large,
        pending_bytes=settings.max_pending_bytes,
        body_timeout=settings.body_timeout,
    )
    if settings.cors_origins:
        app.add_middleware(PublicCors, origins=settings.cors_origins, paths=service.allowances.cross_origin)
    app.add_middleware(Observe, metrics=service.metrics)
    return app


@asynccontextmanager
async def _logged(role: Role[S], service: S) -> AsyncIterator[None]:
    """The life of an application: what its role needs is there, and operators know why it is not."""
    report = diagnostics.reporter()
    started = False
    try:
        async with role.running(service):
            started = True
            report.info("ready", role=service.settings.role, process=os.getpid())
            yield
            report.info("stopping", process=os.getpid())
    except ZkMarginError as err:
        if not started:
            report.error("start failed", **err.to_json())
        raise
    except Exception as err:
        if not started:
            report.error("start failed", kind=type(err).__name__, place=diagnostics.place(err))
        raise
    service.metrics.close()
