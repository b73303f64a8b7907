"""Many proofs at once: bad ones are found and named, good ones pass, and weights leave nothing to cancel."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from types import SimpleNamespace

import pytest
from py_arkworks_bls12381 import G1Point

from tests.support.toy import NOW, sample_account, sample_proof
from zkmargin.circuits.errors import (
    MalformedInput,
    MalformedProof,
    ProofRejected,
    StaleStatement,
    StatementMismatch,
)
from zkmargin.verifier import batch as module
from zkmargin.verifier.batch import BATCH_WEIGHT_BITS, _batch_holds, verify_batch
from zkmargin.verifier.field import ONE, scalar
from zkmargin.verifier.kzg import Equation, holds
from zkmargin.verifier.srs import VerifierKey, ethereum
from zkmargin.verifier.verify import Item, prepare

COUNT = 7


@lru_cache
def good(count: int = COUNT) -> tuple[Item, ...]:
    """Different proofs of different statements, of different sizes."""
    out = []
    for i in range(count):
        account = sample_account(1 + i % 3)
        statement, proof = account.proof(amount=f"{i}.5")
        out.append(Item(statement, account.snapshot, proof, NOW))
    return tuple(out)


def spoiled(item: Item) -> Item:
    """A well-formed proof whose equation does not hold: the last scalar is one more."""
    last = int.from_bytes(item.proof[-32:], "big") + 1
    return replace(item, proof=item.proof[:-32] + last.to_bytes(32, "big"))


def test_empty_batch() -> None:
    assert verify_batch([]) == []


@pytest.mark.parametrize("count", [1, 2, 3, COUNT])
def test_all_good_proofs_pass(count: int) -> None:
    assert verify_batch(good()[:count]) == [None] * count


def test_the_same_proof_many_times_passes() -> None:
    assert verify_batch([good()[0]] * 5) == [None] * 5


@pytest.mark.parametrize("place", range(COUNT))
def test_one_bad_proof_is_found_in_any_place(place: int) -> None:
    items = list(good())
    items[place] = spoiled(items[place])
    results = verify_batch(items)
    assert [i for i, result in enumerate(results) if result is not None] == [place]
    found = results[place]
    assert isinstance(found, ProofRejected)
    assert found.field == f"proofs.{place}"


@pytest.mark.parametrize("places", [(0, 1), (0, COUNT - 1), (2, 3, 4), tuple(range(1, COUNT)), tuple(range(COUNT))])
def test_several_bad_proofs_are_all_found(places: Sequence[int]) -> None:
    items = [spoiled(item) if i in places else item for i, item in enumerate(good())]
    results = verify_batch(items)
    assert tuple(i for i, result in enumerate(results) if result is not None) == tuple(places)


def test_typed_errors_of_every_kind_are_placed_right() -> None:
    items = list(good())
    items[0] = replace(items[0], proof=items[0].proof[:-1])
    items[1] = replace(items[1], snapshot=sample_account(3).snapshot)
    items[2] = replace(items[2], now=NOW + 10**6)
    items[3] = spoiled(items[3])
    items[4] = replace(items[4], statement=replace(items[4].statement, commitment=bytes(48)))
    items[5] = replace(items[5], proof=b"")
    kinds = [type(result) for result in verify_batch(items)]
    expected = [
        MalformedProof,
        StatementMismatch,
        StaleStatement,
        ProofRejected,
        MalformedInput,
        MalformedProof,
    ]
    assert kinds == [*expected, type(None)]


def test_swapped_proofs_are_both_found() -> None:
    """Each proof is good, for the other's statement."""
    items = list(good())
    first, second = items[0], items[3]
    items[0], items[3] = replace(first, proof=second.proof), replace(second, proof=first.proof)
    assert [type(result) for result in verify_batch(items)] == [
        ProofRejected if i in (0, 3) else type(None) for i in range(COUNT)
    ]


