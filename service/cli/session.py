"""What the commands on a hub share: where it is, who calls, what is held against it, and how to repeat a call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

import typer

from zkmargin.circuits.errors import MalformedInput, StatementMismatch
from zkmargin.service.cli.console import reports_errors
from zkmargin.service.cli.extras import extra
from zkmargin.service.cli.options import Json
from zkmargin.service.cli.outputs import Writes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    from zkmargin.service.client import Flow, Trust

T = TypeVar("T")
#: Options that several commands have besides the shared ones.
OracleKeys = Annotated[
    list[Path],
    typer.Option(
        "--oracle-key", envvar="ZKMARGIN_ORACLE_KEY", help="Public key (PEM) of a trusted oracle; repeatable."
    ),
]
EncryptionKey = Annotated[
    Path, typer.Option(envvar="ZKMARGIN_ENCRYPTION_KEY", help="The holder's encryption key (PEM, may be sealed).")
]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing secret file.")]
Unencrypted = Annotated[bool, typer.Option("--unencrypted", help="Write secrets in clear (mode 0600).")]


def _shared(
    *,
    hub: Annotated[str | None, typer.Option(envvar="ZKMARGIN_HUB", help="The hub's address, https://...")] = None,
    hub_name: Annotated[
        str | None, typer.Option(envvar="ZKMARGIN_HUB_NAME", help="The hub's name; else the one its pinned key signed.")
    ] = None,
    hub_key: Annotated[
        Path | None, typer.Option(envvar="ZKMARGIN_HUB_KEY", help="The hub's first public key (PEM), which is pinned.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(envvar="ZKMARGIN_KEY", help="Your signing key (PEM, may be sealed).")
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(envvar="ZKMARGIN_TRUST", help="What is held against the hub, kept here between runs."),
        Writes("trust document", held=True),
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Of a change: after an unknown outcome repeat it with the same one.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The options of every command on a hub."""


class Session:
    """One command's dealings with a hub. Keeps the trust file, whatever becomes of the command."""

    def __init__(
        self,
        *,
        hub: str | None,
        hub_name: str | None,
        hub_key: Path | None,
        key: Path | None,
        trust: Path | None,
        idempotency_key: str | None,
        as_json: bool,
    ) -> None:
        self.url, self.name, self.pin, self.signing, self.path = hub, hub_name, hub_key, key, trust
        self.key, self.as_json = idempotency_key, as_json
        self._trust: Trust | None = None
        self._kept = b""

    def __enter__(self) -> Self:
        with extra("client"):
            from zkmargin.service import client  # noqa: F401
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.path is None or self._trust is None or self._trust.to_bytes() == self._kept:
            return
        from zkmargin.service.client import save_trust

        save_trust(self.path, self._trust)

    @property
    def trust(self) -> Trust:
        """The trust kept in the file; else a new one in the pinned key."""
        if self._trust is None:
            from zkmargin.service.client import load_trust, meet

            pinned = None if self.pin is None else raw_public(self.pin)
            self._trust = None if self.path is None else load_trust(self.path)
            if self._trust is not None:
                asked = (self.name or self._trust.hub, self._trust.pinned if pinned is None else pinned)
                if asked != (self._trust.hub, self._trust.pinned):
                    self._trust = None
                    raise StatementMismatch("is about another hub or pinned key", field=str(self.path))
                self._kept = self._trust.to_bytes()
            elif pinned is None:
                raise MalformedInput("pin the hub's key, or name a trust file that exists", field="hub-key")
            else:
                self._trust = self._run(meet(pinned, hub=self.name))
        return self._trust

    def run(self, flow: Flow[T]) -> T:
        """Perform a flow, its requests signed with the caller's key."""
        return self._run(flow, signed=True)

    def _run(self, flow: Flow[T], *, signed: bool = False) -> T:
        from zkmargin.service.client import HubClient, RequestSigner

        if self.url is None:
            raise MalformedInput("give --hub, or set ZKMARGIN_HUB", field="hub")
        signer = None
        if signed and (private := self.private_key()) is not None:
            signer = RequestSigner(private, self.trust.hub)
        with HubClient(self.url, signer=signer) as client:
            return client.run(flow)

    def private_key(self) -> Ed25519PrivateKey | None:
        """The caller's signing key, opened; None when none is named."""
        return None if self.signing is None else read_private_key(self.signing)

    def emit(self, payload: dict[str, Any], text: str | None = None) -> None:
        """Print the answer: JSON, or a line; by default a line for each member."""
        from zkmargin.service.cli.console import emit

        lines = text if text is not None else "\n".join(f"{name}: {shown(value)}" for name, value in payload.items())
        emit(payload, as_json=self.as_json, text=lambda: typer.echo(lines))


def shown(value: object) -> str:
    """A member of an answer for people."""
    return "none" if value is None or value in ([], {}) else str(value)


def command(app: typer.Typer, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function of a :class:`Session` and its own options as a command that has the shared options too."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        shared = inspect.signature(_shared, eval_str=True).parameters

        def run(**given: Any) -> None:
            options = {option: given.pop(option) for option in shared}
            with Session(**options) as session:
                function(session, **given)

        merged = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *shared.values())]
        run.__name__, run.__doc__ = function.__name__, function.__doc__
        run.__signature__ = inspect.Signature(merged)  # type: ignore[attr-defined] # what inspect reads
        run.__annotations__ = {p.name: p.annotation for p in merged}
        app.command(name)(reports_errors(run))
        return function

    return register


def raw_public(path: Path) -> bytes:
    """A raw Ed25519 public key from its PEM file."""
    from zkmargin.service.files import read_public_key
    from zkmargin.verifier.facts.attestation import load_public_key

    return load_public_key(read_public_key(path)).public_bytes_raw()


def oracle_keys(paths: Sequence[Path]) -> list[Ed25519PublicKey]:
    """The trusted oracles' keys."""
    from zkmargin.service.files import read_public_key
    from zkmargin.verifier.facts.attestation import load_public_key

    return [load_public_key(read_public_key(path)) for path in paths]


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """A signing key from its PEM file, which may be sealed."""
    from zkmargin.service.files import read_file, unseal
    from zkmargin.service.keys.signing_keys import load_private_key

    return load_private_key(unseal(read_file(path), name="key"))


def legs_of(texts: Sequence[str], option: str) -> tuple[tuple[str, str], ...]:
    """Legs from INSTRUMENT=QUANTITY; ``MalformedInput`` names the option."""
    out = []
    for text in texts:
        name, sep, quantity = text.rpartition("=")
        if not sep:
            raise MalformedInput("must be INSTRUMENT=QUANTITY", field=option)
        out.append((name, quantity))
    return tuple(out)
