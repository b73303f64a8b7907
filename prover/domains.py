"""Which domain is the cheapest for a system: where a hub commits (docs/SPEC.md, "Words and columns")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache

from zkmargin.circuits.errors import SystemTooLarge
from zkmargin.circuits.layout import DOMAINS, Layout, fit, proof_size
from zkmargin.circuits.rules import Terms, build, work
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import compile_terms
from zkmargin.circuits.system import LinearSystem
from zkmargin.prover import solvency

# Relative costs of a proof, in units of one microsecond on the machine where they were measured
# (`zkmargin bench --primitives` prints them): one full-size MSM point, one small-scalar MSM point, the field work
# of a row, and what a column costs every verifier.
COST_MSM_POINT = 24
COST_SMALL_POINT = 3
COST_FIELD_ROW = 8
COST_VERIFY_COLUMN = 300
#: Rows whose field work costs a verifier one microsecond: words are evaluated eight rows at a time.
VERIFY_ROWS_PER_UNIT = 4
#: A proof is made once and verified by many: a verifier's microsecond counts as much as this many of the prover's.
VERIFIER_WEIGHT = 100
#: And one byte on the wire as much as this many of the verifier's microseconds.
BYTE_WEIGHT = 4


def cost(layout: Layout) -> int:
    """Relative cost of (n, K): prover's work plus weighted verifier's work and bytes. Integers, so it is exact.

    Four full multiplications (accumulator, quotient, two openings); that of a helper, the table's included, is about
    half of one, since most limbs are zero.
    """
    n, k = layout.n, layout.columns
    prove = n * (
        COST_MSM_POINT * 4 + COST_MSM_POINT * (k + 1) // 2 + COST_SMALL_POINT * (k + 1) + COST_FIELD_ROW * 2 * k
    )
    verify = n // VERIFY_ROWS_PER_UNIT + COST_VERIFY_COLUMN * k
    return prove + VERIFIER_WEIGHT * (verify + BYTE_WEIGHT * proof_size(k))


def cheapest(limits: Sequence[int], positions: int) -> Layout:
    """The cheapest layout over all supported domains; ties go to the smaller domain."""
    fitting: list[Layout] = []
    refused: SystemTooLarge | None = None
    for n in DOMAINS:
        try:
            fitting.append(fit(limits, positions, n))
        except SystemTooLarge as err:
            refused = err
    if not fitting:
        raise refused or SystemTooLarge("no domain fits", field="system")
    return min(fitting, key=cost)


def cheapest_layout(system: LinearSystem) -> Layout:
    """The cheapest layout of a system; a system that fails its bound check there is refused, no other is tried."""
    return system.layout(cheapest(system.limits, system.positions).n)


@lru_cache(maxsize=64)
def cheapest_domain(snapshot: Snapshot) -> int:
    """The domain on which a hub should commit: the cheapest (n, K) of the rule at maintenance level."""
    terms = Terms("maintenance", Fraction(1), 3600)
    work.check(snapshot, terms.level, terms.overlays)
    flat = [0] * len(snapshot.instruments)
    choice = solvency.best_choice(build(snapshot, terms), flat)
    return cheapest_layout(compile_terms(snapshot, replace(terms, elections=tuple(sorted(choice.items())))).system).n
