"""Signing requests to a hub (RFC 9421); ``zkmargin.service.keys.request_signatures`` has the rules and the server's
side."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from http_message_signatures import HTTPMessageSigner, MappingKeyResolver, algorithms

from zkmargin.service.keys.request_signatures import (
    COMPONENTS,
    IDEMPOTENCY_KEY,
    LIFETIME,
    NONCE_BYTES,
    key_id,
    tag_of,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

LABEL = "zkmargin"


@dataclass(frozen=True)
class _Message:
    method: str
    url: str
    headers: dict[str, str]


class RequestSigner:
    """Signs the requests of one principal to one hub. Holds a secret key and never shows it."""

    def __init__(self, key: Ed25519PrivateKey, hub: str) -> None:
        self.hub = hub
        self.keyid = key_id(key.public_key().public_bytes_raw())
        resolver = MappingKeyResolver(public_keys={}, private_keys={self.keyid: key})
        self._signer = HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=resolver)

    def __repr__(self) -> str:
        return f"RequestSigner(hub={self.hub!r}, keyid={self.keyid!r})"

    def sign(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        now: int,
        nonce: Callable[[int], str] = secrets.token_urlsafe,
    ) -> dict[str, str]:
        """The headers of a request and those that sign it, with a fresh nonce, good for ``LIFETIME`` seconds.

        ``path`` and ``query`` (without its question mark) as they will be sent. ``headers`` holds no signature and no
        digest yet.
        """
        signed = {name.lower(): value for name, value in headers.items()}
        covered = [*COMPONENTS, *([IDEMPOTENCY_KEY] if IDEMPOTENCY_KEY in signed else [])]
        options: dict[str, Any] = {"body": body} if body else {}  # with a body the library adds digest and coverage
        self._signer.sign(
            _Message(method, f"https://hub.invalid{path}?{query}", signed),
            key_id=self.keyid,
            created=datetime.fromtimestamp(now, tz=UTC),
            expires=datetime.fromtimestamp(now + LIFETIME, tz=UTC),
            nonce=nonce(NONCE_BYTES),
            label=LABEL,
            tag=tag_of(self.hub),
            covered_component_ids=covered,
            **options,
        )
        return signed
