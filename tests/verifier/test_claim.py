"""The claim of a system, on systems of every shape: what each weight is, and which systems are refused."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.toy import random_scalar
from zkmargin.circuits.layout import Layout
from zkmargin.circuits.system import LinearSystem, Row, Variable
from zkmargin.verifier.argument.matrix import forget_matrices, matrix
from zkmargin.verifier.field import ZERO, power, scalar, scalars

LAYOUT = Layout(256, 2)
LIMITS = st.sampled_from([1, 100, 2**64 - 1, 2**64, 2**150])
ENTRY = st.integers(-(2**70), 2**70)


@st.composite
def systems(draw: st.DrawFn) -> LinearSystem:
    """Some positions, their ties, and rows with and without positions in any order."""
    d = draw(st.integers(1, 4))
    variables = tuple(Variable(f"v{k}", draw(LIMITS)) for k in range(d + draw(st.integers(0, 3))))
    rows = [Row(f"tie({j})", {j: 1}, {j: -1}) for j in range(d)]
    for i in range(draw(st.integers(0, 4))):
        positions = draw(st.dictionaries(st.integers(0, d - 1), ENTRY, max_size=d))
        of_words = draw(st.dictionaries(st.integers(0, len(variables) - 1), ENTRY, max_size=4))
        rows.append(Row(f"row({i})", positions, of_words))
    return LinearSystem(d, variables, tuple(rows))


@given(systems(), st.integers(0, 2**32))
def test_every_weight_is_the_documented_sum(system: LinearSystem, seed: int) -> None:
    rng = random.Random(seed)
    beta = random_scalar(rng)
    constants = [random_scalar(rng) for _ in system.rows]
    claim = matrix(system, LAYOUT).claim(beta, constants)
    assert claim.beta == beta
    words = []
    for k, variable in enumerate(system.variables):
        total = sum((power(beta, i) * scalar(row.variables.get(k, 0)) for i, row in enumerate(system.rows)), ZERO)
        words += [total * scalar(2 ** (64 * t)) for t in range(LAYOUT.words_of(variable.limit))]
    assert claim.words == words
    assert claim.positions == [
        sum((power(beta, i) * scalar(row.positions.get(j, 0)) for i, row in enumerate(system.rows)), ZERO)
        for j in range(system.positions)
    ]
    assert claim.hidden == power(beta, len(system.rows))
    assert claim.target == sum((power(beta, i) * c for i, c in enumerate(constants)), ZERO)


TIES = (Row("tie(0)", {0: 1}, {0: -1}), Row("tie(1)", {1: 1}, {1: -1}))
TIED = LinearSystem(2, (Variable("a", 1), Variable("b", 1)), TIES)


@pytest.mark.parametrize(
    ("row", "positions"),
    [(0, {}), (0, {0: 2}), (0, {0: -1}), (0, {1: 1}), (0, {0: 1, 1: 1}), (1, {0: 1}), (1, {}), (1, {1: 3})],
)
def test_a_system_without_its_ties_is_refused(row: int, positions: dict[int, int]) -> None:
    """Without a tie nothing bounds the position, and the bound check says nothing."""
    rows = list(TIES)
    rows[row] = replace(rows[row], positions=positions)
    with pytest.raises(ValueError, match=f"row {row} is not the tie of position {row}"):
        matrix(replace(TIED, rows=tuple(rows)), LAYOUT)


def test_equal_systems_share_a_matrix_and_others_do_not() -> None:
    twin = LinearSystem(2, (Variable("c", 1), Variable("d", 1)), TIES)
    other = LinearSystem(2, (Variable("a", 1), Variable("b", 2)), TIES)
    assert matrix(TIED, LAYOUT) is matrix(twin, LAYOUT)
    assert matrix(TIED, LAYOUT) is not matrix(other, LAYOUT)
    assert matrix(TIED, LAYOUT) is not matrix(TIED, Layout(512, 2))


def test_a_prepared_system_is_no_key_of_anything_else() -> None:
    from zkmargin.verifier.argument.matrix import _Key

    assert _Key(TIED) == _Key(replace(TIED))
    assert _Key(TIED) != TIED
    assert _Key(TIED) != _Key(replace(TIED, variables=TIED.variables[::-1], rows=TIED.rows[:1]))
    assert scalars([1]) != _Key(TIED)


def test_matrices_are_dropped_when_a_process_asks() -> None:
    kept = matrix(TIED, LAYOUT)
    assert matrix(TIED, LAYOUT) is kept
    forget_matrices()
    assert matrix(TIED, LAYOUT) is not kept
