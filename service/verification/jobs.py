"""What goes between the server's process and its verification processes: jobs there, replies back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from zkmargin.circuits.errors import ZkMarginError
from zkmargin.verifier.verdict import State, Verdict

#: The checks of :mod:`zkmargin.verifier.verdict` by what a caller asks about. A hub's callers rely on this order.
GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "attestation": ("attestation",),
        "snapshot_signature": ("snapshot_signature",),
        "times": ("statement_time", "attestation_time", "snapshot_time"),
        "proof": ("proof_document", "proof_header", "binding", "elements", "pairing"),
    }
)
#: The order in which they are made here.
ORDER = tuple(name for members in GROUPS.values() for name in members)


@dataclass(frozen=True)
class VerifyJob:
    """Documents of one proof. Keys are raw Ed25519 keys that the caller trusts; ``now`` in Unix seconds."""

    statement: bytes
    proof: bytes
    attestation: bytes | None = None
    snapshot: bytes | None = None
    signed_snapshot: bytes | None = None
    hub_keys: tuple[bytes, ...] = ()
    oracle_keys: tuple[bytes, ...] = ()
    now: int | None = None


@dataclass(frozen=True)
class BodyJob:
    """The body of a verification call, of one proof or ``many``, as it came."""

    body: bytes
    many: bool = False
    hub_keys: tuple[bytes, ...] = ()
    oracle_keys: tuple[bytes, ...] = ()
    now: int | None = None


Job = VerifyJob | BodyJob


@dataclass(frozen=True)
class Answer:
    """The verdict on one proof, with what its statement says; digests and keys in hex."""

    verdict: Verdict
    statement: str
    snapshot: str
    hub: str
    account: str
    epoch: int
    venue: str
    nonce: str
    expiry: int
    amount: str
    currency: str
    attestation_key: str | None
    snapshot_key: str | None
    time: int

    @property
    def failed(self) -> ZkMarginError | None:
        """The error of the check that failed; None for a valid proof."""
        return self.verdict.failed

    @property
    def valid(self) -> bool:
        """Whether every check that was made passed."""
        return self.failed is None

    @property
    def checks(self) -> dict[str, State]:
        """What became of each group of checks, by its name."""
        return {name: _together([self.verdict.state(member) for member in members]) for name, members in GROUPS.items()}

    @property
    def failed_check(self) -> str | None:
        """Name of the group whose check failed."""
        return next((name for name, state in self.checks.items() if state == "failed"), None)


def _together(states: Sequence[State]) -> State:
    """One state for a group: of checks with nothing to check, the others decide."""
    return min(states, key=("failed", "passed", "skipped", "not-checked").index)


@dataclass(frozen=True)
class Envelope:
    """A job on its way: with snapshots by digest (None: nobody knows it), and whether it may take long."""

    job: Job
    documents: dict[bytes, bytes | None] = field(default_factory=dict)
    heavy: bool = False


@dataclass(frozen=True)
class Done:
    """One answer, or the error that prevented it, for each item; ``learned`` are snapshots that came along."""

    results: list[Answer | ZkMarginError]
    learned: dict[bytes, bytes]


@dataclass(frozen=True)
class Missing:
    """Send it again with these snapshots."""

    digests: tuple[bytes, ...]


@dataclass(frozen=True)
class Later:
    """Send it again as heavy."""


@dataclass(frozen=True)
class Again:
    """Send it again with the next batch: its companions took this one's time."""


Reply = Done | Missing | Later | Again | ZkMarginError
