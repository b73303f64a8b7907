"""Liveness, readiness, metrics and the registry of problem types."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from zkmargin.service.errors import NotFound, NotReady
from zkmargin.service.http import problems
from zkmargin.service.http.context import OfService, OfVerifier
from zkmargin.service.http.domain import Allowance, Domain
from zkmargin.service.http.lanes import HEALTH, METRICS
from zkmargin.service.http.routing import StrictRoute
from zkmargin.service.observability import metrics

router = APIRouter(route_class=StrictRoute)
DOMAIN = Domain(
    router,
    allowances=(
        Allowance("/health/live", lane=HEALTH),
        Allowance("/health/ready", lane=HEALTH),
        Allowance("/metrics", lane=METRICS),
        Allowance("/v1/problems", cross_origin=True),
    ),
    tags={"system": "health, metrics, problem types"},
)


class Health(BaseModel):
    """The process answers."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"status": "ok"}]})

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Everything that calls need is there."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"status": "ok", "role": "verifier", "checks": {"verification": "ok"}}]},
    )

    status: Literal["ok"] = "ok"
    role: Literal["hub", "verifier"]
    checks: Annotated[dict[str, Literal["ok"]], Field(description="what was looked at")]


class ProblemList(BaseModel):
    """All problem types of this service."""

    model_config = ConfigDict(extra="forbid")

    problems: list[problems.ProblemTypeModel]


class _PlainText(Response):
    media_type = metrics.MEDIA_TYPE


@router.get("/health/live", operation_id="live", tags=["system"], responses=problems.responses())
async def live() -> Health:
    """Whether the process answers at all. Restart it when it does not."""
    return Health()


@router.get("/health/ready", operation_id="ready", tags=["system"], responses=problems.responses("not-ready"))
async def ready(service: OfService, verifier: OfVerifier) -> Readiness:
    """Whether the service can do its work now. Send no traffic when it can't; ``field`` names what is missing."""
    done: dict[str, Literal["ok"]] = {}
    for name, check in verifier.checks.items():
        if not await check():
            raise NotReady(f"{name} is not ready", field=name)
        done[name] = "ok"
    return Readiness(role=service.settings.role, checks=done)


@router.get(
    "/metrics",
    operation_id="metrics",
    tags=["system"],
    response_class=_PlainText,
    responses={
        200: {"description": "Prometheus text format", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **problems.responses(),
    },
)
async def read_metrics(service: OfService) -> Response:
    """Metrics of all processes of this server. Keep it from the public network."""
    return _PlainText(service.metrics.render())


@router.get("/v1/problems", operation_id="list_problems", tags=["system"], responses=problems.responses())
async def list_problems() -> ProblemList:
    """Every problem type that a call may answer with."""
    return ProblemList(problems=[problems.describe(p) for p in problems.PROBLEMS.values()])


@router.get(
    "/v1/problems/{code}",
    operation_id="get_problem",
    tags=["system"],
    responses=problems.responses("not-found", "malformed-input"),
)
async def get_problem(
    code: Annotated[
        str, Path(pattern=r"^[a-z-]{1,64}$", description="code of a problem", examples=["stale-statement"])
    ],
) -> problems.ProblemTypeModel:
    """One problem type: where the ``type`` of a problem document leads."""
    found = problems.PROBLEMS.get(code)
    if found is None:
        raise NotFound("no such problem type", field="code")
    return problems.describe(found)
