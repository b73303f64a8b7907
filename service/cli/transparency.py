"""``zkmargin log`` and ``zkmargin snapshot``: what anybody may check, and the oracle's publishing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zkmargin.circuits.errors import MalformedInput
from zkmargin.service.cli.outputs import Writes
from zkmargin.service.cli.session import OracleKeys, Session, command, oracle_keys

if TYPE_CHECKING:
    from zkmargin.verifier.facts.transparency import TreeHead

log_app = typer.Typer(help="The hub's transparency log and signing keys.", no_args_is_help=True)
snapshot_app = typer.Typer(help="Prices at the hub.", no_args_is_help=True)
Evidence = Annotated[
    Path | None,
    typer.Option(help="If the log has forked, write both signed heads here."),
    Writes("evidence of a fork"),
]


def _head(head: TreeHead | None) -> dict[str, Any]:
    return {} if head is None else {"size": head.size, "root": head.root.hex(), "time": head.time}


@contextmanager
def _keeps(evidence: Path | None) -> Iterator[None]:
    """If the log has forked, both signed heads are written for others to see."""
    from zkmargin.circuits.canonical import canonical_bytes
    from zkmargin.circuits.strict_json import parse_json
    from zkmargin.service.files import write_file
    from zkmargin.verifier.facts.transparency import LogForked, TreeHead

    try:
        yield
    except LogForked as fork:
        if evidence is not None and isinstance(fork.held, TreeHead) and isinstance(fork.shown, TreeHead):
            heads = [parse_json(head.document, name="tree-head") for head in (fork.held, fork.shown)]
            write_file(evidence, canonical_bytes({"held": heads[0], "shown": heads[1], "proven": fork.proven}))
        raise


@command(log_app, "head")
def head(
    session: Session,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the signed head here, to compare with others."),
        Writes("tree-head document"),
    ] = None,
    evidence: Evidence = None,
) -> None:
    """Fetch the newest tree head; it must extend the one held in the trust file, if there is one."""
    from zkmargin.service.client import fetch_head
    from zkmargin.service.files import write_file

    with _keeps(evidence):
        found = session.run(fetch_head(session.trust))
    if out is not None:
        write_file(out, found.document)
    session.emit(_head(found))


@command(log_app, "verify")
def verify(
    session: Session,
    attestation: Annotated[Path | None, typer.Option(help="Check that this attestation is in the log.")] = None,
    leaf: Annotated[int | None, typer.Option(min=0, help="Its leaf.")] = None,
    with_head: Annotated[Path | None, typer.Option(help="Check a signed head that somebody else got.")] = None,
    evidence: Evidence = None,
) -> None:
    """Check that the hub shows one history: to you over time, to you and others, and with an attestation in it.

    Its head must be recent and of its newest key by your clock. A head of others may be of any age: it must be of the
    same history, and is not kept.
    """
    from zkmargin.service.client import fetch_head
    from zkmargin.service.client.exchange import get
    from zkmargin.service.client.trust import accept_inclusion, checked, compare_head
    from zkmargin.service.files import read_file

    if (attestation is None) != (leaf is None):
        raise MalformedInput("--attestation and --leaf go together", field="leaf")
    before = session.trust.head
    with _keeps(evidence):
        found = session.run(fetch_head(session.trust))
        if with_head is not None:
            session.run(compare_head(session.trust, read_file(with_head)))
    answer: dict[str, Any] = {"held": _head(before) or None, **_head(found), "attestation": "not checked"}
    if attestation is not None and leaf is not None:
        document = read_file(attestation)
        session.run(checked(session.trust, "attestation", document))

        def included() -> Any:
            tree = (yield get("/v1/log/inclusion", leaf=leaf)).json()
            return (yield from accept_inclusion(session.trust, document, tree))

        session.run(included())
        answer["attestation"] = "checked"
    told = "no head was held before" if before is None else f"extends the head of {before.size} leaves held before"
    session.emit(answer, f"{found.size} leaves, root {found.root.hex()}: {told}\nattestation {answer['attestation']}")


@command(log_app, "show")
def show(session: Session) -> None:
    """Show what the trust file holds against the hub, without asking the hub."""
    from zkmargin.service.client import load_trust

    held = None if session.path is None else load_trust(session.path)
    if held is None:
        raise MalformedInput("name a trust file that exists", field="trust")
    keys = [] if held.chain is None else [key.key.hex() for key in held.chain.keys]
    session.emit(
        {
            "hub": held.hub,
            "pinned": held.pinned.hex(),
            "keys": keys,
            "head": _head(held.head),
            "accounts": len(held.epochs),
        }
    )


@command(log_app, "pin")
def pin(
    session: Session,
    out: Annotated[
        Path,
        typer.Option(help="Where to write the document, which others take as their --trust."),
        Writes("trust document"),
    ],
) -> None:
    """Write what a new reader should begin with: the keys up to the newest and the newest head, no account.

    A reader that pins the first key alone believes whoever has that key, for ever. Publish this where you publish the
    first key, and again with every new key.
    """
    from zkmargin.service.client.trust import pin as flow
    from zkmargin.service.files import write_file

    made = session.run(flow(session.trust))
    write_file(out, made.to_bytes())
    session.emit({"hub": made.hub, "keys": len(made.keys), **_head(made.head)}, f"{len(made.keys)} keys -> {out}")


@command(log_app, "keys")
def keys(
    session: Session,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the newest key that is valid now (PEM), for --hub-key."),
        Writes("public signing key"),
    ] = None,
) -> None:
    """Fetch the hub's signing keys and follow them from the pinned one."""
    from zkmargin.service.client import follow_keys
    from zkmargin.service.files import write_file
    from zkmargin.service.keys.signing_keys import public_pem_of

    chain = session.run(follow_keys(session.trust))
    if out is not None:
        valid = chain.keys_at(session.trust.clock())
        if not valid:
            raise MalformedInput("the hub has no key that is valid now", field="hub-keys")
        write_file(out, public_pem_of(valid[0]))
    rows = [{"key": k.key.hex(), "not_before": k.not_before, "not_after": k.not_after} for k in chain.keys]
    session.emit({"hub": chain.hub, "keys": rows}, "\n".join("  ".join(map(str, row.values())) for row in rows))


