"""Asking the holder: what a signature would authorise is said in words, and agreed to by a person or a policy."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zkmargin.circuits.errors import MalformedInput
from zkmargin.service.cli.console import emit, reports_errors
from zkmargin.service.cli.extras import extra
from zkmargin.service.cli.options import In, Json, read_snapshot
from zkmargin.service.cli.outputs import Writes
from zkmargin.service.cli.session import read_private_key

if TYPE_CHECKING:
    from fractions import Fraction

    from zkmargin.circuits.snapshot import Snapshot
    from zkmargin.circuits.statement import Statement

Yes = Annotated[bool, typer.Option("--yes", help="Agree to what is said in words, without being asked.")]
PolicyFile = Annotated[
    Path | None, typer.Option("--policy", help="What may be authorised without asking (zkmargin/policy/1).")
]


def agree(
    statement: Statement,
    snapshot: Snapshot,
    *,
    yes: bool,
    policy: Path | None,
    now: int,
    owed: Fraction | None = None,
) -> None:
    """Say in words what a statement authorises, and have it agreed to; ``NotCovered`` when it is not.

    By the policy if one is given, else by ``--yes``, else by whoever sits at the terminal. What only shows solvency
    and says nothing of a trade needs no consent. ``owed`` is the account's live credit, where its opening is at hand.
    """
    from zkmargin.circuits.purpose import ForShow
    from zkmargin.service.cli.words import in_words
    from zkmargin.service.files import read_file

    with extra("client"):
        from zkmargin.service.client import NotCovered, Policy
    for line in in_words(statement, snapshot):
        typer.echo(line, err=True)
    if policy is not None:
        Policy.from_bytes(read_file(policy)).check(statement, snapshot, now, owed=owed)
        return
    if yes or (isinstance(statement.purpose, ForShow) and not statement.delta):
        return
    if not sys.stdin.isatty():
        raise NotCovered("nobody is here to ask: give --policy, or --yes", field="policy")
    if not typer.confirm("Do you authorise this?", err=True):
        raise NotCovered("you did not agree; nothing was proved or signed", field="statement.purpose")


@reports_errors
def authorise(
    statement: In,
    snapshot: In,
    out: Annotated[Path, typer.Option(help="Where to write the authorisation."), Writes("authorisation document")],
    key: Annotated[Path, typer.Option(envvar="ZKMARGIN_KEY", help="The account's signing key (PEM, may be sealed).")],
    yes: Yes = False,
    policy: PolicyFile = None,
    as_json: Json = False,
) -> None:
    """As the holder: sign what a statement authorises, after it was said in words. Without it nothing is booked."""
    from zkmargin.circuits import statement as statements
    from zkmargin.circuits.documents.statement import statement_from_bytes
    from zkmargin.circuits.purpose import ForShow
    from zkmargin.service.cli.options import clock
    from zkmargin.service.files import read_file, write_file

    with extra("client"):
        from zkmargin.service.client import authorise as sign
    stated, snap, now = statement_from_bytes(read_file(statement)), read_snapshot(snapshot), clock(None)
    if isinstance(stated.purpose, ForShow):
        raise MalformedInput("only shows solvency: there is nothing to authorise", field="statement.purpose")
    statements.bind(stated, snap)
    stated.check_time(snap, now)
    agree(stated, snap, yes=yes, policy=policy, now=now)
    write_file(out, sign(stated, read_private_key(key), now=now))
    digest = stated.digest.hex()
    emit({"statement": digest}, as_json=as_json, text=lambda: typer.echo(f"authorised {digest} -> {out}"))
