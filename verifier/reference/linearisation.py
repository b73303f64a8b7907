"""SPEC.md, "The linearisation": its coefficients at zeta, from the public polynomials' values on H."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from circuits.errors import ProofRejected

from .curve import Element, F, G1Point, Vector
from .proof_encoding import Proof
from .rounds import Challenges, Claim, Instance, domain


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


@dataclass(frozen=True)
class Linearisation:
    """F as a sum of committed polynomials times ``terms``' coefficients, and a constant."""

    terms: list[tuple[Element, G1Point]]
    constant: Element


def linearise(instance: Instance, commitment: G1Point, proof: Proof, claim: Claim, c: Challenges) -> Linearisation:
    """The linearisation: the table of coefficients, line by line."""
    n, columns = instance.geometry.n, instance.geometry.columns
    public = evaluate_public(n, claim, c.zeta)
    table, join = c.alpha**columns, c.alpha ** (columns + 1)
    limbs = F([int(value) for value in proof.evaluations])
    terms = [
        (-join * public.u, commitment),
        (-table, proof.multiplicities),
        (table * (c.gamma + public.t) + join * c.eta, proof.table_helper),
        (-join, proof.accumulator),
        (-(c.zeta**n - F(1)), proof.quotient),
    ]
    terms += [(c.alpha**i * (c.gamma + limbs[i]) - join * c.eta, helper) for i, helper in enumerate(proof.helpers)]
    constant = join * (proof.accumulator_next + claim.target / F(n) - np.dot(limbs, public.v))
    for i in range(columns):
        constant = constant - c.alpha**i
    return Linearisation(terms, constant)
