"""Typed errors of the service. Each has a code; :mod:`zkmargin.service.http.problems` gives every code its status and
remedy.

``extensions`` are further members of the problem document (RFC 9457 section 3.2), such as the amount that was
proved. They are shown to the client: never put a position, a blinding or a key there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zkmargin.circuits.errors import ZkMarginError


class ServiceError(ZkMarginError):
    """Base of the errors that only a running service can have."""

    code = "internal-error"
    exit_code = 12

    def __init__(self, message: str, *, field: str | None = None, extensions: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, field=field)
        self.extensions: dict[str, Any] = dict(extensions or {})


class BrokenJson(ServiceError):
    """A body that is no strict JSON at all."""

    code = "broken-json"


class NotFound(ServiceError):
    """No such path or thing."""

    code = "not-found"


class MethodNotAllowed(ServiceError):
    """The path exists, the method does not."""

    code = "method-not-allowed"
    allow = ""


class NotAcceptable(ServiceError):
    """The client accepts none of the types that this call answers with."""

    code = "not-acceptable"


class RequestTimeout(ServiceError):
    """The body did not arrive in time."""

    code = "request-timeout"


class BodyTooLarge(ServiceError):
    """More bytes than this call takes."""

    code = "body-too-large"


class UnsupportedMediaType(ServiceError):
    """A body that is not ``application/json``."""

    code = "unsupported-media-type"


class Overloaded(ServiceError):
    """A limit on concurrency, queue or time was reached; the same request may pass a moment later."""

    code = "overloaded"

    def __init__(self, message: str = "too much work at the moment", *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TooExpensive(ServiceError):
    """One request that takes more work than a service gives to one; the same request will not pass later."""

    code = "too-expensive"


class HeadTooLarge(ServiceError):
    """A request line and headers of more bytes, or of more lines, than the service takes."""

    code = "head-too-large"


class NotReady(ServiceError):
    """The service is starting, stopping, or something that it needs is away."""

    code = "not-ready"


class UnknownSnapshot(ServiceError):
    """The service does not have the snapshot of this digest."""

    code = "unknown-snapshot"