def cancelling(key: VerifierKey) -> list[Equation]:
    """Two equations that are false by D and by -D: their plain sum is true."""
    first, second = (prepare(item, key) for item in good()[:2])
    fault = G1Point() * scalar(99)
    out = []
    for eq, point in ((first, fault), (second, -fault)):
        points, coefficients = [point, *eq.left_points], [ONE, *eq.left_coefficients]
        out.append(replace(eq, left_points=points, left_coefficients=coefficients))
    return out


def test_faults_that_cancel_in_a_plain_sum_are_refused_because_of_the_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = ethereum().key
    equations = cancelling(key)
    assert [holds(eq, key) for eq in equations] == [False, False]
    assert not _batch_holds(equations, key)
    with monkeypatch.context() as patch:
        patch.setattr(module, "secrets", SimpleNamespace(randbelow=lambda _: 41))
        assert _batch_holds(equations, key)
    assert not _batch_holds(equations, key)


def test_predictable_weights_would_let_two_false_proofs_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults D and -(rho_0/rho_1) D cancel under weights that are known beforehand, whatever they are."""
    key = ethereum().key
    foreseen = [2**100 + 7, 2**90 + 5]
    first, second = (prepare(item, key) for item in good()[:2])
    fault = G1Point() * scalar(99)
    ratio = scalar(foreseen[0] + 1) * scalar(foreseen[1] + 1).inverse()
    equations = [
        replace(eq, left_points=[point, *eq.left_points], left_coefficients=[ONE, *eq.left_coefficients])
        for eq, point in ((first, fault), (second, -(fault * ratio)))
    ]
    assert [holds(eq, key) for eq in equations] == [False, False]
    with monkeypatch.context() as patch:
        drawn = iter(foreseen)
        patch.setattr(module, "secrets", SimpleNamespace(randbelow=lambda _: next(drawn)))
        assert _batch_holds(equations, key)
    assert not _batch_holds(equations, key)


def test_weights_are_secret_fresh_and_drawn_after_all_proofs_are_fixed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[str] = []
    weights: list[int] = []
    real_prepare = module.prepare

    def spy_prepare(item: Item, key: VerifierKey) -> Equation:
        events.append("proof")
        return real_prepare(item, key)

    def spy_randbelow(bound: int) -> int:
        assert bound == (1 << BATCH_WEIGHT_BITS) - 1
        events.append("weight")
        weights.append(secrets.randbelow(bound))
        return weights[-1]

    monkeypatch.setattr(module, "prepare", spy_prepare)
    monkeypatch.setattr(module, "secrets", SimpleNamespace(randbelow=spy_randbelow))
    assert BATCH_WEIGHT_BITS == 128
    assert verify_batch(good()) == [None] * COUNT
    assert events == ["proof"] * COUNT + ["weight"] * COUNT
    assert len(set(weights)) == COUNT
    verify_batch(good())
    assert len(set(weights)) == 2 * COUNT


def test_bisection_draws_fresh_weights_for_every_group(monkeypatch: pytest.MonkeyPatch) -> None:
    weights: list[int] = []

    def spy_randbelow(bound: int) -> int:
        weights.append(secrets.randbelow(bound))
        return weights[-1]

    monkeypatch.setattr(module, "secrets", SimpleNamespace(randbelow=spy_randbelow))
    items = list(good())
    items[2] = spoiled(items[2])
    results = verify_batch(items)
    assert [i for i, result in enumerate(results) if result is not None] == [2]
    assert len(weights) > COUNT
    assert len(set(weights)) == len(weights)


def test_a_batch_and_single_verification_agree() -> None:
    """On the statement whose proof was made once for the whole suite too."""
    statement, proof = sample_proof(2)
    item = Item(statement, sample_account(2).snapshot, proof)
    assert verify_batch([item, spoiled(item)])[0] is None
    assert isinstance(verify_batch([item, spoiled(item)])[1], ProofRejected)
