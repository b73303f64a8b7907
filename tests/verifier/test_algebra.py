"""The algebra under the argument, each closed form against the slow and obvious computation."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from py_arkworks_bls12381 import G1Point, Scalar

from tests.support.toy import DOMAIN, bind_all, horner, lagrange_at, random_scalar, sample_account, sample_proof
from zkmargin.circuits.errors import ProofRejected
from zkmargin.circuits.layout import DOMAINS, LIMBS, Layout
from zkmargin.circuits.system import FIELD_ORDER, LinearSystem, Row, Variable
from zkmargin.prover import polynomial as poly
from zkmargin.prover.commitment import Opening, commit, commitment_key, fresh
from zkmargin.prover.rounds import column_weights
from zkmargin.prover.witness import limb_columns, residuals
from zkmargin.verifier.argument.claim import Claim, evaluate_public, lagrange_prefix, table_at, word_weights
from zkmargin.verifier.argument.instance import Instance
from zkmargin.verifier.argument.matrix import matrix
from zkmargin.verifier.argument.v1 import challenges
from zkmargin.verifier.argument.v1.challenges import Beta, ColumnChallenges, Eta, Gamma
from zkmargin.verifier.argument.v1.encoding import decode
from zkmargin.verifier.argument.v1.equation import equation
from zkmargin.verifier.curve import decode_g1, encode_g1, msm
from zkmargin.verifier.field import (
    ONE,
    ZERO,
    batch_inverse,
    decode_scalar,
    domain,
    encode_scalar,
    inner,
    integer,
    power,
    powers,
    scalar,
    scalars,
    vanishing,
)
from zkmargin.verifier.srs import ethereum

FIELD = st.integers(0, FIELD_ORDER - 1).map(scalar)
NONZERO = st.integers(1, FIELD_ORDER - 1).map(scalar)
POLYNOMIAL = st.lists(FIELD, max_size=40)
POINTS = st.integers(-(10**6), 10**6).map(lambda k: G1Point() * scalar(k))


@given(st.integers())
def test_scalars_are_integers_modulo_r(value: int) -> None:
    assert integer(scalar(value)) == value % FIELD_ORDER
    assert decode_scalar(encode_scalar(scalar(value)), field="x") == scalar(value)


@given(FIELD, st.integers(0, 200))
def test_powers(base: Scalar, exponent: int) -> None:
    expected = scalar(pow(integer(base), exponent, FIELD_ORDER))
    assert power(base, exponent) == expected
    assert powers(base, exponent + 1)[-1] == expected
    assert powers(base, exponent + 1, base)[-1] == expected * base


@given(st.lists(NONZERO, max_size=20), FIELD)
def test_batch_inverse(values: list[Scalar], scale: Scalar) -> None:
    inverses = batch_inverse(values, scale)
    assert len(inverses) == len(values)
    assert all(value * inverse == scale for value, inverse in zip(values, inverses, strict=True))


@given(st.lists(NONZERO, max_size=5), st.lists(NONZERO, max_size=5))
def test_batch_inverse_of_a_zero_anywhere_is_an_error(before: list[Scalar], after: list[Scalar]) -> None:
    with pytest.raises(ZeroDivisionError):
        batch_inverse([*before, ZERO, *after])


@pytest.mark.parametrize("n", DOMAINS)
def test_domain_is_the_group_of_nth_roots_of_unity(n: int) -> None:
    h = domain(n)
    assert len({integer(x) for x in h}) == len(h) == n
    assert (h[0], power(h[1], n), power(h[1], n // 2)) == (ONE, ONE, -ONE)
    assert all(vanishing(n, x).is_zero() for x in h)
    assert not vanishing(n, h[1] + ONE).is_zero()


@pytest.mark.parametrize("n", [8, 64, *DOMAINS])
def test_interpolate_against_naive_evaluation(n: int) -> None:
    rng = random.Random(n)
    values = [random_scalar(rng) for _ in range(n)]
    coefficients = poly.interpolate(values)
    assert len(coefficients) == n
    h = domain(n)
    for i in {0, 1, n // 2, n - 1, *(rng.randrange(n) for _ in range(12))}:
        assert horner(coefficients, h[i]) == values[i]
    point = random_scalar(rng)
    assert horner(coefficients, point) == inner(values, lagrange_at(n, point))


@given(POLYNOMIAL, FIELD)
def test_polynomials_survive_the_way_through_flint(coefficients: list[Scalar], point: Scalar) -> None:
    polynomial = poly.from_coefficients(coefficients)
    assert poly.evaluate(polynomial, point) == horner(coefficients, point)
    back = poly.to_scalars(polynomial)
    assert back == coefficients[: len(back)]
    assert all(value.is_zero() for value in coefficients[len(back) :])


@given(POLYNOMIAL, st.sampled_from([1, 2, 4, 8, 16]), FIELD)
def test_divide_by_vanishing(coefficients: list[Scalar], n: int, point: Scalar) -> None:
    """p = q Z + r with deg r < n, and q exact where Z divides p."""
    p = poly.from_coefficients(coefficients)
    q = poly.divide_by_vanishing(p, n)
    remainder = poly.evaluate(p, point) - poly.evaluate(q, point) * vanishing(n, point)
    folded = [sum(coefficients[k::n], ZERO) for k in range(n)]
    assert remainder == horner(folded, point)
    multiple = p.left_shift(n) - p
    assert poly.divide_by_vanishing(multiple, n) == p


@given(POLYNOMIAL, FIELD, FIELD)
def test_divide_by_root(coefficients: list[Scalar], root: Scalar, point: Scalar) -> None:
    p = poly.from_coefficients(coefficients)
    q = poly.divide_by_root(p, root)
    assert poly.evaluate(q, point) * (point - root) == poly.evaluate(p, point) - poly.evaluate(p, root)


@given(st.lists(FIELD, min_size=8, max_size=8), st.lists(FIELD, max_size=3), FIELD)
def test_blinding_and_rotation(values: list[Scalar], blinding: list[Scalar], point: Scalar) -> None:
    n, h = 8, domain(8)
    hidden = poly.blind(poly.from_values(values), n, blinding)
    assert [poly.evaluate(hidden, x) for x in h] == values
    bare = poly.evaluate(poly.from_values(values), point)
    assert poly.evaluate(hidden, point) == bare + vanishing(n, point) * horner(blinding, point)
    turned = poly.rotated(poly.interpolate(values), n, blinding)
    assert poly.evaluate(turned, point) == poly.evaluate(hidden, h[1] * point)


@pytest.mark.parametrize("n", DOMAINS)
@pytest.mark.parametrize("common", [0, 1, -5])
def test_commitment_by_values_is_commitment_by_coefficients(n: int, common: int) -> None:
    """On every domain, for columns that are mostly one value, and for columns that are not."""
    rng, key = random.Random(n + common), commitment_key(n)
    values = [scalar(common) if rng.random() < 0.9 else random_scalar(rng) for _ in range(n)]
    blinding = fresh(3)
    polynomial = poly.blind(poly.from_values(values), n, blinding)
    coefficients = poly.to_scalars(polynomial)
    expected = msm(key.powers[: len(coefficients)], coefficients)
    assert key.commit_values(values, blinding) == expected
    assert key.commit_coefficients(coefficients) == expected
    assert key.commit_coefficients_split(coefficients) == expected


LOTS = st.lists(st.integers(-(2**61), 2**61), min_size=3, max_size=3)


@given(LOTS, LOTS)
def test_commitments_are_additively_homomorphic(a: list[int], b: list[int]) -> None:
    """A trade adds a commitment to its delta; blindings add as well."""
    (first, one), (second, two) = commit(a, DOMAIN), commit(b, DOMAIN)
    summed = decode_g1(first, field="a") + decode_g1(second, field="b")
    blinding = tuple(x + y for x, y in zip(one.blinding, two.blinding, strict=True))
    opening = Opening(DOMAIN, tuple(x + y for x, y in zip(a, b, strict=True)), blinding)
    assert encode_g1(summed) == opening.commitment()
    assert opening.commitment() != replace(opening, lots=(*opening.lots[:2], opening.lots[2] + 1)).commitment()


@given(st.lists(st.tuples(POINTS, FIELD), max_size=6))
def test_msm_is_the_sum_of_products(terms: list[tuple[G1Point, Scalar]]) -> None:
    total = G1Point.identity()
    for point, factor in terms:
        total = total + point * factor
    assert msm([p for p, _ in terms], [f for _, f in terms]) == total


def test_msm_of_unequal_lengths_is_an_error() -> None:
    with pytest.raises(ValueError, match="one coefficient"):
        msm([G1Point()], [])


@pytest.mark.parametrize("n", DOMAINS)
def test_lagrange_prefix_and_table(n: int) -> None:
    zeta = random_scalar(random.Random(n))
    weights = lagrange_at(n, zeta)
    assert lagrange_prefix(n, n, zeta) == weights
    assert lagrange_prefix(n, 5, zeta) == weights[:5]
    assert table_at(n, zeta) == inner(scalars(range(n)), weights)
    assert [table_at(n, x) for x in domain(n)[:4]] == scalars(range(4))


@pytest.mark.parametrize("n", DOMAINS)
def test_word_weights_are_the_weighted_lagrange_values(n: int) -> None:
    """lambda_j = sum_k 2**(wk) L_(j + kS)(zeta)."""
    layout, zeta = Layout(n, 1), random_scalar(random.Random(n))
    weights, stride = lagrange_at(n, zeta), n // LIMBS
    expected = [sum((scalar(n**k) * weights[j + k * stride] for k in range(LIMBS)), ZERO) for j in range(stride)]
    assert word_weights(layout, zeta) == expected


@pytest.mark.parametrize("n", DOMAINS)
@pytest.mark.parametrize("count", [1, 2, 5, -1, 0])
def test_evaluate_positions_is_the_interpolated_position_vector(n: int, count: int) -> None:
    """With one, few, all but one, and all rows holding a position (0 and below count from the end)."""
    rng = random.Random(n)
    d = count if count > 0 else n + count
    positions = [random_scalar(rng) for _ in range(d)]
    beta, hidden, zeta = (random_scalar(rng) for _ in range(3))
    claim = Claim(beta, [], positions, hidden, ZERO)
    vector = claim.position_vector(n)
    assert vector[:d] == positions
    for i in range(d, n):
        assert vector[i] * (beta - domain(n)[i]) == hidden
    assert claim.evaluate_positions(n, zeta) == inner(vector, lagrange_at(n, zeta))


def small_system(rng: random.Random) -> LinearSystem:
    """Two positions, words of one, two and three words' length, dense and sparse rows."""
    variables = tuple(Variable(f"v{k}", limit) for k, limit in enumerate([10, 2**80, 2**200, 7, 2**63, 1]))
    rows = [Row("tie(0)", {0: 1}, {0: -1, 1: 1}), Row("tie(1)", {1: 1}, {3: -1})]
    for i in range(4):
        coefficients = {k: rng.randint(-99, 99) for k in range(6) if rng.random() < 0.6}
        rows.append(Row(f"r{i}", {j: rng.randint(-9, 9) for j in range(i % 3)}, coefficients, rng.randint(-9, 9), i))
    return LinearSystem(2, variables, tuple(rows))


