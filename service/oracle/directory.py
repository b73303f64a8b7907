"""The oracle's directory: immutable snapshots named by digest, their signatures, and the state of the last build.

    DIGEST.snapshot.json, DIGEST.signed.json, state.json

The state is written last and atomically: until then the last snapshot is the one in force, whatever crashes. One
process per directory.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zkmargin.circuits import canonical
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.errors import MalformedInput, StatementMismatch
from zkmargin.circuits.schema import dump, load
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.service.files import public, read_file, write_file, write_files
from zkmargin.service.keys.signing import sign_document
from zkmargin.service.oracle.build import Built, Last, last_of
from zkmargin.service.oracle.config import Config
from zkmargin.service.oracle.models import StateModel
from zkmargin.verifier.facts.snapshot_signature import SCHEMA, TOKEN_TYPE, SnapshotSignature

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

STATE = "state.json"
FEED_SUFFIX = ".feed.json"
#: Sources times kinds, some generations of each.
MAX_FEEDS = 2048


def read_feeds(directory: Path) -> dict[str, bytes]:
    """The documents ``*.feed.json`` of a directory, by file name."""
    if not directory.is_dir():
        raise MalformedInput("not a directory", field=str(directory))
    paths = sorted(directory.glob(f"*{FEED_SUFFIX}"))
    if len(paths) > MAX_FEEDS:
        raise MalformedInput(f"more than {MAX_FEEDS} feeds", field=str(directory))
    return {path.name: read_file(path) for path in paths}


def read_last(out: Path, given: Path | None) -> Last | None:
    """The last build of a directory, None before the first; ``StatementMismatch`` if ``given`` is not its snapshot.

    Without its state a snapshot is no base: sequences and figures would start afresh.
    """
    if not (out / STATE).exists():
        if given is not None:
            raise StatementMismatch(f"the directory has no {STATE}, so this is not its last snapshot", field="last")
        return None
    state = load(StateModel, read_file(out / STATE), name="state")
    path = out / f"{state.snapshot}.snapshot.json" if given is None else given
    return last_of(snapshot_from_bytes(read_file(path)), state)


def sign_snapshot(snapshot: Snapshot, config: Config, key: Ed25519PrivateKey) -> tuple[SnapshotSignature, bytes]:
    """As the oracle: what is signed of a snapshot, and the signed document."""
    fact = SnapshotSignature(config.oracle, snapshot.digest, snapshot.time, snapshot.time + config.validity)
    return fact, sign_document(fact.payload(), key, schema=SCHEMA, token_type=TOKEN_TYPE)


def publish(built: Built, config: Config, key: Ed25519PrivateKey, out: Path) -> tuple[SnapshotSignature, Path, Path]:
    """Write snapshot, signature and state, in this order; gives the signature and the paths of the first two."""
    name = built.snapshot.digest.hex()
    fact, signed = sign_snapshot(built.snapshot, config, key)
    state = canonical.canonical_bytes(dump(built.state()))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise MalformedInput(err.strerror or "cannot be made", field=str(out)) from None
    snapshot_path, signed_path = out / f"{name}.snapshot.json", out / f"{name}.signed.json"
    write_files(public(snapshot_path, built.snapshot.to_bytes()), public(signed_path, signed))
    write_file(out / STATE, state)
    return fact, snapshot_path, signed_path