@command(snapshot_app, "publish")
def publish(
    session: Session,
    snapshot: Annotated[Path, typer.Option(help="The snapshot.")],
    signed_snapshot: Annotated[Path, typer.Option(help="Your signature of it, as oracle build writes it.")],
) -> None:
    """As an oracle: publish a signed snapshot."""
    from zkmargin.service.client import publish_snapshot
    from zkmargin.service.files import read_file

    session.emit(session.run(publish_snapshot(read_file(snapshot), read_file(signed_snapshot), key=session.key)))


@command(snapshot_app, "fetch")
def fetch(
    session: Session,
    out: Annotated[Path, typer.Option(help="Where to write the snapshot."), Writes("snapshot document")],
    oracle_key: OracleKeys,
    signed_snapshot: Annotated[
        Path | None, typer.Option(help="Write the oracle's signature here."), Writes("signed-snapshot document")
    ] = None,
    digest: Annotated[str | None, typer.Option(help="The newest by default.")] = None,
) -> None:
    """Fetch a snapshot, checked to be signed by a trusted oracle and in force."""
    from zkmargin.service.client import fetch_prices
    from zkmargin.service.files import public, write_files

    found = session.run(fetch_prices(oracle_keys(oracle_key), digest=digest))
    signature = [] if signed_snapshot is None else [public(signed_snapshot, found.signed)]
    write_files(public(out, found.document), *signature)
    fact = found.signature
    session.emit(
        {
            "snapshot": found.snapshot.digest.hex(),
            "oracle": fact.oracle,
            "time": fact.time,
            "valid_until": fact.valid_until,
        }
    )
