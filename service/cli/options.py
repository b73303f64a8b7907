"""What several commands share: options, and what is read for them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zkmargin.circuits.errors import MalformedInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from zkmargin.circuits.snapshot import Snapshot
    from zkmargin.verifier.facts.snapshot_signature import SnapshotSignature
    from zkmargin.verifier.verdict import Signed

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
In = Annotated[Path, typer.Option(exists=False, dir_okay=False)]
SignedSnapshot = Annotated[Path | None, typer.Option(help="The oracle's signature of the snapshot.")]
OracleKey = Annotated[Path | None, typer.Option(help="The oracle's public key (PEM).")]


def read_snapshot(path: Path) -> Snapshot:
    """Load a snapshot file."""
    from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
    from zkmargin.service.files import read_file

    return snapshot_from_bytes(read_file(path))


def check_in_force(snapshot: Snapshot, signature: Path | None, oracle_key: Path | None, at: int) -> str:
    """Check the oracle's signature and that the snapshot is in force at ``at``; says whether it was asked to."""
    signed = signature_of(snapshot, signature, oracle_key)
    if signed is None:
        return "not checked"
    signed().fact.check_in_force(at)
    return "checked"


def signature_of(
    snapshot: Snapshot, signature: Path | None, oracle_key: Path | None
) -> Callable[[], Signed[SnapshotSignature]] | None:
    """What reads and verifies the oracle's signature; None without one."""

    def signed() -> Signed[SnapshotSignature]:
        from zkmargin.service.files import read_file, read_public_key
        from zkmargin.verifier.facts.attestation import load_public_key
        from zkmargin.verifier.facts.snapshot_signature import verify_snapshot_signature
        from zkmargin.verifier.verdict import Signed

        if signature is None or oracle_key is None:
            raise MalformedInput("--signed-snapshot and --oracle-key go together", field="signed-snapshot")
        data, key = read_file(signature), load_public_key(read_public_key(oracle_key))
        return Signed(verify_snapshot_signature(data, snapshot, key))

    return None if signature is None and oracle_key is None else signed


def clock(now: int | None) -> int:
    """The verifier's clock: given, or the machine's."""
    return int(time.time()) if now is None else now
