"""Signed requests (RFC 9421): the constants that both sides share, and the server's check of one request.

A request of a venue or holder carries one Ed25519 signature tagged ``zkmargin/1:HUB``, over method, path, query, the
digest of its body and its idempotency key. ``verify_request`` is pure: it neither reads a clock nor remembers nonces.
The caller refuses a nonce that it has seen under the same key, and remembers it until ``expires``.
The keys that may sign are public, in the ledger's table ``keys``; the private ones are their callers'.

What is not covered must not decide anything: a server acts on no other header of a signed request.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from http_message_signatures import (
    HTTPMessageSignaturesException,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    algorithms,
)

from zkmargin.circuits.errors import SignatureRejected, ZkMarginError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from http_message_signatures import VerifyResult

ALGORITHM = "ed25519"
#: Version of these rules; the hub's name follows, so that a request to one hub is nothing to another.
TAG_PREFIX = "zkmargin/1:"
#: What every request covers, and what it covers when it has one.
COMPONENTS = ("@method", "@path", "@query")
CONTENT_DIGEST, IDEMPOTENCY_KEY = "content-digest", "idempotency-key"
#: Seconds: for how long the client signs, and the longest that the server takes (it remembers nonces for so long).
LIFETIME, MAX_LIFETIME = 60, 300
#: Seconds by which a client's clock may be ahead of the server's.
MAX_SKEW = 30
#: Random bytes of a client's nonce; characters of any nonce that the server takes.
NONCE_BYTES = 16
_NONCE = re.compile(r"[A-Za-z0-9+/=_-]{16,64}")
_KEY_ID = re.compile(r"[0-9a-f]{32}")
#: A signature and its input are about 400 characters; other parties may have added theirs.
MAX_HEADER = 4096
#: Characters of a path with its query. The longest of ours has some 400, and the server reads it before it knows whose.
MAX_TARGET = 4096
_PARAMETERS = {"created", "expires", "nonce", "keyid", "alg", "tag"}


class RequestExpired(ZkMarginError):
    """A signed request outside its time: expired, or from the future. Sign anew; look at the clocks."""

    code = "request-expired"
    exit_code = 5


class UnknownKey(ZkMarginError):
    """A request signed under a key that the hub does not know."""

    code = "unknown-key"
    exit_code = 6


def key_id(public: bytes) -> str:
    """The name of a key: the first 32 hex digits of SHA-256 of its 32 raw bytes."""
    return hashlib.sha256(public).hexdigest()[:32]


def tag_of(hub: str) -> str:
    """The tag of requests to a hub."""
    return TAG_PREFIX + hub


@dataclass(frozen=True)
class VerifiedRequest:
    """Who signed a request, and what is needed to refuse it a second time; times in Unix seconds."""

    keyid: str
    nonce: str
    created: int
    expires: int


@dataclass(frozen=True)
class SignedHead:
    """A request whose signature holds, before its body was looked at: what is left is :meth:`check_body`."""

    request: VerifiedRequest
    _verifier: _Verifier = field(repr=False)
    _message: _Message = field(repr=False)
    _result: VerifyResult = field(repr=False)

    def check_body(self, body: bytes) -> VerifiedRequest:
        """That the body is the one that was signed; ``SignatureRejected`` naming ``content-digest``."""
        if body and f'"{CONTENT_DIGEST}"' not in self._result.covered_components:
            _refuse("a request with a body needs it", CONTENT_DIGEST)
        try:
            self._verifier.verify_body(self._message, [self._result], body)
        except HTTPMessageSignaturesException:
            raise SignatureRejected("not the digest of this body", field=CONTENT_DIGEST) from None
        return self.request


def verify_head(
    *,
    method: str,
    path: str,
    query: str,
    headers: Sequence[tuple[str, str]],
    key_of: Callable[[str], Ed25519PublicKey | None],
    now: int,
    hub: str,
) -> SignedHead:
    """Check the signature of one request by what comes before its body, so that nobody else's body is ever read.

    ``path`` and ``query`` are as sent (percent-encoded, the query without its question mark), ``headers`` every field
    line in order. ``key_of`` gives the key of a key id, or None.

    Raises ``SignatureRejected`` naming the header or component, ``RequestExpired``, ``UnknownKey``.
    """
    fields: dict[str, list[str]] = {}
    for name, value in headers:
        fields.setdefault(name.lower(), []).append(value)
    covered = [*COMPONENTS]
    for name in (CONTENT_DIGEST, IDEMPOTENCY_KEY):
        if len(fields.get(name, [])) > 1:
            _refuse("more than one line", name)
        if name in fields:
            covered.append(name)
    if fields.get("content-length", ["0"]) != ["0"] and CONTENT_DIGEST not in fields:
        _refuse("a request with a body needs it", CONTENT_DIGEST)
    for name in ("signature-input", "signature"):
        if name not in fields:
            _refuse("the request is not signed", name)
        if sum(map(len, fields[name])) > MAX_HEADER:
            _refuse(f"longer than {MAX_HEADER} characters", name)
    # The library would cut a fragment off, and the signature would be of another path than the one that is served.
    if not path.startswith("/") or {*path, *query} & {"#"} or "?" in path:
        _refuse("not a path and query", "@path")
    if len(path) + len(query) > MAX_TARGET:
        _refuse(f"longer than {MAX_TARGET} characters", "@path")
    verifier = _Verifier(key_of, now)
    message = _Message(method, f"https://hub.invalid{path}?{query}", _Lines(headers))
    try:
        (result,) = verifier.verify(message, max_age=None, expect_tag=tag_of(hub))
    except HTTPMessageSignaturesException:
        raise SignatureRejected("the request's signature does not hold", field="signature") from None
    seen = result.covered_components
    for name in covered:
        if f'"{name}"' not in seen:
            _refuse("must be covered by the signature", name)
    # What was signed is what is served, whatever a library makes of a URL.
    if (seen['"@method"'], seen['"@path"'], seen['"@query"']) != (method, path, f"?{query}"):
        _refuse("not the path and query that are served", "@path")
    values = result.parameters
    request = VerifiedRequest(
        str(values["keyid"]), str(values["nonce"]), int(values["created"]), int(values["expires"])
    )  # fmt: skip
    return SignedHead(request, verifier, message, result)


def verify_request(
    *,
    method: str,
    path: str,
    query: str,
    headers: Sequence[tuple[str, str]],
    body: bytes,
    key_of: Callable[[str], Ed25519PublicKey | None],
    now: int,
    hub: str,
) -> VerifiedRequest:
    """Check the signature of a request whose body (the bytes as sent) is there: :func:`verify_head`, then the body."""
    if body and not any(name.lower() == CONTENT_DIGEST for name, _ in headers):
        _refuse("a request with a body needs it", CONTENT_DIGEST)
    return verify_head(
        method=method, path=path, query=query, headers=headers, key_of=key_of, now=now, hub=hub
    ).check_body(body)  # fmt: skip


def claimed_key_id(headers: Sequence[tuple[str, str]], hub: str) -> str:
    """The key id that a request's signature claims, for a server that must look the key up before it verifies.

    Raises ``SignatureRejected`` if the request has no signature of this form for this hub. Proves nothing.
    """
    seen: list[str] = []
    verifier = _Verifier(seen.append, None)
    try:
        verifier.verify(_Message("GET", "https://hub.invalid/", _Lines(headers)), max_age=None, expect_tag=tag_of(hub))
    except UnknownKey:  # as ``append`` returns nothing
        return seen[0]
    except HTTPMessageSignaturesException:
        pass
    raise SignatureRejected("the request is not signed for this hub", field="signature")


def _refuse(message: str, field: str) -> NoReturn:
    raise SignatureRejected(message, field=field)


class _Lines:
    """All field lines in order, as the library reads them."""

    def __init__(self, lines: Sequence[tuple[str, str]]) -> None:
        self._lines = lines

    def items(self) -> Sequence[tuple[str, str]]:
        return self._lines


@dataclass(frozen=True)
class _Message:
    method: str
    url: str
    headers: _Lines


class _Verifier(HTTPMessageVerifier, HTTPSignatureKeyResolver):
    """The library's verifier with this project's stricter rules for parameters and the caller's clock."""

    def __init__(self, key_of: Callable[[str], Ed25519PublicKey | None], now: int | None) -> None:
        super().__init__(signature_algorithm=algorithms.ED25519, key_resolver=self)
        self._key_of, self._now, self._seen = key_of, now, 0
        self._key: Ed25519PublicKey | None = None

    def resolve_public_key(self, key_id: str) -> Ed25519PublicKey | None:
        """The key that was found when the parameters were checked."""
        return self._key

    def validate_created_and_expires(self, sig_input: Any, max_age: Any = None) -> None:
        """Called by the library for every signature with the tag, before it looks at the key."""
        values: Mapping[str, Any] = sig_input.params
        self._seen += 1
        if self._seen > 1:
            _refuse("more than one signature with this hub's tag", "signature-input")
        if any(item.params for item in sig_input):
            # A header as a structured field, or one argument of many: whoever names a key would have them parsed.
            _refuse("no part of the request may have parameters", "signature-input")
        if set(values) != _PARAMETERS:
            _refuse("must have exactly " + ", ".join(sorted(_PARAMETERS)), "signature-input")
        if values["alg"] != ALGORITHM:
            _refuse(f"must be {ALGORITHM}", "alg")
        if not _NONCE.fullmatch(values["nonce"]):
            _refuse("must be 16 to 64 characters of base64", "nonce")
        if not _KEY_ID.fullmatch(values["keyid"]):
            _refuse("must be 32 hex digits", "keyid")
        created, expires = values["created"], values["expires"]
        if not 0 < expires - created <= MAX_LIFETIME:
            _refuse(f"must be 1 to {MAX_LIFETIME} seconds after created", "expires")
        if self._now is not None:
            clocks = f"the request's clock said {created}, this server's says {self._now}"
            if created > self._now + MAX_SKEW:
                raise RequestExpired(f"signed in the future: {clocks}", field="created")
            if expires < self._now:
                raise RequestExpired(f"the signature has expired: {clocks}", field="expires")
        # Here and not in the resolver, where the library would take a failing database for a bad signature.
        self._key = self._key_of(values["keyid"])
        if self._key is None:
            raise UnknownKey("no such key here", field="keyid")