@pytest.mark.parametrize("n", DOMAINS)
def test_the_claim_is_the_weighted_sum_of_all_rows(n: int) -> None:
    """<l, v> + <x, u> - c = sum_i beta**i residual_i + beta**R sum_(i >= d) x_i / (beta - omega**i)."""
    rng = random.Random(n)
    system = small_system(rng)
    layout = Layout(n, 1)
    values = [rng.randint(0, min(v.limit, 2**150)) for v in system.variables]
    x = [rng.randint(-(10**9), 10**9) for _ in range(2)]
    hidden_rows = {2: 5, 3: -1, n - 1: 77}
    constants = system.constants({}, 12)
    beta = random_scalar(rng)
    claim = matrix(system, layout).claim(beta, scalars(constants))
    instance = Instance(layout, system, scalars(constants), G1Point(), bytes(32))
    (column,) = limb_columns(values, system.limits, layout)
    positions = scalars([*x, *(hidden_rows.get(i, 0) for i in range(2, n))])
    left = inner(scalars(column), column_weights(instance, claim)[0])
    left = left + inner(positions, claim.position_vector(n)) - claim.target
    right = ZERO
    for i, residual in enumerate(residuals(system, x, values, 12)):
        right = right + power(beta, i) * scalar(residual)
    for i, value in hidden_rows.items():
        right = right + power(beta, len(system.rows)) * scalar(value) * (beta - domain(n)[i]).inverse()
    assert left == right


