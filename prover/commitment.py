"""Commitments to position vectors and columns, in the Lagrange basis, and the opening that its holder keeps.

commit(x) = [x(tau) + Z(tau) b(tau)]_1 with x(X) interpolating x on H and b of two fresh uniform coefficients.
Additively homomorphic: a trade adds a commitment to its delta. Every new epoch needs fresh blinding, or the
difference of two commitments reveals a small trade to a brute-force search.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache

from py_arkworks_bls12381 import G1Point, Scalar

from zkmargin.circuits.errors import InternalError, MalformedInput
from zkmargin.circuits.system import FIELD_ORDER
from zkmargin.circuits.units import MAX_LOTS
from zkmargin.verifier.curve import encode_g1, msm
from zkmargin.verifier.field import scalar, scalars
from zkmargin.verifier.srs import Srs, ethereum

#: Blinding coefficients of an account commitment. One hides the commitment; one more is spare, since nothing opens x.
POSITION_BLINDING = 2
#: Two cores are what a holder's machine surely has; the curve library releases the interpreter lock.
WORKERS = 2

#: Long enough for a worker to take the interpreter lock and reach the curve library, which releases it. Otherwise the
#: caller's arithmetic keeps the lock for the interpreter's switch interval of 5 ms while a core idles.
HANDOVER_SECONDS = 0.0001

Randomness = Callable[[int], list[Scalar]]


def fresh(count: int) -> list[Scalar]:
    """``count`` uniform scalars from the operating system's generator."""
    return [scalar(secrets.randbelow(FIELD_ORDER)) for _ in range(count)]


@lru_cache(maxsize=1)
def workers() -> ThreadPoolExecutor:
    """The threads on which multi-scalar multiplications run."""
    return ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="zkmargin-msm")


@dataclass(frozen=True)
class CommitmentKey:
    """The prover's part of the SRS for one domain size."""

    srs: Srs
    n: int
    powers: list[G1Point] = field(repr=False)
    lagrange: list[G1Point] = field(repr=False)

    def blinding_base(self, count: int) -> list[G1Point]:
        """[Z(tau) tau**k]_1 for k < count."""
        return [self.powers[self.n + k] - self.powers[k] for k in range(count)]

    def commit_values(self, values: Sequence[Scalar], blinding: Sequence[Scalar]) -> G1Point:
        """Commit to values on H plus blinding.

        The most frequent value costs one multiplication, since the Lagrange basis sums to [1]: columns are mostly
        zero, and helpers mostly 1/gamma. How long this takes depends on the values; see docs/SPEC.md on timing.
        """
        hiding = msm(self.blinding_base(len(blinding)), blinding)
        common, _ = Counter(values).most_common(1)[0]
        rest = [(p, v - common) for p, v in zip(self.lagrange, values, strict=True) if v != common]
        points, factors = [self.powers[0], *(p for p, _ in rest)], [common, *(v for _, v in rest)]
        return hiding + msm(points, factors)

    def commit_coefficients(self, coefficients: Sequence[Scalar]) -> G1Point:
        """Commit to a polynomial by its coefficients."""
        if len(coefficients) > len(self.powers):
            raise InternalError(f"degree {len(coefficients) - 1} exceeds the SRS")
        return msm(self.powers[: len(coefficients)], coefficients)

    def commit_coefficients_split(self, coefficients: Sequence[Scalar]) -> G1Point:
        """:meth:`commit_coefficients`, half on each worker."""
        if len(coefficients) > len(self.powers):
            raise InternalError(f"degree {len(coefficients) - 1} exceeds the SRS")
        half = len(coefficients) // 2
        low = workers().submit(msm, self.powers[:half], coefficients[:half])
        high = workers().submit(msm, self.powers[half : len(coefficients)], coefficients[half:])
        return low.result() + high.result()

    def commit_values_later(self, values: Sequence[Scalar], blinding: Sequence[Scalar]) -> Future[G1Point]:
        """:meth:`commit_values` on a worker."""
        future = workers().submit(self.commit_values, values, blinding)
        time.sleep(HANDOVER_SECONDS)
        return future

    def commit_coefficients_later(self, coefficients: Sequence[Scalar]) -> Future[G1Point]:
        """:meth:`commit_coefficients` on a worker."""
        return workers().submit(self.commit_coefficients, coefficients)


@lru_cache(maxsize=8)
def commitment_key(n: int, srs: Srs | None = None) -> CommitmentKey:
    """The commitment key of a domain size on the shipped SRS (or on ``srs``)."""
    chosen = srs or ethereum()
    return CommitmentKey(chosen, n, chosen.powers_g1, chosen.lagrange(n))


@dataclass(frozen=True)
class Opening:
    """Everything that opens an account commitment. Secret: its repr shows only the domain."""

    domain: int
    lots: tuple[int, ...] = field(repr=False)
    blinding: tuple[Scalar, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.lots) > self.domain:
            raise MalformedInput("more positions than rows", field="opening.lots")
        if any(abs(lots) > MAX_LOTS for lots in self.lots):
            raise MalformedInput("position of 2^63 lots or more", field="opening.lots")

    def commitment(self, key: CommitmentKey | None = None) -> bytes:
        """The 48-byte commitment that this opens."""
        return encode_g1(self.commitment_point(key))

    def commitment_point(self, key: CommitmentKey | None = None) -> G1Point:
        """The commitment as a point. Short positions go on negated points, so that they cost what long ones do."""
        base = key or commitment_key(self.domain)
        held = [(p, lots) for p, lots in zip(base.lagrange, self.lots, strict=False) if lots]
        points = [p if lots > 0 else -p for p, lots in held]
        hiding = msm(base.blinding_base(len(self.blinding)), self.blinding)
        return hiding + msm(points, scalars(abs(lots) for _, lots in held)) if held else hiding

    def values(self) -> list[Scalar]:
        """x on H: positions, then zeros."""
        return scalars(self.lots) + [scalar(0)] * (self.domain - len(self.lots))


def commit(lots: Sequence[int], domain: int, *, randomness: Randomness = fresh) -> tuple[bytes, Opening]:
    """Commit to a position vector in lots; returns the 48-byte commitment and its opening, with fresh blinding.

    Raises ``MalformedInput`` for a position of 2**63 lots or more, or more positions than rows.
    """
    opening = Opening(domain, tuple(lots), tuple(randomness(POSITION_BLINDING)))
    return opening.commitment(), opening


def sum_openings(openings: Sequence[Opening]) -> Opening:
    """The opening of the sum of commitments: a hub's net position over its accounts, or several accounts of one holder.

    Raises ``MalformedInput`` when domains or registries differ, or a sum is a position of 2**63 lots or more.
    """
    first = openings[0]
    if any(
        (o.domain, len(o.lots), len(o.blinding)) != (first.domain, len(first.lots), len(first.blinding))
        for o in openings
    ):
        raise MalformedInput("openings of different domains or registries do not add", field="opening")
    lots = tuple(sum(column) for column in zip(*(o.lots for o in openings), strict=True))
    blinding = tuple(sum(column, scalar(0)) for column in zip(*(o.blinding for o in openings), strict=True))
    return Opening(first.domain, lots, blinding)
