"""What the API description says of the hub's calls: who may call, which problems come back."""

from __future__ import annotations

from typing import Any

from zkmargin.service.http import problems

#: Every signed call may answer with these.
SIGNED = (
    "signature-rejected", "unknown-key", "key-not-valid", "request-expired", "request-replayed", "forbidden",
    "unavailable", "malformed-input",
)  # fmt: skip
#: Every call that changes something, besides.
CHANGING = ("idempotency-mismatch", "request-in-progress")
SECURITY: dict[str, Any] = {"security": [{"signature": []}]}
SCHEME = {
    "signature": {
        "type": "http",
        "scheme": "Signature",
        "description": (
            "HTTP Message Signatures (RFC 9421), Ed25519, over @method, @path, @query, content-digest and "
            "idempotency-key, with created, expires, nonce, keyid, alg and the tag zkmargin/1:HUB."
        ),
    }
}


def signed(
    operation: str, tag: str, *codes: str, changes: bool = False, body: bool = False, status: int = 200
) -> dict[str, Any]:
    """Options of a call that is signed; ``codes`` are the problems of its own."""
    wanted = (*codes, *SIGNED, *(CHANGING if changes else ()))
    return {
        "operation_id": operation,
        "tags": [tag],
        "responses": problems.responses(*wanted, with_body=body),
        "openapi_extra": SECURITY,
        "status_code": status,
    }


def public(operation: str, tag: str, *codes: str) -> dict[str, Any]:
    """Options of a call that anybody may make."""
    return {
        "operation_id": operation,
        "tags": [tag],
        "responses": problems.responses(*codes, "unavailable", "malformed-input"),
    }