@pytest.mark.parametrize("size", [1, 2, 3])
def test_public_evaluations_are_the_interpolated_public_vectors(size: int) -> None:
    account, (statement, _) = sample_account(size), sample_proof(size)
    instance = bind_all(account, statement).instance
    rng = random.Random(size)
    beta, zeta = random_scalar(rng), random_scalar(rng)
    claim = matrix(instance.system, instance.layout).claim(beta, instance.constants)
    public, weights = evaluate_public(instance.layout, claim, zeta), lagrange_at(DOMAIN, zeta)
    assert list(public.columns) == [inner(v, weights) for v in column_weights(instance, claim)]
    assert public.positions == inner(claim.position_vector(DOMAIN), weights)
    assert public.table == inner(scalars(range(DOMAIN)), weights)


@given(st.lists(st.integers(0, 2**130 - 1), min_size=1, max_size=10), st.sampled_from(DOMAINS))
def test_limbs_are_the_digits_of_the_words(values: list[int], n: int) -> None:
    limits = [2**130 - 1] * len(values)
    layout = Layout(n, -(-len(values) * Layout(n, 1).words_of(limits[0]) // (n // LIMBS)))
    columns = limb_columns(values, limits, layout)
    assert [len(column) for column in columns] == [n] * layout.columns
    assert all(0 <= limb < n for column in columns for limb in column)
    per_value, stride = layout.words_of(limits[0]), layout.words_per_column

    def word(q: int) -> int:
        column, j = columns[q // stride], q % stride
        return sum(column[j + k * stride] * n**k for k in range(LIMBS))

    for v, value in enumerate(values):
        words = [word(v * per_value + t) for t in range(per_value)]
        assert sum(w << (layout.word_bits * t) for t, w in enumerate(words)) == value


H = domain(DOMAIN)


def with_beta(beta: Scalar) -> ColumnChallenges:
    """Round 1 with this beta."""
    return ColumnChallenges(Gamma(scalar(5)), Beta(beta), Eta(scalar(7)))


DEGENERATE: dict[str, tuple[str, Scalar | ColumnChallenges]] = {
    "zeta is 0": ("round_3", ZERO),
    "zeta is 1": ("round_3", ONE),
    "zeta is a row of a position": ("round_3", H[2]),
    "zeta is another row": ("round_3", H[200]),
    "beta is a row of a position": ("round_1", with_beta(H[2])),
    "beta is another row": ("round_1", with_beta(H[200])),
}


@pytest.mark.parametrize(("step", "challenge"), DEGENERATE.values(), ids=DEGENERATE)
def test_a_degenerate_challenge_is_a_typed_refusal(
    step: str, challenge: Scalar | ColumnChallenges, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, (statement, proof) = sample_account(1), sample_proof(1)
    instance = bind_all(account, statement).instance
    monkeypatch.setattr(challenges, step, lambda *_: challenge)
    with pytest.raises(ProofRejected):
        equation(instance, ethereum().key, decode(proof))
