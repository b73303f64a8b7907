"""An explanation as text for its holder: figures grouped and rounded against the account, while JSON is exact."""

from __future__ import annotations

from fractions import Fraction

import typer

from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.units import ceil_div, format_fraction, format_quanta
from zkmargin.prover.explain import Explanation, health_text
from zkmargin.service.cli.console import table

#: What one unit of each Greek is, in the quote currency (docs/FILES.md, Snapshot).
GREEK_UNITS = {
    "delta": "for a relative price move of 1 (100 %)",
    "gamma": "of delta for such a move",
    "vega": "for 1.00 of volatility",
}


def grouped(text: str) -> str:
    """A decimal string with thousands separators and without trailing zeros."""
    whole, _, fraction = text.partition(".")
    sign, digits = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
    fraction = fraction.rstrip("0")
    return f"{sign}{int(digits):,}" + (f".{fraction}" if fraction else "")


def money(value: Fraction, decimals: int, *, up: bool = False) -> str:
    """An amount to a quote quantum: what the account has rounded down, what is required of it (``up``) rounded up."""
    scaled = value * int(10**decimals)
    quanta = ceil_div(scaled.numerator, scaled.denominator) if up else scaled.__floor__()
    return grouped(format_quanta(quanta, decimals))


def show(answer: Explanation, snapshot: Snapshot, *, multiplier: str) -> None:
    """Print an explanation. Secret."""
    decimals = snapshot.decimals
    typer.echo(f"{answer.level} margin, multiplier {multiplier}, in {answer.currency}")
    typer.echo(f"net margin     {money(answer.net_margin, decimals)}  (binding scenario: {answer.worst_scenario})")
    typer.echo(f"requirement    {money(answer.requirement, decimals, up=True)}")
    typer.echo(f"health factor  {health_text(answer.health_factor)}")
    for level, value in answer.thresholds:
        typer.echo(f"net margin     {money(value, decimals)}  at level {level}")
    for name, value in answer.greeks:
        unit = f"{answer.currency} {GREEK_UNITS.get(name, '')}".rstrip()
        typer.echo(f"{name:14s} {grouped(format_fraction(value))} {unit}")
    for name, met in answer.overlays:
        typer.echo(f"overlay        {name}: {'met' if met else 'NOT met'}")
    for name, piece in answer.elections:
        typer.echo(f"election       {name}: {piece}")
    margins = [[name, money(value, decimals)] for name, value in answer.scenarios]
    table("scenarios", ["scenario", f"net margin, {answer.currency}"], margins)
    rows = [
        [name, grouped(quantity), money(value, decimals), money(required, decimals, up=True)]
        for name, quantity, value, required in answer.positions
    ]
    columns = ["instrument", "quantity", f"value, {answer.currency}", f"requirement, {answer.currency}"]
    table("positions, valued in the binding scenario", columns, rows)
