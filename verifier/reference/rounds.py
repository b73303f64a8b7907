"""SPEC.md, "Transcript" (order of messages) and "Rounds": the challenges, and the linear claim of beta."""

from __future__ import annotations

from dataclasses import dataclass

import galois
import numpy as np

from zkmargin.circuits.errors import ProofRejected
from zkmargin.circuits.system import LinearSystem
from zkmargin.verifier.reference.curve import (
    Element,
    F,
    G1Point,
    R,
    Vector,
    elements_of,
    encode_scalar,
    root_of_unity,
)
from zkmargin.verifier.reference.proof_encoding import Proof
from zkmargin.verifier.reference.systems import LIMBS, Geometry, system_digest
from zkmargin.verifier.reference.transcript import Transcript

PROTOCOL = b"zkmargin/argument/1"


@dataclass(frozen=True)
class Instance:
    """What is proved, bound to delta and amount: all that messages 3 to 7 absorb.

    ``commitment`` is the bytes of the account's C, ``commitment_point`` what they decode to.
    """

    geometry: Geometry
    system: LinearSystem
    constants: list[int]
    statement_digest: bytes
    commitment: bytes
    commitment_point: G1Point


@dataclass(frozen=True)
class Challenges:
    """All challenges, in the order in which they are drawn."""

    gamma: Element
    beta: Element
    eta: Element
    alpha: Element
    zeta: Element
    nu: Element
    mu: Element


def public_transcript(instance: Instance, srs_digest: bytes) -> Transcript:
    """Transcript: messages 1 to 7, everything public."""
    t, geometry = Transcript(), instance.geometry
    t.absorb("protocol", PROTOCOL)
    t.absorb("srs", srs_digest)
    t.absorb("parameters", geometry.n.to_bytes(4, "big") + geometry.columns.to_bytes(4, "big"))
    t.absorb("statement", instance.statement_digest)
    t.absorb("system", system_digest(instance.system))
    t.absorb("constants", b"".join(encode_scalar(c % R) for c in instance.constants))
    t.absorb("commitment", instance.commitment)
    return t


def replay(instance: Instance, proof: Proof, srs_digest: bytes) -> Challenges:
    """Transcript: messages 8 to 17 after the public ones, and the challenges between them."""
    t = public_transcript(instance, srs_digest)

    def messages(*labels: str) -> None:
        for label in labels:
            for part in proof.raw[label]:
                t.absorb(label, part)

    messages("columns", "multiplicities")
    gamma, beta, eta = t.challenge("gamma"), t.challenge("beta"), t.challenge("eta")
    messages("table-helper", "helpers", "accumulator")
    alpha = t.challenge("alpha")
    messages("quotient")
    zeta = t.challenge("zeta")
    messages("evaluations", "accumulator-next")
    nu = t.challenge("nu")
    messages("opening", "opening-next")
    return Challenges(gamma, beta, eta, alpha, zeta, nu, t.challenge("mu"))


def domain(n: int) -> Vector:
    """H = (1, omega, ..., omega^(n-1))."""
    return powers(root_of_unity(n), n)


def powers(base: Element, count: int) -> Vector:
    """(1, base, ..., base^(count-1))."""
    return np.multiply.accumulate(F([1] + [int(base)] * (count - 1)))


@dataclass(frozen=True)
class Claim:
    """Round 2: the sum over H of sum_c l_c v_c + x u is ``target``. Values on H, row by row: v is K x n, u is n."""

    v: Vector
    u: Vector
    target: Element


def claim(instance: Instance, beta: Element) -> Claim:
    """Round 2, the Claim of beta: row i of the system has weight beta^i, hidden rows beta^R / (beta - omega^i)."""
    system, geometry = instance.system, instance.geometry
    weight = [int(power) for power in powers(beta, len(system.rows) + 1)]
    positions, variables = [0] * system.positions, [0] * len(system.variables)
    for beta_i, row in zip(weight, system.rows, strict=False):
        for j, f in row.positions.items():
            positions[j] += f * beta_i
        for k, a in row.variables.items():
            variables[k] += a * beta_i
    words = [0] * (geometry.columns * geometry.words_per_column)
    for total, numbers in zip(variables, geometry.words, strict=True):
        for t, q in enumerate(numbers):
            words[q] = total << (geometry.word_bits * t)
    # Limb k of word j of a column lies in row j + k S: eight stretches of S rows, the k-th scaled by 2^(w k).
    limb_weights = F([2 ** (geometry.w * k) for k in range(LIMBS)])
    by_column = elements_of(words).reshape(geometry.columns, geometry.words_per_column)
    v = F([np.outer(limb_weights, column).reshape(geometry.n) for column in by_column])

    hidden = F(weight[len(system.rows)])
    gaps = beta - domain(geometry.n)
    if np.any(gaps == 0):
        raise ProofRejected("a degenerate challenge: beta in H")
    u = F.Zeros(geometry.n)
    u[: system.positions] = elements_of(positions)
    u[system.positions :] = hidden / gaps[system.positions :]
    target = galois.Poly(elements_of(instance.constants)[::-1], field=F)(beta)
    return Claim(v, u, target)
