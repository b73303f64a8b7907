"""``zkmargin hub`` and ``zkmargin ledger``: what an operator does at the hub's own machine, on its database."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zkmargin.circuits.errors import MalformedInput
from zkmargin.service.cli.console import emit, progress, reports_errors
from zkmargin.service.cli.extras import extra
from zkmargin.service.cli.options import In, Json
from zkmargin.service.cli.outputs import Writes

if TYPE_CHECKING:
    from zkmargin.service.ledger.context import Ledger
    from zkmargin.service.settings import Settings

hub_app = typer.Typer(help="The hub's database and keys, on its own machine.", no_args_is_help=True)
ledger_app = typer.Typer(help="The credit ledger.", no_args_is_help=True)
Config = Annotated[Path | None, typer.Option(help="TOML file; ZKMARGIN_... variables win over it.")]
Name = Annotated[str, typer.Argument(help="Its name.")]
PublicKey = Annotated[Path, typer.Option(help="Its public key (PEM).")]


def _settings(config: Path | None) -> Settings:
    with extra("service"):
        import fastapi  # noqa: F401
        import sqlalchemy  # noqa: F401

        from zkmargin.circuits.rules.registration import register_installed
        from zkmargin.service.settings import load_settings
    settings = load_settings(config, role="hub")
    register_installed(settings.rules)
    return settings


def _ledger(config: Path | None) -> Ledger:
    settings = _settings(config)
    from zkmargin.service.ledger.configured import open_ledger
    from zkmargin.service.store.database import COMMAND

    return open_ledger(settings, COMMAND)


def _public(path: Path) -> str:
    from zkmargin.service.files import read_public_key
    from zkmargin.verifier.facts.attestation import load_public_key

    return load_public_key(read_public_key(path)).public_bytes_raw().hex()


@hub_app.command("new-storage-key")
@reports_errors
def new_storage_key(
    out: Annotated[
        Path, typer.Option(help="Where to write the keyring (secret)."), Writes("storage keys", only_copy=True)
    ],
    old: Annotated[Path | None, typer.Option(help="A keyring whose keys are kept behind the new one.")] = None,
    unencrypted: Annotated[bool, typer.Option("--unencrypted", help="Write it in clear (mode 0600).")] = False,
    as_json: Json = False,
) -> None:
    """Make a key of the encryption at rest. To rotate: --old, restart with the new file, then hub reseal."""
    from zkmargin.service.files import read_file, secret, unseal, write_files
    from zkmargin.service.keys.vault import new_key, parse_keys

    keys = [new_key()]
    if old is not None:
        text = unseal(read_file(old), name="old").decode("ascii", "replace")
        keys += [key.secret.hex() for key in parse_keys(text).keys]
    write_files(secret(out, ("\n".join(keys) + "\n").encode(), unencrypted=unencrypted))
    emit({"keys": len(keys)}, as_json=as_json, text=lambda: typer.echo(f"{len(keys)} storage keys -> {out}"))


@hub_app.command("init")
@reports_errors
def init(
    name: Annotated[str, typer.Option(help="The hub's name in every signed fact.")],
    currency: Annotated[str, typer.Option(help="Quote currency of its snapshots.")],
    decimals: Annotated[int, typer.Option(min=0, max=12, help="Decimals of amounts.")],
    operator_key: Annotated[Path, typer.Option(help="Public key (PEM) of the first operator.")],
    operator: Annotated[str, typer.Option(help="Name of the first operator.")] = "operator",
    public: Annotated[
        Path | None,
        typer.Option(help="Write the hub's first public key (PEM) here, to pin."),
        Writes("public signing key"),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make an empty ledger, with a first signing key inside it and a first operator."""
    from pydantic import TypeAdapter, ValidationError

    settings = _settings(config)
    from zkmargin.circuits.schema import Name as NameType
    from zkmargin.service.files import write_file
    from zkmargin.service.http.schemas import Id
    from zkmargin.service.ledger.configured import keyring
    from zkmargin.service.ledger.setup import initialise
    from zkmargin.service.store.database import Database

    for field, text, kind in (("name", name, Id), ("operator", operator, Id), ("currency", currency, NameType)):
        try:
            TypeAdapter(kind).validate_python(text)
        except ValidationError:
            raise MalformedInput("letters, digits, dots, hyphens; at most 64", field=field) from None
    database = Database(settings.database_url.get_secret_value())
    made = initialise(
        database, keyring(settings), name=name, currency=currency, decimals=decimals,
        operator=(operator, _public(operator_key)), now=int(time.time()),
    )  # fmt: skip
    if public is not None:
        from zkmargin.service.keys.signing_keys import public_pem_of
        from zkmargin.verifier.facts.hub_keys import public_key

        write_file(public, public_pem_of(public_key(bytes.fromhex(made.key))))
    emit(dict(made.to_json(str)), as_json=as_json, text=lambda: typer.echo(f"hub {name}: first signing key {made.key}"))


@hub_app.command()
@reports_errors
def migrate(config: Config = None, as_json: Json = False) -> None:
    """Bring the database's schema to this version. Back it up first; run it once, with the service stopped."""
    settings = _settings(config)
    from zkmargin.service.ledger.configured import database_of
    from zkmargin.service.store.database import COMMAND
    from zkmargin.service.store.migrate import expect_ledger, upgrade

    database = database_of(settings, COMMAND)
    expect_ledger(database)
    # SQLite tells whether the service is stopped; PostgreSQL's migration waits for whoever is at work.
    database.claim_server(alone=True)
    upgrade(database)
    database.close()
    emit({"schema": "current"}, as_json=as_json, text=lambda: typer.echo("the schema is current"))


