"""What the calls of one application share, with its types. The hub's own part is in ``hub_context``.

A :class:`Service` is made with the application and never changes. What exists only while the application runs
(processes, the ledger) is made by its role (:mod:`zkmargin.service.http.roles`) and held in a :class:`Held`. Calls take
both by the dependencies here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Request
from starlette.types import Scope

from zkmargin.service.errors import NotReady
from zkmargin.service.http.domain import Allowances, Domain
from zkmargin.service.http.example import FreshDescription, FreshExample
from zkmargin.service.http.lanes import PUBLIC, STRANGERS_BYTES, Lane, Sluice
from zkmargin.service.observability.metrics import Metrics
from zkmargin.service.settings import Settings
from zkmargin.service.verification.pool import VerifierPool

T = TypeVar("T")
#: Whether something that calls need is there.
Check = Callable[[], Awaitable[bool]]


class Held(Generic[T]):
    """A value that is there only while the application runs."""

    def __init__(self) -> None:
        self.found: T | None = None

    def get(self) -> T:
        """The value; ``NotReady`` before the start and after the end."""
        if self.found is None:
            raise NotReady("the service is starting or stopping")
        return self.found

    @contextmanager
    def holding(self, value: T) -> Iterator[None]:
        """Hold it until the end."""
        self.found = value
        try:
            yield
        finally:
            self.found = None


@dataclass(frozen=True)
class VerifierContext:
    """What verification for anybody needs. ``hub_keys`` and ``oracle_keys`` are raw Ed25519 keys that this service
    trusts; ``checks`` is what readiness asks, by name.
    """

    pool: VerifierPool
    hub_keys: tuple[bytes, ...]
    oracle_keys: tuple[bytes, ...]
    checks: Mapping[str, Check]


@dataclass(frozen=True)
class Service:
    """What the calls of one application share, in either role."""

    settings: Settings
    metrics: Metrics
    allowances: Allowances
    #: By the names of :mod:`zkmargin.service.http.lanes`.
    lanes: Mapping[str, Lane]
    sluice: Sluice = field(default_factory=lambda: Sluice(STRANGERS_BYTES))
    example: FreshExample = field(default_factory=FreshExample)
    description: FreshDescription = field(default_factory=FreshDescription)
    verifier: Held[VerifierContext] = field(default_factory=Held)

    def lane(self, scope: Scope) -> str:
        """The lane of a request: its call's own, or its caller's."""
        return self.allowances.lane(scope["path"], scope["method"]) or self.lane_of_caller(scope)

    def lane_of_caller(self, scope: Scope) -> str:
        """The lane of whoever sent a request: here all are strangers."""
        return PUBLIC


S = TypeVar("S", bound=Service)


@dataclass(frozen=True)
class Role(Generic[S]):
    """One of the two things that an application can be. ``make`` gives what its calls share, ``running`` what they need
    while it runs; ``security`` are the security schemes of its API description.
    """

    about: str
    domains: tuple[Domain, ...]
    make: Callable[[Settings, Metrics, Allowances], S]
    running: Callable[[S], AbstractAsyncContextManager[None]]
    security: Mapping[str, Any] = field(default_factory=dict)


async def service_of(request: Request) -> Service:
    """The application's service. Async, so that no thread is taken for it."""
    service: Service = request.app.state.service
    return service


async def verifier_of(request: Request) -> VerifierContext:
    """What verification needs; ``NotReady`` while the application starts or stops."""
    return (await service_of(request)).verifier.get()


OfService = Annotated[Service, Depends(service_of)]
OfVerifier = Annotated[VerifierContext, Depends(verifier_of)]
