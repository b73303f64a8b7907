"""The verifier's side of each round: absorb the prover's message, draw the challenge.

Every challenge has a type of its own, so that none passes for another. The prover calls ``round_k`` on the messages
that it makes, the verifier through :func:`replay` on those of the proof: the two cannot drift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

from py_arkworks_bls12381 import Scalar

from zkmargin.verifier.argument.instance import Instance
from zkmargin.verifier.argument.v1.messages import Columns, Evaluations, Openings, Proof, Quotient, Sums
from zkmargin.verifier.transcript import Transcript

PROTOCOL = b"zkmargin/argument/1"

#: Where the lookup's fractions are evaluated.
Gamma = NewType("Gamma", Scalar)
#: Weighs the rows of the linear system.
Beta = NewType("Beta", Scalar)
#: Joins lookup and linear claim in one running sum.
Eta = NewType("Eta", Scalar)
#: Joins the constraints.
Alpha = NewType("Alpha", Scalar)
#: Where the constraints are checked.
Zeta = NewType("Zeta", Scalar)
#: Joins what is opened at zeta.
Nu = NewType("Nu", Scalar)
#: Joins the two points of opening.
Mu = NewType("Mu", Scalar)


@dataclass(frozen=True)
class ColumnChallenges:
    """The three challenges of round 1."""

    gamma: Gamma
    beta: Beta
    eta: Eta


@dataclass(frozen=True)
class Challenges(ColumnChallenges):
    """All challenges in the order of their rounds."""

    alpha: Alpha
    zeta: Zeta
    nu: Nu
    mu: Mu


def begin(instance: Instance, srs_digest: bytes) -> Transcript:
    """The transcript before round 1."""
    return instance.transcript(PROTOCOL, srs_digest)


def round_1(t: Transcript, message: Columns) -> ColumnChallenges:
    """Round 1, columns: gamma, beta and eta."""
    t.absorb_points(b"columns", message.limbs)
    t.absorb_point(b"multiplicities", message.multiplicities)
    gamma, beta, eta = t.challenge(b"gamma"), t.challenge(b"beta"), t.challenge(b"eta")
    return ColumnChallenges(Gamma(gamma), Beta(beta), Eta(eta))


def round_2(t: Transcript, message: Sums) -> Alpha:
    """Round 2, sums: alpha."""
    t.absorb_point(b"table-helper", message.table_helper)
    t.absorb_points(b"helpers", message.helpers)
    t.absorb_point(b"accumulator", message.accumulator)
    return Alpha(t.challenge(b"alpha"))


def round_3(t: Transcript, message: Quotient) -> Zeta:
    """Round 3, quotient: zeta."""
    t.absorb_point(b"quotient", message.quotient)
    return Zeta(t.challenge(b"zeta"))


def round_4(t: Transcript, message: Evaluations) -> Nu:
    """Round 4, evaluations: nu."""
    t.absorb_scalars(b"evaluations", message.limbs)
    t.absorb_scalars(b"accumulator-next", [message.accumulator_next])
    return Nu(t.challenge(b"nu"))


def round_5(t: Transcript, message: Openings) -> Mu:
    """Round 5, openings: mu."""
    t.absorb_point(b"opening", message.opening)
    t.absorb_point(b"opening-next", message.opening_next)
    return Mu(t.challenge(b"mu"))


def replay(instance: Instance, proof: Proof, srs_digest: bytes) -> Challenges:
    """All challenges of a proof, by running the rounds on its messages."""
    t = begin(instance, srs_digest)
    first = round_1(t, proof.columns)
    alpha = round_2(t, proof.sums)
    zeta = round_3(t, proof.quotient)
    nu = round_4(t, proof.evaluations)
    mu = round_5(t, proof.openings)
    return Challenges(first.gamma, first.beta, first.eta, alpha, zeta, nu, mu)
