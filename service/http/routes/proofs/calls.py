"""Verification for anybody: stateless, without a signature, by the clock of this service."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from zkmargin.circuits.errors import ZkMarginError
from zkmargin.service.http import problems
from zkmargin.service.http.context import OfService, Service
from zkmargin.service.http.domain import Allowance, Domain
from zkmargin.service.http.example import of_batch
from zkmargin.service.http.lanes import VERIFY
from zkmargin.service.http.middleware import context_of
from zkmargin.service.http.routes.proofs.schemas import (
    BatchVerdictModel,
    Checks,
    Failed,
    Unverifiable,
    VerdictModel,
    VerifyBatchRequest,
    VerifyRequest,
)
from zkmargin.service.http.routing import StrictRoute
from zkmargin.service.verification.jobs import Answer, BodyJob, Done

VERIFY_ONE, VERIFY_MANY = "/v1/proofs/verify", "/v1/proofs/verify-batch"

router = APIRouter(route_class=StrictRoute, tags=["proofs"])
DOMAIN = Domain(
    router,
    allowances=tuple(
        Allowance(path, "POST", lane=VERIFY, large=True, cross_origin=True) for path in (VERIFY_ONE, VERIFY_MANY)
    ),
    models=(VerifyRequest, VerifyBatchRequest),
    tags={"proofs": "verdicts on proofs; needs no key and keeps nothing"},
)


@lru_cache
def frozen_example() -> dict[str, Any]:
    """A body of a verify call, of a past day; :mod:`zkmargin.service.http.example` makes one that holds now."""
    text = resources.files("zkmargin.service.http.routes.proofs").joinpath("verify_example.json").read_bytes()
    tree: dict[str, Any] = json.loads(text)
    return tree


def _body(model: type[Any], example: dict[str, Any]) -> dict[str, Any]:
    """A request body for the API description; the handler reads the bytes itself."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}}


async def _verify(request: Request, service: Service, *, many: bool) -> Done:
    body, verifier = await request.body(), service.verifier.get()
    job = BodyJob(body, many, verifier.hub_keys, verifier.oracle_keys)
    return await verifier.pool.submit(job)


def verdict_model(answer: Answer) -> VerdictModel:
    """An answer as it is sent."""
    failed = None
    if answer.failed is not None:
        failed = Failed.model_construct(None, check=answer.failed_check, **_said(answer.failed))
    return VerdictModel.model_construct(
        verdict="valid" if answer.valid else "invalid",
        checks=Checks.model_construct(None, **answer.checks),
        failed=failed,
        statement=answer.statement,
        snapshot=answer.snapshot,
        hub=answer.hub,
        account=answer.account,
        epoch=answer.epoch,
        spoke=answer.venue,
        nonce=answer.nonce,
        expiry=answer.expiry,
        amount=answer.amount,
        currency=answer.currency,
        attestation_key=answer.attestation_key,
        snapshot_key=answer.snapshot_key,
        time=answer.time,
    )


def _said(error: ZkMarginError) -> dict[str, Any]:
    """Code, message and field of an error, as far as a problem would show them."""
    problem = problems.problem_of(error)
    shown = problem.shows_detail
    return {
        "code": problem.code,
        "message": error.message if shown else problem.title,
        "field": error.field if shown else None,
    }


@router.post(
    VERIFY_ONE,
    operation_id="verify_proof",
    response_model=VerdictModel,
    openapi_extra=_body(VerifyRequest, frozen_example()),
    responses=problems.responses(
        "malformed-proof",
        "unknown-snapshot",
        "rule-refused",
        "system-too-large",
        "too-expensive",
        "not-ready",
        with_body=True,
    ),
)
async def verify_proof(request: Request, service: OfService) -> Response:
    """Verify one proof: attestation, snapshot's signature, times and the proof itself, in this order.

    The answer is 200 with `verdict` `invalid` and the failing check when the documents are well formed and the proof is
    not to be relied on; a problem when the documents are malformed or nothing could be checked. Checks without a
    document to check are `not-checked`: without an attestation nothing says whose commitment this is.
    """
    result = (await _verify(request, service, many=False)).results[0]
    if isinstance(result, ZkMarginError):
        raise result
    if result.failed is not None:
        context_of(request.scope).code = result.failed.code
    return Response(verdict_model(result).model_dump_json(), media_type="application/json")


@router.post(
    VERIFY_MANY,
    operation_id="verify_proofs",
    response_model=BatchVerdictModel,
    openapi_extra=_body(VerifyBatchRequest, of_batch(frozen_example())),
    responses=problems.responses("too-expensive", "not-ready", with_body=True),
)
async def verify_proofs(request: Request, service: OfService) -> Response:
    """Verify up to 256 proofs with one pairing check; bad ones are found and do not spoil the others.

    An item that could not be checked is `unverifiable`, with the code of the problem. A body that does not have the
    documented form is refused as a whole.
    """
    done = await _verify(request, service, many=True)
    results: list[VerdictModel | Unverifiable] = [
        Unverifiable.model_construct(None, verdict="unverifiable", **_said(r))
        if isinstance(r, ZkMarginError)
        else verdict_model(r)
        for r in done.results
    ]
    valid = sum(isinstance(r, Answer) and r.valid for r in done.results)
    answer = BatchVerdictModel.model_construct(proofs=len(results), valid=valid, results=results)
    return Response(answer.model_dump_json(), media_type="application/json")
