"""Every intermediate value of a verification, by the reference verifier: for whoever writes a third one.

    python -m scripts.intermediate --statement FILE --snapshot FILE --proof FILE

From the project's root. Names are those of docs/SPEC.md, which prints this for the files of docs/FILES.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.documents.statement import statement_from_bytes
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import Statement
from zkmargin.prover.documents import parse_proof
from zkmargin.verifier.reference import bls
from zkmargin.verifier.reference.curve import Element, G1Point, P, encode_scalar
from zkmargin.verifier.reference.linearisation import coefficients, evaluate_public, lagrange
from zkmargin.verifier.reference.proof_encoding import decode
from zkmargin.verifier.reference.rounds import claim, public_transcript, replay
from zkmargin.verifier.reference.srs import key
from zkmargin.verifier.reference.systems import system_digest
from zkmargin.verifier.reference.verification import equation, instance_of


def encode_g1(point: G1Point) -> str:
    """The compressed form of a point that is not neutral."""
    x, y = (int(coordinate) for coordinate in bls.normalize(point))
    return (x + (1 << 383) + ((1 << 381) if y > (P - 1) // 2 else 0)).to_bytes(48, "big").hex()


def values(statement: Statement, snapshot: Snapshot, raw: bytes) -> Iterator[tuple[str, str]]:
    """(name, lower-case hex) in the order in which a verifier meets them."""

    def scalar(value: Element) -> str:
        return encode_scalar(value).hex()

    instance = instance_of(statement, snapshot)
    geometry = instance.geometry
    proof = decode(raw, geometry)
    yield "system digest", system_digest(instance.system).hex()
    yield "SHA-256 after 7", public_transcript(instance, key().digest).digest().hex()
    c = replay(instance, proof, key().digest)
    for name in ("gamma", "beta", "eta", "alpha", "zeta", "nu", "mu"):
        yield name, scalar(getattr(c, name))
    linear = claim(instance, c.beta)
    yield "target", scalar(linear.target)
    yield "L_0(zeta)", scalar(lagrange(geometry.n, c.zeta)[0])
    public = evaluate_public(geometry.n, linear, c.zeta)
    for i, value in enumerate(public.v):
        yield f"v_{i}(zeta)", scalar(value)
    yield "u(zeta)", scalar(public.u)
    yield "t(zeta)", scalar(public.t)
    table = coefficients(instance, proof, linear, c)
    for name in ("x", "m", "h_T"):
        yield f"on {name}", scalar(table[name])
    for i in range(geometry.columns):
        yield f"on h_{i}", scalar(table[f"h_{i}"])
    for name in ("acc", "q"):
        yield f"on {name}", scalar(table[name])
    yield "constant", scalar(table["constant"])
    left, right = equation(instance, proof, c)
    yield "A", encode_g1(left)
    yield "W + mu W'", encode_g1(right)


def main() -> None:
    """Print them."""
    parser = argparse.ArgumentParser(description="intermediate values of a verification")
    for name in ("statement", "snapshot", "proof"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    snapshot = snapshot_from_bytes(args.snapshot.read_bytes())
    statement = statement_from_bytes(args.statement.read_bytes())
    for name, value in values(statement, snapshot, parse_proof(args.proof.read_bytes(), statement)):
        print(f"    {name:<17} {value}")


if __name__ == "__main__":
    main()
