"""The root of the command line ``zkmargin``: its own few commands, and every group of this room.

Exit codes: 0 done; 2 wrong usage; 3 malformed input; 4 parts that do not belong together; 5 stale; 6 proof or
signature rejected; 7 rule refused or system too large; 8 not solvent (holder only); 9 corrupt data file; 10 market data
refused; 11 a hub showed two histories; 12 the hub, or its ledger, refused; 13 no answer from the hub, or from its
database; 14 an extra of the package is not installed; 70 our bug.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from zkmargin.service.cli.account import account_app
from zkmargin.service.cli.console import emit, progress, reports_errors, table, warn
from zkmargin.service.cli.credit import credit_app
from zkmargin.service.cli.hub import hub_app, ledger_app
from zkmargin.service.cli.options import In, Json, read_snapshot
from zkmargin.service.cli.oracle import oracle_app
from zkmargin.service.cli.outputs import Writes
from zkmargin.service.cli.proofs import explain, prove, statement
from zkmargin.service.cli.serve import serve
from zkmargin.service.cli.srs import srs_app
from zkmargin.service.cli.trade import trade_app
from zkmargin.service.cli.transparency import log_app, snapshot_app
from zkmargin.service.cli.vectors import vectors_app
from zkmargin.service.cli.venue import key_app, venue_app
from zkmargin.service.cli.verify import verify, verify_batch
from zkmargin.service.file_kinds import FOLDER

app = typer.Typer(
    name="zkmargin",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    # Help is plain text: as markup, [reference] and its like would vanish.
    rich_markup_mode=None,
)
Force = Annotated[bool, typer.Option("--force", help="Replace an existing secret file.")]
Unencrypted = Annotated[
    bool, typer.Option("--unencrypted", help="Write secrets in clear (mode 0600) without a passphrase.")
]


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"zkmargin {version('zkmargin')}")
        raise typer.Exit


@reports_errors
def _register(rules: list[str]) -> None:
    from zkmargin.circuits.rules.registration import register_installed

    register_installed(rules)


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    rule: Annotated[
        list[str] | None,
        typer.Option(help="Id of an installed distribution's rule that documents may name (repeat it for more)."),
    ] = None,
) -> None:
    """Zero-knowledge portfolio margin: prove that a committed portfolio is solvent, without showing it."""
    if rule:
        _register(rule)


@app.command()
@reports_errors
def keygen(
    key: Annotated[
        Path, typer.Option(help="Where to write the signing key (secret)."), Writes("signing key", only_copy=True)
    ],
    public: Annotated[Path, typer.Option(help="Where to write the public key."), Writes("public signing key")],
    unencrypted: Unencrypted = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Make a hub's Ed25519 signing key."""
    from zkmargin.service import files
    from zkmargin.service.keys import signing_keys as hub

    made = hub.generate_key()
    files.write_files(
        files.secret(key, hub.private_pem(made), unencrypted=unencrypted),
        files.public(public, hub.public_pem(made)),
        force=force,
    )
    emit({"public": str(public)}, as_json=as_json, text=lambda: typer.echo(f"public key -> {public}"))


