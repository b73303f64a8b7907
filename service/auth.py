"""Who sent a request: RFC 9421 signatures by registered keys, each nonce once."""

from __future__ import annotations

import hashlib
import secrets
from typing import Annotated, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from fastapi import Depends, Header, Request
from starlette.concurrency import run_in_threadpool

from verifier.hub_keys import public_key

from .ledger import access
from .ledger.access import Principal
from .ledger.book import Book
from .middleware import context_of
from .signatures import verify_request


async def book_of(request: Request) -> Book:
    """The application's ledger. Async, so that no thread is taken for it."""
    book: Book = request.app.state.service.parts["book"]
    return book


def _authenticate(
    book: Book, method: str, path: str, query: str, headers: list[tuple[str, str]], body: bytes
) -> Principal:
    now = book.clock()
    owners: dict[str, Any] = {}

    def key_of(kid: str) -> Ed25519PublicKey | None:
        row = book.database.read(lambda tx: access.lookup(tx, kid))
        if row is None:
            return None
        owners[kid] = row
        return public_key(bytes.fromhex(row.public))

    verified = verify_request(
        method=method, path=path, query=query, headers=headers, body=body, key_of=key_of, now=now, hub=book.name
    )
    row = owners[verified.keyid]
    # After the signature: whose key it is, and for how long, is told to who has it.
    access.expect_valid(row, created=verified.created, now=now)
    access.burn_nonce(book, verified.keyid, verified.nonce, verified.expires, secrets.token_hex(16))
    return Principal(row.kind, row.owner, verified.keyid)


async def authenticated(request: Request) -> Principal:
    """The caller; a typed error for a request that is not signed, not now, not by a registered key, or not new."""
    body = await request.body()
    path = request.scope.get("raw_path", b"").decode("latin-1").partition("?")[0]
    query = request.scope["query_string"].decode("latin-1")
    headers = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in request.scope["headers"]]
    method = context_of(request.scope).method or request.method
    caller = await run_in_threadpool(_authenticate, await book_of(request), method, path, query, headers, body)
    context_of(request.scope).principal = caller.caller
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
Ledger = Annotated[Book, Depends(book_of)]
