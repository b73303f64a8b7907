"""``zkmargin srs``: the structured reference string."""

from __future__ import annotations

import typer

from zkmargin.service.cli.console import emit, progress, reports_errors
from zkmargin.service.cli.options import Json

srs_app = typer.Typer(help="The structured reference string.", no_args_is_help=True)


@srs_app.command("verify")
@reports_errors
def srs_verify(as_json: Json = False) -> None:
    """Check the shipped powers of tau and Lagrange bases: digests, subgroup, structure by pairings."""
    from zkmargin.verifier.srs import PINNED, ethereum, read_pinned
    from zkmargin.verifier.srs_structure import check_structure

    checks: list[str] = []
    total = len(PINNED) + 11
    with progress("srs", tuple(str(i) for i in range(total)), as_json=as_json) as step:
        for name in PINNED:
            read_pinned(name)
            checks.append(f"SHA-256 of {name}")
            step(str(len(checks)))
        for check in check_structure(ethereum()):
            checks.append(check)
            step(str(len(checks)))
    emit({"checks": checks}, as_json=as_json, text=lambda: typer.echo("\n".join(f"ok  {c}" for c in checks)))
