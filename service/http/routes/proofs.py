"""Verification for anybody: stateless, without a signature, by the clock of this service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from zkmargin.circuits.errors import MalformedInput, ZkMarginError
from zkmargin.service.http import problems
from zkmargin.service.http.example import of_batch
from zkmargin.service.http.middleware import context_of
from zkmargin.service.http.routes.proof_models import (
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
from zkmargin.service.verification.pool import VerifierPool
from zkmargin.service.verification.snapshots import SnapshotStore

if TYPE_CHECKING:
    from zkmargin.service.http.app import Service

MODELS = (VerifyRequest, VerifyBatchRequest)
LARGE = {"/v1/proofs/verify": "POST", "/v1/proofs/verify-batch": "POST"}
TAG = {"name": "proofs", "description": "verdicts on proofs; needs no key and keeps nothing"}

#: Strangers' verification in a hub takes the processor time that nobody else wants.
NICE = 10

router = APIRouter(route_class=StrictRoute, tags=["proofs"])


@lru_cache
def frozen_example() -> dict[str, Any]:
    """A body of a verify call, of a past day; :mod:`zkmargin.service.http.example` makes one that holds now."""
    text = resources.files("zkmargin.service.http.routes").joinpath("verify_example.json").read_bytes()
    tree: dict[str, Any] = json.loads(text)
    return tree


def _body(model: type[Any], example: dict[str, Any]) -> dict[str, Any]:
    """A request body for the API description; the handler reads the bytes itself."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}}


@asynccontextmanager
async def pool_of(service: Service) -> AsyncIterator[None]:
    """The pools for the life of the application: ``service.parts["strangers"]`` is for whoever asks, ``parts["pool"]``
    for proofs that a hub's own calls bring, which never wait behind the others. ``parts["lookup"]`` and
    ``parts["strangers_lookup"]`` may find snapshots.
    """
    settings, parts = service.settings, service.parts
    documents = [read(path, "snapshots") for path in settings.snapshots]

    def pool(processes: int, lookup: str, nice: int) -> VerifierPool:
        store = SnapshotStore(settings.snapshot_cache_bytes)
        for document in documents:
            store.keep(_digest(document), document)
        return VerifierPool(
            processes=processes,
            batch_wait=settings.batch_wait_ms / 1000,
            max_batch=settings.max_batch,
            max_queue=settings.max_queue,
            job_timeout=settings.job_timeout,
            keep=settings.worker_snapshots,
            nice=nice,
            rules=settings.rules,
            store=store,
            lookup=parts.get(lookup),
            metrics=service.metrics,
        )

    parts["hub_keys"] = tuple(raw_public_key(path, "hub_keys") for path in settings.hub_keys)
    parts["oracle_keys"] = tuple(raw_public_key(path, "oracle_keys") for path in settings.oracle_keys)
    hub = settings.role == "hub"
    strangers = parts["strangers"] = pool(settings.processes(), "strangers_lookup", NICE if hub else 0)
    ledger = parts["pool"] = pool(settings.ledger_processes or settings.processes(), "lookup", 0) if hub else strangers
    service.checks["verification"] = ledger.ready
    pools = [ledger, strangers] if hub else [strangers]
    try:
        await asyncio.gather(*(one.start() for one in pools))
        yield
    finally:
        await asyncio.gather(*(one.close() for one in pools))


def read(path: Path, field: str) -> bytes:
    """A file of the configuration; ``MalformedInput`` names the setting."""
    try:
        return path.read_bytes()
    except OSError as err:
        raise MalformedInput(f"cannot be read ({type(err).__name__})", field=field) from None


def raw_public_key(path: Path, field: str) -> bytes:
    """A PEM file's Ed25519 public key, as 32 bytes."""
    from zkmargin.verifier.facts.attestation import load_public_key

    try:
        return load_public_key(read(path, field)).public_bytes_raw()
    except MalformedInput as err:
        raise MalformedInput(err.message, field=field) from None


def _digest(document: bytes) -> bytes:
    from zkmargin.circuits import snapshot

    return snapshot.from_bytes(document).digest


async def _verify(request: Request, *, many: bool) -> Done:
    parts = request.app.state.service.parts
    job = BodyJob(await request.body(), many, parts["hub_keys"], parts["oracle_keys"])
    pool: VerifierPool = parts["strangers"]
    return await pool.submit(job)


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
    "/v1/proofs/verify",
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
async def verify_proof(request: Request) -> Response:
    """Verify one proof: attestation, snapshot's signature, times and the proof itself, in this order.

    The answer is 200 with `verdict` `invalid` and the failing check when the documents are well formed and the proof is
    not to be relied on; a problem when the documents are malformed or nothing could be checked. Checks without a
    document to check are `not-checked`: without an attestation nothing says whose commitment this is.
    """
    result = (await _verify(request, many=False)).results[0]
    if isinstance(result, ZkMarginError):
        raise result
    if result.failed is not None:
        context_of(request.scope).code = result.failed.code
    return Response(verdict_model(result).model_dump_json(), media_type="application/json")


@router.post(
    "/v1/proofs/verify-batch",
    operation_id="verify_proofs",
    response_model=BatchVerdictModel,
    openapi_extra=_body(VerifyBatchRequest, of_batch(frozen_example())),
    responses=problems.responses("too-expensive", "not-ready", with_body=True),
)
async def verify_proofs(request: Request) -> Response:
    """Verify up to 256 proofs with one pairing check; bad ones are found and do not spoil the others.

    An item that could not be checked is `unverifiable`, with the code of the problem. A body that does not have the
    documented form is refused as a whole.
    """
    done = await _verify(request, many=True)
    results: list[VerdictModel | Unverifiable] = [
        Unverifiable.model_construct(None, verdict="unverifiable", **_said(r))
        if isinstance(r, ZkMarginError)
        else verdict_model(r)
        for r in done.results
    ]
    valid = sum(isinstance(r, Answer) and r.valid for r in done.results)
    answer = BatchVerdictModel.model_construct(proofs=len(results), valid=valid, results=results)
    return Response(answer.model_dump_json(), media_type="application/json")
