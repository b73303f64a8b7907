"""The linearisation: all constraints at zeta as one polynomial, linear in the committed ones. No curve, no opening.

Prover and verifier both call :func:`linearise`, so the two cannot drift.
"""

from __future__ import annotations

from dataclasses import dataclass

from py_arkworks_bls12381 import Scalar

from zkmargin.verifier.argument.claim import evaluate_public
from zkmargin.verifier.argument.instance import Instance
from zkmargin.verifier.argument.matrix import matrix
from zkmargin.verifier.argument.v1.challenges import Alpha, ColumnChallenges, Zeta
from zkmargin.verifier.argument.v1.messages import Evaluations
from zkmargin.verifier.field import ZERO, inner, powers, scalar, vanishing


@dataclass(frozen=True)
class Linearisation:
    """Coefficients of the linearisation polynomial on the committed polynomials, and its constant term."""

    commitment: Scalar
    multiplicities: Scalar
    table_helper: Scalar
    helpers: list[Scalar]
    accumulator: Scalar
    quotient: Scalar
    constant: Scalar


def linearise(
    instance: Instance, drawn: ColumnChallenges, alpha: Alpha, zeta: Zeta, evaluations: Evaluations
) -> Linearisation:
    """The linearisation at zeta of the constraints, weighted by powers of alpha, minus Z(zeta) times the quotient.

    ``drawn`` are gamma, beta and eta. Raises ``ZeroDivisionError`` on a degenerate challenge. The constraints on H
    are, for each column c,

        h_c (gamma + l_c) = 1,   and once   h_T (gamma + t) = m                                     (lookup), and
        acc(omega X) - acc(X) = sum_c l_c v_c + x u + eta (sum_c h_c - h_T) - target/n              (running sum),

    with h_T the table helper and t(omega**i) = i.
    """
    layout, limbs = instance.layout, evaluations.limbs
    claim = matrix(instance.system, layout).claim(drawn.beta, instance.constants)
    public = evaluate_public(layout, claim, zeta)
    *alphas, table, join = powers(alpha, layout.columns + 2)
    total = inner(limbs, public.columns) - claim.target * scalar(layout.n).inverse()
    return Linearisation(
        commitment=-(join * public.positions),
        multiplicities=-table,
        table_helper=table * (drawn.gamma + public.table) + join * drawn.eta,
        helpers=[a * (drawn.gamma + limb) - join * drawn.eta for a, limb in zip(alphas, limbs, strict=True)],
        accumulator=-join,
        quotient=-vanishing(layout.n, zeta),
        constant=join * (evaluations.accumulator_next - total) - sum(alphas, ZERO),
    )
