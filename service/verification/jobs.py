"""What goes between the server's process and its verification processes: jobs there, replies back."""

from __future__ import annotations

from dataclasses import dataclass, field

from zkmargin.circuits.errors import ZkMarginError

CHECKS = ("attestation", "snapshot_signature", "times", "proof")


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
class Verdict:
    """What was found about one proof; ``failed`` is None for a valid one."""

    checks: dict[str, str]
    failed: ZkMarginError | None
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
    def valid(self) -> bool:
        """Whether every check that was made passed."""
        return self.failed is None

    @property
    def failed_check(self) -> str | None:
        """Name of the check that failed."""
        return next((name for name, state in self.checks.items() if state == "failed"), None)


@dataclass(frozen=True)
class Envelope:
    """A job on its way: with snapshots by digest (None: nobody knows it), and whether it may take long."""

    job: Job
    documents: dict[bytes, bytes | None] = field(default_factory=dict)
    heavy: bool = False


@dataclass(frozen=True)
class Done:
    """One verdict, or the error that prevented it, for each item; ``learned`` are snapshots that came along."""

    results: list[Verdict | ZkMarginError]
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
