"""SPEC.md, "Verification": bind, decode, replay, one pairing equation."""

from __future__ import annotations

from zkmargin.circuits.errors import MalformedInput, ProofRejected
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import BoundStatement, Statement, bind
from zkmargin.verifier.reference import bls, systems
from zkmargin.verifier.reference.curve import F, G1Point, combine, decode_g1, root_of_unity
from zkmargin.verifier.reference.digests import digest
from zkmargin.verifier.reference.linearisation import coefficients, refuse_degenerate, terms
from zkmargin.verifier.reference.proof_encoding import Proof, check_header, decode
from zkmargin.verifier.reference.rounds import Challenges, Instance, claim, replay
from zkmargin.verifier.reference.srs import Key, key
from zkmargin.verifier.reference.systems import Geometry


def verify(statement: Statement, snapshot: Snapshot, proof: bytes, *, now: int | None = None) -> None:
    """Verification: returns nothing, raises the typed error of the first step that fails."""
    check_header(proof)
    geometry = geometry_of(bind(statement, snapshot))
    if now is not None:
        statement.check_time(snapshot, now)
    decoded = decode(proof, geometry)
    instance = instance_of(statement, snapshot)
    verifier_key = key()
    challenges = replay(instance, decoded, verifier_key.digest)
    refuse_degenerate(geometry.n, challenges)
    left, right = equation(instance, decoded, challenges)
    if not equal_pairings(left, right, verifier_key):
        raise ProofRejected("the opening equation does not hold", field="proof")


def geometry_of(bound: BoundStatement) -> Geometry:
    """Verification, step 2: (n, K) of the compiled system, whose ties and bounds are checked here once more."""
    system = bound.program.system
    geometry = systems.fit(system, bound.statement.domain)
    systems.check_ties(system)
    systems.check_bounds(system, geometry)
    return geometry


def instance_of(statement: Statement, snapshot: Snapshot) -> Instance:
    """Verification, steps 2 and 4: the compiled system, bound to delta and amount, and the decoded commitment."""
    bound = bind(statement, snapshot)
    system = bound.program.system
    return Instance(
        geometry_of(bound),
        system,
        systems.constants(system, bound.delta, bound.amount),
        digest(dict(statement.tree), statement.tree["schema"]),
        statement.commitment,
        decode_g1(statement.commitment, MalformedInput, "statement.commitment"),
    )


def equation(instance: Instance, proof: Proof, c: Challenges) -> tuple[G1Point, G1Point]:
    """Verification, step 6: A and W + mu W'."""
    coefficient = coefficients(instance, proof, claim(instance, c.beta), c)
    constant = coefficient["constant"]
    sums = terms(instance, proof, coefficient)
    for i, (column, value) in enumerate(zip(proof.columns, proof.evaluations, strict=True)):
        weight = c.nu ** (i + 1)
        sums.append((weight, column))
        constant = constant - weight * value
    omega = root_of_unity(instance.geometry.n)
    sums += [(c.zeta, proof.opening), (c.mu, proof.accumulator), (c.mu * omega * c.zeta, proof.opening_next)]
    constant = constant - c.mu * proof.accumulator_next
    sums.append((constant, (bls.G1[0], bls.G1[1], bls.G1[2])))
    return combine(sums), combine([(F(1), proof.opening), (c.mu, proof.opening_next)])


def equal_pairings(a: G1Point, b: G1Point, verifier_key: Key) -> bool:
    """e(A, [1]_2) = e(B, [tau]_2), as e(A, [1]_2) e(-B, [tau]_2) = 1 with one final exponentiation."""
    left = bls.pairing(bls.G2, a, final_exponentiate=False)
    right = bls.pairing(verifier_key.tau_g2, bls.neg(b), final_exponentiate=False)
    return bool(bls.final_exponentiate(left * right) == bls.FQ12.one())
