"""SPEC.md, "The linearisation": its coefficients at zeta, from the public polynomials' values on H."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zkmargin.circuits.errors import ProofRejected
from zkmargin.verifier.reference.curve import Element, F, G1Point, Vector
from zkmargin.verifier.reference.proof_encoding import Proof
from zkmargin.verifier.reference.rounds import Challenges, Claim, Instance, domain


def lagrange(n: int, zeta: Element) -> Vector:
    """L_i(zeta) = omega^i (zeta^n - 1) / (n (zeta - omega^i)) for all i (Notation); zeta is not in H."""
    rows = domain(n)
    return rows * (zeta**n - F(1)) / (F(n) * (zeta - rows))


@dataclass(frozen=True)
class PublicValues:
    """The public polynomials at zeta: v_c, u and t."""

    v: Vector
    u: Element
    t: Element


def evaluate_public(n: int, claim: Claim, zeta: Element) -> PublicValues:
    """The public values: each polynomial is its values on H times the Lagrange polynomials. No closed form is used."""
    at_zeta = lagrange(n, zeta)
    return PublicValues(v=claim.v @ at_zeta, u=np.dot(claim.u, at_zeta), t=np.dot(F(list(range(n))), at_zeta))


def refuse_degenerate(n: int, c: Challenges) -> None:
    """The public values: zeta = 0, zeta in H, beta in H, beta = zeta."""
    if c.zeta == 0 or c.zeta**n == 1 or c.beta**n == 1 or c.beta == c.zeta:
        raise ProofRejected("a degenerate challenge", field="proof")


def coefficients(instance: Instance, proof: Proof, claim: Claim, c: Challenges) -> dict[str, Element]:
    """The linearisation: the section's table, line by line, by the names in its first column."""
    n, columns = instance.geometry.n, instance.geometry.columns
    public = evaluate_public(n, claim, c.zeta)
    table, join = c.alpha**columns, c.alpha ** (columns + 1)
    limbs = F([int(value) for value in proof.evaluations])
    out = {
        "x": -join * public.u,
        "m": -table,
        "h_T": table * (c.gamma + public.t) + join * c.eta,
        "acc": -join,
        "q": -(c.zeta**n - F(1)),
        "constant": join * (proof.accumulator_next + claim.target / F(n) - np.dot(limbs, public.v)),
    }
    for i in range(columns):
        out[f"h_{i}"] = c.alpha**i * (c.gamma + limbs[i]) - join * c.eta
        out["constant"] = out["constant"] - c.alpha**i
    return out


def terms(instance: Instance, proof: Proof, coefficient: dict[str, Element]) -> list[tuple[Element, G1Point]]:
    """The linearisation: each coefficient with the commitment that it stands on; without the constant."""
    points = {
        "x": instance.commitment_point,
        "m": proof.multiplicities,
        "h_T": proof.table_helper,
        "acc": proof.accumulator,
        "q": proof.quotient,
    }
    points |= {f"h_{i}": helper for i, helper in enumerate(proof.helpers)}
    return [(coefficient[name], point) for name, point in points.items()]
