"""Whether the points of the SRS are what they should be, by pairings: for who installs it, not for verification."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from operator import mul, sub

from py_arkworks_bls12381 import G1Point, G2Point

from zkmargin.circuits.errors import CorruptData
from zkmargin.circuits.layout import DOMAINS
from zkmargin.circuits.system import FIELD_ORDER
from zkmargin.verifier.curve import msm, pairing_product_is_one
from zkmargin.verifier.field import ONE, batch_inverse, domain, power, powers, scalar
from zkmargin.verifier.srs import G2_SIZE, SRS_SIZE, Srs


def _check(name: str, ok: bool) -> str:
    if not ok:
        raise CorruptData("does not hold", field=name)
    return name


def check_structure(srs: Srs) -> Iterator[str]:
    """Check the SRS with pairings and random linear combinations; yields the name of each check that held.

    Combinations use powers of one random s, so a wrong SRS passes with probability at most 4096 / r for each check.
    Raises ``CorruptData`` naming the first check that fails.
    """
    g1, g2 = srs.powers_g1, srs.powers_g2
    yield _check("sizes of both files", (len(g1), len(g2)) == (SRS_SIZE, G2_SIZE))
    yield _check("generators are the standard ones", g1[0] == G1Point() and g2[0] == G2Point())
    yield _check("tau is neither 0 nor 1", g1[1] not in (G1Point.identity(), g1[0]))
    yield _check("every G1 power is in the subgroup", all(p.is_in_subgroup() for p in g1))
    yield _check("every G2 power is in the subgroup", all(p.is_in_subgroup() for p in g2))
    s = scalar(secrets.randbelow(FIELD_ORDER - 1) + 1)
    weights = powers(s, SRS_SIZE - 1)
    shifted, plain = msm(g1[1:], weights), msm(g1[:-1], weights)
    yield _check("consecutive G1 powers differ by tau", pairing_product_is_one([shifted, -plain], [g2[0], g2[1]]))
    weights2 = powers(s, G2_SIZE - 1)
    combine: Callable[[list[G2Point]], G2Point] = lambda points: G2Point.multiexp_unchecked(points, weights2)  # noqa: E731
    shifted2, plain2 = combine(g2[1:]), combine(g2[:-1])
    yield _check(
        "consecutive G2 powers differ by the same tau",
        pairing_product_is_one([g1[0], -g1[1]], [shifted2, plain2]),
    )
    for n in DOMAINS:
        basis = srs.lagrange(n)
        # p(X) = sum_k s**k X**k has p(omega**i) = (s**n - 1) / (s omega**i - 1)
        inverses = batch_inverse(list(map(sub, map(mul, [s] * n, domain(n)), [ONE] * n)))
        values = list(map(mul, inverses, [power(s, n) - ONE] * n))
        yield _check(f"Lagrange basis {n} matches the powers", msm(basis, values) == msm(g1[:n], powers(s, n)))
