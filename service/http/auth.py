"""Who sent a request: RFC 9421 signatures by registered keys, each nonce once."""

from __future__ import annotations

import hashlib
import secrets
from typing import Annotated

from anyio import to_thread
from fastapi import Depends, Header, Request
from starlette.concurrency import run_in_threadpool

from zkmargin.circuits.errors import ZkMarginError
from zkmargin.service.http.door import HEAD, Door
from zkmargin.service.http.hub_context import hub_of
from zkmargin.service.http.middleware import context_of
from zkmargin.service.http.routing import StrictRoute
from zkmargin.service.keys.request_signatures import SignedHead, UnknownKey
from zkmargin.service.ledger import callers
from zkmargin.service.ledger.callers import Principal
from zkmargin.service.ledger.context import Ledger
from zkmargin.verifier.facts.hub_keys import public_key

#: Where a request carries its caller.
PRINCIPAL = "zkmargin.principal"


def _admit(ledger: Ledger, door: Door, head: SignedHead, body: bytes) -> Principal:
    """What is left after the signature: the body is the signed one, the key is valid now, the request is new."""
    signed = head.check_body(body)
    now = ledger.clock()
    row = ledger.database.read(lambda tx: callers.lookup(tx, signed.keyid))
    try:
        if row is None:
            raise UnknownKey("no such key here", field="keyid")
        # After the signature: whose key it is, and for how long, is told to who has it.
        callers.expect_valid(row, created=signed.created, now=now)
    except ZkMarginError:
        door.forget(signed.keyid)
        raise
    callers.burn_nonce(ledger, signed.keyid, signed.nonce, signed.expires, secrets.token_hex(16))
    door.met(signed.keyid, public_key(bytes.fromhex(row.public)), row.kind)
    return Principal(row.kind, row.owner, signed.keyid)


async def authenticate(request: Request) -> None:
    """Find the caller before anything of the body is parsed, and before it is read where nobody known signed it.

    A typed error for a request that is not signed, not now, not by a registered key, or not new.
    """
    hub = await hub_of(request)
    ledger, door = hub.ledger, hub.door
    head: SignedHead | None = request.scope.get(HEAD)
    if head is None:
        head = await to_thread.run_sync(door.verify, request.scope, limiter=door.limiter)
    caller = await run_in_threadpool(_admit, ledger, door, head, await request.body())
    context_of(request.scope).principal = caller.caller
    request.scope[PRINCIPAL] = caller


class HubRoute(StrictRoute):
    """A route of a hub: a call that is described as signed finds its caller first."""

    async def authenticate(self, request: Request) -> None:
        """By the signature of the request."""
        await authenticate(request)


async def authenticated(request: Request) -> Principal:
    """The caller that :func:`authenticate` found."""
    caller: Principal = request.scope[PRINCIPAL]
    return caller


async def request_digest(request: Request) -> bytes:
    """What an idempotency key stands for: method, path, query and body."""
    digest = hashlib.sha256()
    path = request.scope.get("raw_path", b"")
    for part in (request.method.encode(), path, request.scope["query_string"], await request.body()):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


Caller = Annotated[Principal, Depends(authenticated)]
IdempotencyKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[A-Za-z0-9._:-]{1,64}$",
        description="names this change: repeat it unchanged and the change happens once",
        examples=["5f0c8a52-6f6e-4a86-9c39-0d8f7d3c1b7a"],
    ),
]
RequestDigest = Annotated[bytes, Depends(request_digest)]