@app.command()
@reports_errors
def commit(
    portfolio: In,
    snapshot: In,
    account: Annotated[str, typer.Option(help="Account name.")],
    key: Annotated[Path, typer.Option(help="The hub's signing key.")],
    opening: Annotated[
        Path, typer.Option(help="Where to write the opening (secret)."), Writes("opening document", only_copy=True)
    ],
    attestation: Annotated[Path, typer.Option(help="Where to write the attestation."), Writes("attestation document")],
    hub: Annotated[str, typer.Option(help="Hub name.")] = "hub",
    epoch: Annotated[int, typer.Option(min=0, help="Epoch of the account; raise it with every change.")] = 1,
    at: Annotated[int | None, typer.Option("--time", help="Unix time of the attestation; now by default.")] = None,
    unencrypted: Unencrypted = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """As the hub: commit to an account's portfolio with fresh blinding, and sign the attestation."""
    from zkmargin.circuits.schema import validate
    from zkmargin.prover.commitment import commit as run
    from zkmargin.prover.documents import opening_bytes
    from zkmargin.prover.domains import cheapest_domain
    from zkmargin.prover.portfolio import notional_warnings, parse_portfolio
    from zkmargin.service import files
    from zkmargin.service.files import read_file, unseal
    from zkmargin.service.keys import signing as signing_module
    from zkmargin.service.keys import signing_keys as hub_module
    from zkmargin.verifier.facts.attestation import Attestation, AttestationPayloadModel

    snap = read_snapshot(snapshot)
    given = parse_portfolio(unseal(read_file(portfolio), name="portfolio"), snap)
    warnings = notional_warnings(given.lots, given.entered, snap)
    signing = hub_module.load_private_key(unseal(read_file(key), name="key"))
    commitment, held = run(given.lots, cheapest_domain(snap))
    when = int(time.time()) if at is None else at
    fact = Attestation(hub, account, epoch, commitment, held.domain, snap.registry_digest, when)
    validate(
        AttestationPayloadModel,
        {
            "schema": "zkmargin/attestation/1", "hub": hub, "account": account, "epoch": epoch,
            "commitment": commitment.hex(), "domain": held.domain, "registry": snap.registry_digest.hex(), "time": when,
        },
        name="attestation",
    )  # fmt: skip
    files.write_files(
        files.secret(opening, opening_bytes(held, snap.registry_digest), unencrypted=unencrypted),
        files.public(attestation, signing_module.sign_attestation(fact, signing)),
        force=force,
    )
    warn(warnings, as_json=as_json)
    emit(
        {"commitment": commitment.hex(), "domain": held.domain, "epoch": epoch, "warnings": warnings},
        as_json=as_json,
        text=lambda: typer.echo(f"commitment {commitment.hex()} (domain {held.domain}, epoch {epoch})"),
    )


@app.command()
@reports_errors
def demo(
    out: Annotated[Path | None, typer.Option(help="Keep the public files here."), Writes(FOLDER)] = None,
    files: Annotated[
        Path | None,
        typer.Option(help="Play nothing: write portfolio.json and a snapshot.json of now here, to try by hand."),
        Writes(FOLDER),
    ] = None,
    as_json: Json = False,
) -> None:
    """A hub commits to a real portfolio, its holder proves, two venues verify without seeing it; four attacks fail."""
    from zkmargin.service.cli.demo import STEPS, run, show, write_examples

    if files is not None:
        made = write_examples(files, int(time.time()))
        emit(
            {"files": str(files), "snapshot": made.digest.hex(), "time": made.time},
            as_json=as_json,
            text=lambda: typer.echo(f"portfolio.json and snapshot.json (prices dated {made.time}) -> {files}"),
        )
        return
    with progress("demo", STEPS, as_json=as_json) as step:
        report = run(out, step)
    emit(report, as_json=as_json, text=lambda: show(report))


@app.command()
@reports_errors
def bench(
    sizes: Annotated[str, typer.Option(help="Comma-separated INSTRUMENTSxSCENARIOS.")] = "16x16,100x40,400x81",
    repeat: Annotated[int, typer.Option(min=1, max=1000, help="Warm runs; medians are printed.")] = 7,
    batch: Annotated[int, typer.Option(min=0, max=4096, help="Proofs in the batch; 0 for none.")] = 256,
    primitives: Annotated[bool, typer.Option(help="Also time the library's primitives.")] = False,
    as_json: Json = False,
) -> None:
    """Measure proving and verifying beside a bare two-pairing check of the same library, in the same run."""
    from zkmargin.service.cli import bench as benchmark

    parsed = benchmark.parse_sizes(sizes)
    with progress("bench", tuple(f"{d}x{s}" for d, s in parsed), as_json=as_json) as step:
        report = benchmark.run(parsed, repeat=repeat, batch=batch, primitives=primitives, progress=step)

    def text() -> None:
        for section in benchmark.sections(report):
            table(*section)

    emit(report, as_json=as_json, text=text)


app.add_typer(srs_app, name="srs")
app.command()(statement)
app.command()(prove)
app.command()(verify)
app.command("verify-batch")(verify_batch)
app.command()(explain)
app.command()(serve)
app.add_typer(oracle_app, name="oracle")
app.add_typer(hub_app, name="hub")
app.add_typer(ledger_app, name="ledger")
app.add_typer(account_app, name="account")
app.add_typer(credit_app, name="credit")
app.add_typer(trade_app, name="trade")
app.add_typer(venue_app, name="venue")
app.add_typer(key_app, name="key")
app.add_typer(log_app, name="log")
app.add_typer(snapshot_app, name="snapshot")
app.add_typer(vectors_app, name="vectors")


def main() -> None:
    """Run the command line; :mod:`zkmargin.service.cli.entry` is the console script's entry point."""
    try:
        app()
    except BrokenPipeError:
        sys.exit(0)


if __name__ == "__main__":
    main()
