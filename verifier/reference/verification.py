"""SPEC.md, "Verification": bind, decode, replay, one pairing equation."""

from __future__ import annotations

from py_ecc import optimized_bls12_381 as bls

from circuits.errors import MalformedInput, ProofRejected
from circuits.snapshot import Snapshot
from circuits.statement import Statement, bind

from . import systems
from .curve import F, G1Point, combine, decode_g1, root_of_unity
from .digests import digest
from .linearisation import linearise, refuse_degenerate
from .proof_encoding import Proof, check_header, decode
from .rounds import Challenges, Instance, claim, replay
from .srs import Key, key


def verify(statement: Statement, snapshot: Snapshot, proof: bytes, *, now: int | None = None) -> None:
    """Verification: returns nothing, raises the typed error of the first check that fails."""
    check_header(proof)
    bound = bind(statement, snapshot)
    if now is not None:
        statement.check_time(snapshot, now)
    system = bound.program.system
    geometry = systems.fit(system, statement.domain)
    systems.check_ties(system)
    systems.check_bounds(system, geometry)
    decoded = decode(proof, geometry)
    commitment = decode_g1(statement.commitment, MalformedInput, "statement.commitment")
    instance = Instance(
        geometry,
        system,
        systems.constants(system, bound.delta, bound.amount),
        digest(dict(statement.tree), "zkmargin/statement/1"),
        statement.commitment,
    )
    verifier_key = key()
    challenges = replay(instance, decoded, verifier_key.digest)
    refuse_degenerate(geometry.n, challenges)
    left, right = equation(instance, commitment, decoded, challenges)
    if not equal_pairings(left, right, verifier_key):
        raise ProofRejected("the opening equation does not hold", field="proof")


def equation(instance: Instance, commitment: G1Point, proof: Proof, c: Challenges) -> tuple[G1Point, G1Point]:
    """Verification, step 4: A and W + mu W'."""
    linear = linearise(instance, commitment, proof, claim(instance, c.beta), c)
    omega = root_of_unity(instance.geometry.n)
    terms = list(linear.terms)
    constant = linear.constant
    for i, (column, value) in enumerate(zip(proof.columns, proof.evaluations, strict=True)):
        weight = c.nu ** (i + 1)
        terms.append((weight, column))
        constant = constant - weight * value
    terms.append((c.zeta, proof.opening))
    terms.append((c.mu, proof.accumulator))
    terms.append((c.mu * omega * c.zeta, proof.opening_next))
    constant = constant - c.mu * proof.accumulator_next
    generator = (bls.G1[0], bls.G1[1], bls.G1[2])
    terms.append((constant, generator))
    return combine(terms), combine([(F(1), proof.opening), (c.mu, proof.opening_next)])


def equal_pairings(a: G1Point, b: G1Point, verifier_key: Key) -> bool:
    """e(A, [1]_2) = e(B, [tau]_2), as e(A, [1]_2) e(-B, [tau]_2) = 1 with one final exponentiation."""
    left = bls.pairing(bls.G2, a, final_exponentiate=False)
    right = bls.pairing(verifier_key.tau_g2, bls.neg(b), final_exponentiate=False)
    return bool(bls.final_exponentiate(left * right) == bls.FQ12.one())