def _admit(kind: str, name: str, key: Path, config: Path | None, *, as_json: bool) -> None:
    from zkmargin.service.ledger.setup import admit

    made = admit(_ledger(config), kind, name, _public(key))
    emit(dict(made.to_json(str)), as_json=as_json, text=lambda: typer.echo(f"{kind} {name}: key {made.kid}"))


@hub_app.command("admit-operator")
@reports_errors
def admit_operator(name: Name, key: PublicKey, config: Config = None, as_json: Json = False) -> None:
    """Register an operator, or one more key of an operator."""
    _admit("operator", name, key, config, as_json=as_json)


@hub_app.command("admit-oracle")
@reports_errors
def admit_oracle(name: Name, key: PublicKey, config: Config = None, as_json: Json = False) -> None:
    """Register an oracle whose snapshots the hub takes, or one more key of an oracle."""
    _admit("oracle", name, key, config, as_json=as_json)


@hub_app.command("rotate-signing-key")
@reports_errors
def rotate_signing_key(
    begins: Annotated[int | None, typer.Option(help="Unix time from which it signs; now by default.")] = None,
    days: Annotated[int, typer.Option(min=1, max=3660, help="Validity of the new key.")] = 366,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Appoint the hub's next signing key; the present one stays valid to its end."""
    from zkmargin.service.ledger.setup import rotate_signing_key as run

    made = run(_ledger(config), begins=begins, seconds=days * 86400)
    emit(
        dict(made.to_json(str)),
        as_json=as_json,
        text=lambda: typer.echo(f"signing key {made.key} from {made.not_before}"),
    )


@hub_app.command("sign-import")
@reports_errors
def sign_import(
    payload: In,
    key: Annotated[Path, typer.Option(help="Your signing key, as an operator or a venue.")],
    out: Annotated[
        Path, typer.Option(help="Where to write the import (secret: it holds positions)."), Writes("import document")
    ],
    as_json: Json = False,
) -> None:
    """As an operator or venue: check a book of contracts that accounts bring, and sign it. It must sum to zero."""
    from zkmargin.circuits.strict_json import parse_json
    from zkmargin.service.files import private, read_file, unseal, write_files

    with extra("service"):
        from zkmargin.service.ledger.imports import sign_import as run
    from zkmargin.service.keys.signing_keys import load_private_key

    signing = load_private_key(unseal(read_file(key), name="key"))
    write_files(private(out, run(parse_json(unseal(read_file(payload), name="import"), name="import"), signing)))
    emit({"file": str(out)}, as_json=as_json, text=lambda: typer.echo(f"import -> {out}"))


@hub_app.command("import")
@reports_errors
def take_over(
    document: Annotated[Path, typer.Argument(help="The signed import.")], config: Config = None, as_json: Json = False
) -> None:
    """Take over a signed book into accounts that were just opened. Nothing is made: it sums to zero."""
    from zkmargin.service.files import read_file

    ledger = _ledger(config)
    from zkmargin.service.ledger.imports import book_import

    data = read_file(document)
    made = ledger.database.write(lambda tx: book_import(ledger, tx, data))
    told = ", ".join(f"{a.account} epoch {a.epoch} (leaf {a.leaf})" for a in made.accounts)
    answer = dict(made.to_json(ledger.money))
    emit(answer, as_json=as_json, text=lambda: typer.echo(f"import {made.digest} of {made.signer}: {told}"))


@hub_app.command()
@reports_errors
def reseal(config: Config = None, as_json: Json = False) -> None:
    """Seal everything at rest anew under the first storage key of the ring. The service may go on meanwhile."""
    from zkmargin.service.ledger.setup import reseal as run

    steps = ("signing_keys", "accounts", "events", "idempotency")
    with progress("reseal", steps, as_json=as_json) as step:
        done = run(_ledger(config), step)
    emit({"sealed": done}, as_json=as_json, text=lambda: typer.echo(f"{sum(done.values())} values sealed anew"))


@ledger_app.command()
@reports_errors
def audit(
    proofs: Annotated[bool, typer.Option(help="Verify every credit's, withdrawal's and trade's proof again.")] = True,
    pin: Annotated[
        Path | None, typer.Option(help="The hub's first public key (PEM), as known outside its database.")
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Replay every event and compare with the ledger, its signatures and its log. Exit 6 if anything differs."""
    from zkmargin.service.ledger.audit import STEPS, run

    with progress("audit", STEPS, as_json=as_json) as step:
        pinned = None if pin is None else bytes.fromhex(_public(pin))
        found = run(_ledger(config), proofs=proofs, pinned=pinned, progress=step)
    answer: dict[str, Any] = {"counts": dict(found.counts), "findings": found.findings}

    def text() -> None:
        for name, count in found.counts.items():
            typer.echo(f"{count:>8} {name}")
        for finding in found.findings:
            typer.echo(f"WRONG    {finding}")
        typer.echo("the ledger is clean" if not found.findings else f"{len(found.findings)} findings")

    emit(answer, as_json=as_json, text=text, ok=not found.findings)
    if found.findings:
        raise typer.Exit(6)
