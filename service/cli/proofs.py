"""Commands about proofs: statement, prove and explain here; verify, verify-batch and srs have files of their own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from zkmargin.circuits.errors import MalformedInput, StatementMismatch
from zkmargin.service.cli.console import emit, progress, reports_errors, warn
from zkmargin.service.cli.options import In, Json, OracleKey, SignedSnapshot, check_in_force, clock, read_snapshot
from zkmargin.service.cli.outputs import Writes


def _pairs(texts: list[str] | None, field: str) -> list[tuple[str, str]]:
    """NAME=VALUE options."""
    out: list[tuple[str, str]] = []
    for text in texts or []:
        name, sep, value = text.partition("=")
        if not sep:
            raise MalformedInput("must be NAME=VALUE", field=field)
        out.append((name, value))
    return out


@reports_errors
def statement(
    snapshot: In,
    attestation: In,
    hub_key: Annotated[Path, typer.Option(help="The hub's public key (PEM).")],
    venue: Annotated[str, typer.Option("--spoke", help="Name of the venue that asks.")],
    amount: Annotated[str, typer.Option(help="Virtual margin asked for, in the quote currency.")],
    out: Annotated[Path, typer.Option(help="Where to write the statement."), Writes("statement document")],
    nonce: Annotated[
        str | None, typer.Option(help="The venue's request nonce, 32 hex digits; fresh by default.")
    ] = None,
    expiry: Annotated[int | None, typer.Option(help="Unix time; by default ten minutes from now.")] = None,
    level: Annotated[str, typer.Option(help="initial, liquidation-end or maintenance")] = "initial",
    multiplier: Annotated[str, typer.Option(help="Scales the add-ons.")] = "1",
    horizon: Annotated[int, typer.Option(help="Seconds that the proof is good for from the snapshot's time.")] = 3600,
    delta: Annotated[list[str] | None, typer.Option(help="A public trade, INSTRUMENT=QUANTITY; repeatable.")] = None,
    elect: Annotated[list[str] | None, typer.Option(help="A public election, NAME=PIECE; repeatable.")] = None,
    now: Annotated[int | None, typer.Option(help="Unix time to check against; the machine's clock by default.")] = None,
    best_for: Annotated[
        Path | None, typer.Option(help="The holder's opening: take the best elections for it. They become public.")
    ] = None,
    overlay: Annotated[list[str] | None, typer.Option(help="An overlay set of the snapshot; repeatable.")] = None,
    use: Annotated[
        str, typer.Option("--for", help="What it may be used for: show (nothing), credit, trade or withdrawal.")
    ] = "show",
    expires: Annotated[int | None, typer.Option(help="--for credit: Unix time of its end; an hour from now.")] = None,
    limit: Annotated[
        str | None, typer.Option(help="--for trade: the most that its legs may take at the marks.")
    ] = None,
    counterparty: Annotated[str | None, typer.Option(help="--for trade: an account; any by default.")] = None,
    destination: Annotated[
        str | None, typer.Option("--to", help="--for withdrawal: where custody pays it; the venue is the hub.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a statement about an attested account: what a venue asks for and a holder proves."""
    from zkmargin.circuits.documents.statement import parse_multiplier
    from zkmargin.circuits.rules import Terms, build
    from zkmargin.circuits.units import to_lots, to_quanta
    from zkmargin.prover import solvency
    from zkmargin.prover.documents import make_statement, parse_opening
    from zkmargin.service.cli.purposes import purpose_of
    from zkmargin.service.cli.warnings import check_request
    from zkmargin.service.files import read_file, read_public_key, unseal, write_file
    from zkmargin.verifier.facts.attestation import load_public_key, verify_attestation

    snap, at = read_snapshot(snapshot), clock(now)
    attested = verify_attestation(read_file(attestation), load_public_key(read_public_key(hub_key)))
    trades = _pairs(delta, "delta")
    elections = dict(_pairs(elect, "elect"))
    unprovable: list[str] = []
    if best_for is not None:
        held = parse_opening(unseal(read_file(best_for), name="best-for"), snap)
        knobs = Terms(
            level, parse_multiplier(multiplier, field="multiplier"), horizon, overlays=tuple(sorted(overlay or []))
        )
        after = list(held.lots)
        for name, quantity in trades:
            row = snap.row_of(name, field="delta")
            after[row] += to_lots(quantity, snap.instruments[row].lot, field="delta")
        asked = to_quanta(amount, snap.decimals, field="amount")
        rule = build(snap, knobs)
        best = solvency.best_choice(rule, after, asked)
        unmet = [name for name, slack in solvency.slacks(rule.elect(best), after, asked) if slack < 0]
        unprovable = [f"no elections prove this for the opening: {unmet[0]} is not met"] if unmet else []
        elections = best | elections
    made = make_statement(
        snap, attested, venue=venue, amount=amount, expiry=at + 600 if expiry is None else expiry,
        level=level, multiplier=multiplier, horizon=horizon, delta=trades, 
        nonce=nonce, elections=elections, overlays=overlay or [],
        purpose=purpose_of(
            use, venue, amount, at, expires=expires, limit=limit, counterparty=counterparty, destination=destination
        ),
    )  # fmt: skip
    warnings = [*check_request(made, snap, at), *unprovable]
    write_file(out, made.to_bytes())
    warn(warnings, as_json=as_json)
    emit(
        {"statement": made.digest.hex(), "warnings": warnings},
        as_json=as_json,
        text=lambda: typer.echo(f"statement {made.digest.hex()} -> {out}"),
    )


