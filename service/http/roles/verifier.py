"""The role ``verifier``: processes that verify for anybody, and the keys that the configuration trusts.

It keeps nothing, holds no secret and imports nothing of the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.errors import MalformedInput
from zkmargin.service.http.context import Check, Role, Service, VerifierContext
from zkmargin.service.http.domain import Allowances
from zkmargin.service.http.lanes import STRANGERS, WAITING, Lane
from zkmargin.service.http.routes import pages, system
from zkmargin.service.http.routes.proofs import calls as proofs
from zkmargin.service.observability.metrics import Metrics
from zkmargin.service.settings import Settings
from zkmargin.service.verification.pool import Lookup, VerifierPool
from zkmargin.service.verification.snapshots import SnapshotStore
from zkmargin.verifier.facts.attestation import load_public_key

#: The domains of every role.
DOMAINS = (proofs.DOMAIN, system.DOMAIN, pages.DOMAIN)


def make(settings: Settings, metrics: Metrics, allowances: Allowances) -> Service:
    """Who serves strangers alone gives them all the room."""
    return Service(
        settings, metrics, allowances, {name: Lane(settings.max_concurrency, waiting=WAITING) for name in STRANGERS}
    )


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[None]:
    """The processes, for the life of the application."""
    settings = service.settings
    pool = make_pool(service, documents_of(settings), processes=settings.processes())
    async with started(pool):
        with service.verifier.holding(context_of(settings, pool, {"verification": pool.ready})):
            yield


def context_of(settings: Settings, pool: VerifierPool, checks: Mapping[str, Check]) -> VerifierContext:
    """What verification for anybody needs, from a configuration; ``MalformedInput`` names the setting."""
    return VerifierContext(
        pool,
        tuple(raw_public_key(path, "hub_keys") for path in settings.hub_keys),
        tuple(raw_public_key(path, "oracle_keys") for path in settings.oracle_keys),
        checks,
    )


def documents_of(settings: Settings) -> list[bytes]:
    """The snapshots of the configuration."""
    return [read(path, "snapshots") for path in settings.snapshots]


def make_pool(
    service: Service, documents: Sequence[bytes], *, processes: int, lookup: Lookup | None = None, nice: int = 0
) -> VerifierPool:
    """A pool of processes that knows these snapshots and may find more by ``lookup``; not yet started."""
    settings = service.settings
    store = SnapshotStore(settings.snapshot_cache_bytes)
    for document in documents:
        store.keep(snapshot_from_bytes(document).digest, document)
    return VerifierPool(
        processes=processes,
        batch_wait=settings.batch_wait_ms / 1000,
        max_batch=settings.max_batch,
        max_queue=settings.max_queue,
        job_timeout=settings.job_timeout,
        keep=settings.worker_snapshots,
        rules=settings.rules,
        nice=nice,
        store=store,
        lookup=lookup,
        metrics=service.metrics,
    )


@asynccontextmanager
async def started(*pools: VerifierPool) -> AsyncIterator[None]:
    """Pools at work; they start and end together."""
    try:
        await asyncio.gather(*(pool.start() for pool in pools))
        yield
    finally:
        await asyncio.gather(*(pool.close() for pool in pools))


def read(path: Path, field: str) -> bytes:
    """A file of the configuration; ``MalformedInput`` names the setting."""
    try:
        return path.read_bytes()
    except OSError as err:
        raise MalformedInput(f"cannot be read ({type(err).__name__})", field=field) from None


def raw_public_key(path: Path, field: str) -> bytes:
    """A PEM file's Ed25519 public key, as 32 bytes."""
    try:
        return load_public_key(read(path, field)).public_bytes_raw()
    except MalformedInput as err:
        raise MalformedInput(err.message, field=field) from None


ROLE = Role("Verifies proofs of solvency, keeps nothing and knows nobody.", DOMAINS, make, running)
