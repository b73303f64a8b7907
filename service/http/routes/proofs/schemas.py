"""Models of the verification calls: what a caller sends and what it gets.

Documents inside them are those of docs/FILES.md, checked by their own models.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, FailFast, Field, StringConstraints

from zkmargin.circuits.documents.snapshot import SnapshotModel
from zkmargin.circuits.documents.statement import StatementModel
from zkmargin.circuits.schema import Decimal, Hex32, Name, ProofModel, Strict
from zkmargin.circuits.schema import Time as UnixTime
from zkmargin.verifier.facts.attestation import AttestationModel
from zkmargin.verifier.facts.snapshot_signature import SignedSnapshotModel

#: Most proofs in one call.
MAX_ITEMS = 256
#: Most snapshots that they may speak of with the documents in the same call.
MAX_SNAPSHOTS = 8

_KEY = r"^([0-9a-f]{64}|-----BEGIN PUBLIC KEY-----[A-Za-z0-9+/=\s]+-----END PUBLIC KEY-----\s*)$"
PublicKey = Annotated[
    str,
    StringConstraints(pattern=_KEY, max_length=512),
    Field(description="an Ed25519 public key: 64 lower-case hex digits, or PEM"),
]
HubKey = Annotated[
    PublicKey | None, Field(description="the hub's key that the caller trusts; absent: the keys configured here")
]
OracleKey = Annotated[
    PublicKey | None, Field(description="the oracle's key that the caller trusts; absent: the keys configured here")
]
CheckState = Literal["passed", "failed", "skipped", "not-checked"]


class VerifyItem(Strict):
    """One proof with what it speaks of."""

    statement: StatementModel
    proof: ProofModel
    attestation: AttestationModel | None = Field(
        default=None, description="the hub's; absent: nothing says whose commitment this is"
    )
    signed_snapshot: SignedSnapshotModel | None = Field(
        default=None, description="the oracle's signature of the snapshot; absent: the caller vouches for it"
    )


class VerifyRequest(VerifyItem):
    """One proof to verify."""

    snapshot: SnapshotModel | None = Field(
        default=None, description="absent: the service's own copy of the snapshot that the statement names"
    )
    hub_key: HubKey = None
    oracle_key: OracleKey = None


class VerifyBatchRequest(Strict):
    """Proofs to verify together, under the same keys."""

    items: Annotated[list[VerifyItem], Field(min_length=1, max_length=MAX_ITEMS), FailFast()]
    snapshots: Annotated[list[SnapshotModel], Field(max_length=MAX_SNAPSHOTS), FailFast()] = Field(
        default=[], description="snapshots that the statements name and the service may not know"
    )
    hub_key: HubKey = None
    oracle_key: OracleKey = None


class Checks(Strict):
    """Every check in order. After one that failed the rest is skipped."""

    attestation: CheckState = Field(
        description="the hub signed that this commitment, domain and registry are the account's in this epoch"
    )
    snapshot_signature: CheckState = Field(description="the oracle signed this snapshot and its time")
    times: CheckState = Field(description="expiry, horizon, attestation and snapshot, by the clock of this service")
    proof: CheckState = Field(description="the statement fits the snapshot and the proof's equation holds")


class Failed(Strict):
    """The check that failed, and why."""

    check: Literal["attestation", "snapshot_signature", "times", "proof"]
    code: str = Field(description="code of a problem type", examples=["proof-rejected"])
    message: str = Field(description="for people; may change")
    field: str | None = Field(default=None, description="path in the request")


class VerdictModel(Strict):
    """What was found. Only ``valid`` lets a caller rely on the proof, and only for what ``checks`` says passed."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "verdict": "valid",
                    "checks": {
                        "attestation": "passed",
                        "snapshot_signature": "not-checked",
                        "times": "passed",
                        "proof": "passed",
                    },
                    "failed": None,
                    "statement": "2a" * 32,
                    "snapshot": "44" * 32,
                    "hub": "hub-1",
                    "account": "acct-1",
                    "epoch": 7,
                    "spoke": "spoke-a",
                    "nonce": "00" * 16,
                    "expiry": 1700000600,
                    "amount": "50000",
                    "currency": "USD",
                    "attestation_key": "d3" * 32,
                    "snapshot_key": None,
                    "time": 1700000060,
                }
            ]
        }
    )

    verdict: Literal["valid", "invalid"]
    checks: Checks
    failed: Failed | None = Field(description="the check that failed; null when valid")
    statement: Hex32 = Field(description="digest of the statement")
    snapshot: Hex32 = Field(description="digest of the snapshot")
    hub: Name
    account: Name
    epoch: int
    spoke: Name
    nonce: str = Field(description="the spoke's nonce in the statement: compare it with your own")
    expiry: UnixTime
    amount: Decimal = Field(description="what the account can cover, in the quote currency")
    currency: Name
    attestation_key: Hex32 | None = Field(description="key under which the attestation verified")
    snapshot_key: Hex32 | None = Field(description="key under which the snapshot's signature verified")
    time: UnixTime = Field(description="the clock of this service at the check")


class Unverifiable(Strict):
    """An item that could not be checked at all, such as a proof that is no proof or a snapshot not known here."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "verdict": "unverifiable",
                    "code": "unknown-snapshot",
                    "message": "the snapshot is not known here",
                    "field": "statement.snapshot",
                }
            ]
        }
    )

    verdict: Literal["unverifiable"]
    code: str = Field(description="code of a problem type")
    message: str = Field(description="for people; may change")
    field: str | None = Field(description="path in the item")


class BatchVerdictModel(Strict):
    """One result for each item, in order."""

    proofs: int = Field(description="items of the request")
    valid: int = Field(description="how many of them are valid")
    results: list[VerdictModel | Unverifiable]
