"""Commands of the oracle: build, verify, keygen, sign-feed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zkmargin.service.cli.console import emit, reports_errors
from zkmargin.service.cli.options import In, Json, clock, read_snapshot
from zkmargin.service.cli.outputs import Writes
from zkmargin.service.file_kinds import FOLDER

oracle_app = typer.Typer(help="The risk oracle: signed feeds in, signed snapshots out.", no_args_is_help=True)
Now = Annotated[int | None, typer.Option(help="Unix time; the machine's clock by default.")]


@oracle_app.command()
@reports_errors
def build(
    config: In,
    feeds: Annotated[Path, typer.Option(help="Directory of *.feed.json.")],
    key: Annotated[Path, typer.Option(help="The oracle's signing key.")],
    out: Annotated[Path, typer.Option(help="The oracle's directory: snapshots, signatures, state."), Writes(FOLDER)],
    last: Annotated[
        Path | None, typer.Option(help="The last snapshot; by default the one that the directory's state names.")
    ] = None,
    now: Now = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse at the first bad feed.")] = False,
    accept_jump: Annotated[
        bool, typer.Option("--accept-jump", help="Reset the circuit breaker: a human looked at the jump.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Aggregate signed feeds into a signed snapshot. On any error the last one stays as it is."""
    from zkmargin.service.files import read_file, unseal
    from zkmargin.service.keys.signing_keys import load_private_key
    from zkmargin.service.oracle.build import build as run
    from zkmargin.service.oracle.config import parse_config
    from zkmargin.service.oracle.directory import publish, read_feeds, read_last

    signing = load_private_key(unseal(read_file(key), name="key"))
    settings = parse_config(read_file(config), lambda name: read_file(config.parent / name))
    made = run(
        settings, read_feeds(feeds), read_last(out, last), now=clock(now), strict=strict, accept_jump=accept_jump
    )
    fact, path, signed = publish(made, settings, signing, out)
    answer = {
        "snapshot": fact.snapshot.hex(),
        "file": path.name,
        "signature": signed.name,
        "time": fact.time,
        "valid_until": fact.valid_until,
        "instruments": len(made.snapshot.instruments),
        "scenarios": len(made.snapshot.scenarios),
        "rejected": [{"file": item.name, **item.error.to_json()} for item in made.rejected],
    }

    def text() -> None:
        for item in made.rejected:
            typer.echo(f"did not count: {item}", err=True)
        typer.echo(f"snapshot {fact.snapshot.hex()} (in force until {fact.valid_until}) -> {path}")

    emit(answer, as_json=as_json, text=text)


@oracle_app.command()
@reports_errors
def verify(
    snapshot: In,
    signature: Annotated[Path, typer.Option(help="The signed-snapshot document next to it.")],
    oracle_key: Annotated[Path, typer.Option(help="The oracle's public key (PEM).")],
    now: Now = None,
    as_json: Json = False,
) -> None:
    """Check that the oracle signed this snapshot and that it is in force. Exit 5 if it is not, 6 if not signed."""
    from zkmargin.service.files import read_file, read_public_key
    from zkmargin.verifier.facts.attestation import load_public_key
    from zkmargin.verifier.facts.snapshot_signature import verify_snapshot_signature

    fact = verify_snapshot_signature(
        read_file(signature), read_snapshot(snapshot), load_public_key(read_public_key(oracle_key)), now=clock(now)
    )
    emit(
        {
            "snapshot": fact.snapshot.hex(),
            "oracle": fact.oracle,
            "time": fact.time,
            "valid_until": fact.valid_until,
        },
        as_json=as_json,
        text=lambda: typer.echo(f"{fact.oracle} signed {fact.snapshot.hex()}, in force until {fact.valid_until}"),
    )


@oracle_app.command()
@reports_errors
def keygen(
    key: Annotated[
        Path, typer.Option(help="Where to write the signing key (secret)."), Writes("signing key", only_copy=True)
    ],
    public: Annotated[Path, typer.Option(help="Where to write the public key."), Writes("public signing key")],
    unencrypted: Annotated[
        bool, typer.Option("--unencrypted", help="Write secrets in clear (mode 0600) without a passphrase.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing secret file.")] = False,
    as_json: Json = False,
) -> None:
    """Make an Ed25519 signing key, for an oracle or for a source."""
    from zkmargin.service import files
    from zkmargin.service.keys import signing_keys

    made = signing_keys.generate_key()
    files.write_files(
        files.secret(key, signing_keys.private_pem(made), unencrypted=unencrypted),
        files.public(public, signing_keys.public_pem(made)),
        force=force,
    )
    emit({"public": str(public)}, as_json=as_json, text=lambda: typer.echo(f"public key -> {public}"))


@oracle_app.command("sign-feed")
@reports_errors
def sign_feed(
    payload: In,
    key: Annotated[Path, typer.Option(help="The source's signing key.")],
    out: Annotated[Path, typer.Option(help="Where to write the feed."), Writes("feed document")],
    as_json: Json = False,
) -> None:
    """As a source: check and sign a feed's payload."""
    from zkmargin.circuits.strict_json import parse_json
    from zkmargin.service.files import read_file, unseal, write_file
    from zkmargin.service.keys.signing_keys import load_private_key
    from zkmargin.service.oracle.feeds import sign_feed as run

    signing = load_private_key(unseal(read_file(key), name="key"))
    write_file(out, run(parse_json(read_file(payload), name="feed"), signing))
    emit({"file": str(out)}, as_json=as_json, text=lambda: typer.echo(f"feed -> {out}"))
