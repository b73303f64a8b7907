"""What only a hub's calls share: the ledger, its door, and the processes that verify its own callers' proofs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from starlette.types import Scope

from zkmargin.circuits.errors import InternalError
from zkmargin.service.http.context import Held, Service, service_of
from zkmargin.service.http.door import Door
from zkmargin.service.http.lanes import PUBLIC
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.verification.pool import VerifierPool


@dataclass(frozen=True)
class HubContext:
    """What a hub's calls need. ``pool`` verifies the proofs that they bring, which never wait behind strangers'."""

    ledger: Ledger
    door: Door
    pool: VerifierPool


@dataclass(frozen=True)
class HubService(Service):
    """What the calls of a hub share."""

    hub: Held[HubContext] = field(default_factory=Held)

    def lane_of_caller(self, scope: Scope) -> str:
        """Whose key is known at the door is no stranger."""
        return PUBLIC if self.hub.found is None else self.hub.found.door.lane(scope)


async def hub_of(request: Request) -> HubContext:
    """The application's ledger with what belongs to it; ``NotReady`` while it starts or stops."""
    service = await service_of(request)
    if not isinstance(service, HubService):
        raise InternalError("a hub's call in another role")
    return service.hub.get()


async def ledger_of(request: Request) -> Ledger:
    """The application's ledger."""
    return (await hub_of(request)).ledger


async def pool_of(request: Request) -> VerifierPool:
    """The processes for the proofs of the hub's own callers."""
    return (await hub_of(request)).pool


HubLedger = Annotated[Ledger, Depends(ledger_of)]
HubPool = Annotated[VerifierPool, Depends(pool_of)]