@reports_errors
def prove(
    statement: In,
    snapshot: In,
    opening: In,
    out: Annotated[Path, typer.Option(help="Where to write the proof."), Writes("proof document")],
    signed_snapshot: SignedSnapshot = None,
    oracle_key: OracleKey = None,
    as_json: Json = False,
) -> None:
    """Prove a statement about your own portfolio. Nothing secret leaves this machine."""
    from zkmargin.circuits.documents.statement import statement_from_bytes
    from zkmargin.prover.documents import parse_opening, proof_bytes
    from zkmargin.prover.prove import STEPS
    from zkmargin.prover.prove import prove as run
    from zkmargin.service.cli.warnings import time_warnings
    from zkmargin.service.cli.words import in_words
    from zkmargin.service.files import read_file, unseal, write_file

    snap = read_snapshot(snapshot)
    check_in_force(snap, signed_snapshot, oracle_key, clock(None))
    stated = statement_from_bytes(read_file(statement))
    held = parse_opening(unseal(read_file(opening), name="opening"), snap)
    for line in in_words(stated, snap):
        typer.echo(line, err=True)
    warnings = time_warnings(stated, snap, clock(None))
    warn(warnings, as_json=as_json)
    begin = time.perf_counter()
    with progress("prove", STEPS, as_json=as_json) as step:
        proof = run(stated, snap, held, progress=step)
    seconds = time.perf_counter() - begin
    write_file(out, proof_bytes(stated, proof))
    emit(
        {"statement": stated.digest.hex(), "bytes": len(proof), "seconds": round(seconds, 4), "warnings": warnings},
        as_json=as_json,
        text=lambda: typer.echo(f"proved {stated.digest.hex()} in {seconds:.3f} s, {len(proof)} bytes -> {out}"),
    )


@reports_errors
def explain(
    snapshot: In,
    portfolio: Annotated[Path | None, typer.Option(help="Your portfolio.")] = None,
    opening: Annotated[
        list[Path] | None,
        typer.Option(help="Or your opening; repeatable: several are added up, as their commitments are."),
    ] = None,
    level: Annotated[str, typer.Option(help="initial, liquidation-end or maintenance")] = "maintenance",
    multiplier: Annotated[str, typer.Option(help="Scales the add-ons.")] = "1",
    horizon: Annotated[int, typer.Option(min=1, max=366 * 86400, help="Seconds of the latency buffer.")] = 3600,
    overlay: Annotated[list[str] | None, typer.Option(help="An overlay set of the snapshot; repeatable.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw a chart: .png or .svg. Secret."), Writes("chart")] = None,
    as_json: Json = False,
) -> None:
    """Show the holder which scenario binds, the net margin, the requirements and the health factor. Secret."""
    from zkmargin.circuits.documents.statement import parse_multiplier
    from zkmargin.circuits.rules import LEVELS, Terms
    from zkmargin.prover.commitment import sum_openings
    from zkmargin.prover.documents import parse_opening
    from zkmargin.prover.explain import explain as run
    from zkmargin.prover.portfolio import notional_warnings, parse_portfolio
    from zkmargin.service.cli.explained import show
    from zkmargin.service.files import private, read_file, unseal, write_files

    snap = read_snapshot(snapshot)
    if (portfolio is None) == (not opening):
        raise StatementMismatch("give either --portfolio or --opening", field="portfolio")
    if level not in LEVELS:
        raise MalformedInput(f"must be one of {', '.join(LEVELS)}", field="level")
    factor = parse_multiplier(multiplier, field="multiplier")
    if portfolio is not None:
        given, account = parse_portfolio(unseal(read_file(portfolio), name="portfolio"), snap), portfolio.stem
        lots, entered = list(given.lots), given.entered
    else:
        opened = [parse_opening(unseal(read_file(path), name="opening"), snap) for path in opening or []]
        lots, account = list(sum_openings(opened).lots), " + ".join(path.stem for path in opening or [])
        entered = frozenset()
    warnings = notional_warnings(lots, entered, snap)
    warn(warnings, as_json=as_json)
    answer = run(snap, Terms(level, factor, horizon, overlays=tuple(sorted(overlay or []))), lots)
    tree = answer.to_json() | {"warnings": warnings}
    if plot is not None:
        from zkmargin.prover.plot import draw

        write_files(private(plot, draw(answer, snap, lots, plot, account=account)))

    emit(tree, as_json=as_json, text=lambda: show(answer, snap, multiplier=multiplier))
