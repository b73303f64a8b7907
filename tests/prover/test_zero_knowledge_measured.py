"""Zero knowledge, measured: what a proof shows of two very different portfolios, over many fresh blindings.

The challenges are held fixed, as if the verifier's were lucky. Otherwise hashing alone would make everything look
random, and a prover that forgot its blinding would pass. All randomness is seeded, so that a result repeats; the
thresholds are those of a chance of one in a million for each statistic, and the controls show that the same tests find
a prover that blinds less. Perfect hiding is shown by construction in test_zero_knowledge.py: this is the outside view.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import pytest
from py_arkworks_bls12381 import Scalar

from tests.prover.test_zero_knowledge import elements
from tests.support.toy import DOMAIN, Account, Bound, bind_all, portfolio, random_scalar, sample_snapshot
from zkmargin.circuits.system import FIELD_ORDER
from zkmargin.prover.commitment import Opening, commitment_key
from zkmargin.prover.prove import prove_instance
from zkmargin.verifier.argument.v1 import challenges
from zkmargin.verifier.argument.v1.challenges import Beta, ColumnChallenges, Eta, Gamma
from zkmargin.verifier.argument.v1.encoding import encode, point_names, scalar_names
from zkmargin.verifier.argument.v1.messages import Proof
from zkmargin.verifier.field import ZERO, scalar, scalars

pytestmark = pytest.mark.slow

SAMPLES = 80
#: One-sided normal quantile of one in a million.
QUANTILE = 4.753
PRIMES = (2, 3, 5, 7, 11, 13)
#: Bytes of a point that are looked at: the sign bit's, the highest free ones, and one in the middle and at the end.
PLACES = (0, 1, 2, 24, 47)
Blinding = Callable[[random.Random, int], list[Scalar]]
Sample = list[int]


def uniform(rng: random.Random, count: int) -> list[Scalar]:
    """What the honest prover draws, from a seeded generator."""
    return [random_scalar(rng) for _ in range(count)]


def nothing(_: random.Random, count: int) -> list[Scalar]:
    """No blinding."""
    return [ZERO] * count


def small(rng: random.Random, count: int) -> list[Scalar]:
    """Two bits instead of 255."""
    return scalars(rng.randrange(4) for _ in range(count))


def columns_open(rng: random.Random, count: int) -> list[Scalar]:
    """Everything is blinded but the columns, which alone draw two coefficients."""
    return nothing(rng, count) if count == 2 else uniform(rng, count)


@lru_cache
def owners() -> tuple[Account, Account]:
    """A rich long account and a poor short one, on one snapshot, under one statement but for the commitment."""
    snapshot = sample_snapshot(1)
    size = len(snapshot.instruments)
    first = portfolio(size, cash=90_000_000, seed=1)
    second = [20_000_000, 0, *(-lots for lots in portfolio(size, seed=2)[2:])]
    made = []
    for seed, lots in enumerate((first, second)):
        opening = Opening(DOMAIN, tuple(lots), tuple(uniform(random.Random(seed), 2)))
        made.append(Account(snapshot, opening, opening.commitment()))
    return made[0], made[1]


@lru_cache
def bound(owner: int) -> Bound:
    """The statement of one of them; both say the same but for the commitment."""
    account = owners()[owner]
    statement = account.statement(amount="1000")
    assert dict(statement.tree) | {"commitment": ""} == dict(owners()[0].statement(amount="1000").tree) | {
        "commitment": ""
    }
    return bind_all(account, statement)


@pytest.fixture(scope="module", autouse=True)
def _lucky() -> object:
    """Challenges that depend on nothing."""
    with pytest.MonkeyPatch.context() as patch:
        a, b, c, d, e, f = (scalar(10**9 + k) for k in range(6))
        patch.setattr(challenges, "round_1", lambda *_: ColumnChallenges(Gamma(a), Beta(b), Eta(c)))
        patch.setattr(challenges, "round_2", lambda *_: d)
        patch.setattr(challenges, "round_3", lambda *_: e)
        patch.setattr(challenges, "round_4", lambda *_: f)
        yield


def made(owner: int, blinding: Blinding, seed: int) -> Proof:
    """One proof. The account's own blinding is fresh too: it is a new epoch each time."""
    rng = random.Random(f"{owner} {seed}")
    start = bound(owner)
    opening = replace(owners()[owner].opening, blinding=tuple(blinding(rng, 2)))
    instance = replace(start.instance, commitment=opening.commitment_point())

    def draw(count: int) -> list[Scalar]:
        return blinding(rng, count)

    return prove_instance(instance, start.witness, opening, commitment_key(DOMAIN), randomness=draw)


@lru_cache
def samples(owner: int, blinding: Blinding, count: int) -> dict[str, list[bytes]]:
    """Every element of many proofs, by name."""
    out: dict[str, list[bytes]] = {}
    for seed in range(count):
        proof = made(owner, blinding, seed)
        names = [*point_names(proof.layout), *scalar_names(proof.layout)]
        for name, data in zip(names, elements(encode(proof)), strict=True):
            out.setdefault(name, []).append(data)
    return out


def largest_by_chance(freedom: int) -> float:
    """Wilson and Hilferty's approximation of the chi-square quantile."""
    share = 2 / (9 * freedom)
    return freedom * (1 - share + QUANTILE * math.sqrt(share)) ** 3


def differ(first: Sequence[int], second: Sequence[int]) -> bool:
    """Chi-square test of two samples of categories for one distribution."""
    a, b = Counter(first), Counter(second)
    kinds = set(a) | set(b)
    if len(kinds) < 2:
        return False
    share = len(first) / (len(first) + len(second))
    statistic = 0.0
    for kind in kinds:
        for count, part in ((a[kind], share), (b[kind], 1 - share)):
            expected = (a[kind] + b[kind]) * part
            statistic += (count - expected) ** 2 / expected
    return statistic > largest_by_chance(len(kinds) - 1)


def uneven(sample: Sequence[int], kinds: int) -> bool:
    """Chi-square test of one sample of categories 0 .. kinds - 1 for uniformity."""
    counts, expected = Counter(sample), len(sample) / kinds
    statistic = sum((counts[kind] - expected) ** 2 / expected for kind in range(kinds))
    return statistic > largest_by_chance(kinds - 1)


def apart(first: Sequence[int], second: Sequence[int]) -> bool:
    """Kolmogorov and Smirnov's test of two samples of numbers for one distribution."""
    merged = sorted([(v, 1 / len(first)) for v in first] + [(v, -1 / len(second)) for v in second])
    total, furthest = 0.0, 0.0
    for i, (value, step) in enumerate(merged):
        total += step
        if i + 1 == len(merged) or merged[i + 1][0] != value:
            furthest = max(furthest, abs(total))
    return furthest > math.sqrt(-math.log(1e-6 / 2) / 2) * math.sqrt(
        (len(first) + len(second)) / len(first) / len(second)
    )


def categories(data: Sequence[bytes]) -> dict[str, tuple[Sample, int]]:
    """Every way in which an element is sorted into a few kinds of (nearly) equal chance, and how many kinds."""
    numbers = [int.from_bytes(item, "big") for item in data]
    out = {f"mod {p}": ([v % p for v in numbers], p) for p in PRIMES}
    if len(data[0]) == 32:
        return out | {f"byte {i}": ([item[i] >> 4 for item in data], 16) for i in (8, 31)}
    out |= {f"byte {i}": ([item[i] & 15 for item in data], 16) for i in PLACES[1:]}
    return out | {"sign": ([item[0] >> 5 & 1 for item in data], 2)}


def told_apart(blinding: Blinding, count: int = SAMPLES) -> set[str]:
    """The elements in which the two portfolios show."""
    first, second = samples(0, blinding, count), samples(1, blinding, count)
    out = set()
    for name in first:
        a, b = categories(first[name]), categories(second[name])
        if any(differ(a[key][0], b[key][0]) for key in a):
            out.add(name)
        numbers = [[int.from_bytes(item, "big") for item in sample[name]] for sample in (first, second)]
        if len(first[name][0]) == 32 and apart(*numbers):
            out.add(name)
    return out


def not_uniform(blinding: Blinding, owner: int, count: int = SAMPLES) -> set[str]:
    """The elements that are not spread evenly, for one portfolio."""
    out = set()
    for name, data in samples(owner, blinding, count).items():
        if any(uneven(sample, kinds) for sample, kinds in categories(data).values()):
            out.add(name)
    return out


def test_control_both_accounts_prove_different_words() -> None:
    first, second = bound(0).witness, bound(1).witness
    assert first.columns != second.columns
    assert first.multiplicities != second.multiplicities
    assert bound(0).instance.layout == bound(1).instance.layout


def test_no_element_tells_two_portfolios_apart() -> None:
    assert told_apart(uniform) == set()


@pytest.mark.parametrize("owner", [0, 1])
def test_every_element_is_uniform_whatever_the_portfolio(owner: int) -> None:
    """Scalars modulo r, points by their encodings: no portfolio and no statement is seen in them."""
    assert not_uniform(uniform, owner) == set()


NAMES = {"proof.columns.0", "proof.multiplicities", "proof.table_helper", "proof.helpers.0", "proof.accumulator"}
NAMES |= {"proof.quotient", "proof.opening", "proof.opening_next", "proof.evaluations.0", "proof.accumulator_next"}


def test_control_without_blinding_every_element_tells() -> None:
    assert told_apart(nothing, 24) == NAMES
    assert not_uniform(nothing, 0, 24) == NAMES


def test_control_two_bits_of_blinding_tell() -> None:
    """A few dozen values where there should be 2^255: found in every element that is opened."""
    assert {"proof.evaluations.0", "proof.multiplicities"} <= told_apart(small, 64)


def test_control_one_unblinded_column_is_found_by_name() -> None:
    """The column's commitment and its opened value tell; what other blinding covers does not."""
    assert told_apart(columns_open, 40) == {"proof.columns.0", "proof.evaluations.0"}


def test_control_the_tests_see_a_bias_of_one_bit() -> None:
    rng = random.Random(1)
    fair = [rng.randrange(FIELD_ORDER) for _ in range(1000)]
    short = [rng.randrange(FIELD_ORDER // 2) for _ in range(1000)]
    even = [2 * rng.randrange(FIELD_ORDER // 2) for _ in range(1000)]
    assert apart(fair, short)
    assert not apart(fair, even)
    assert differ([v % 2 for v in fair], [v % 2 for v in even])
    assert uneven([v % 2 for v in even], 2)
    assert not uneven([v % 7 for v in fair], 7)


def test_fixed_blinding_and_another_portfolio_change_every_element() -> None:
    """Under equal challenges: so no element is a function of blinding and statement alone ..."""
    blindings = random.Random("shared")
    drawn = [uniform(blindings, 2), uniform(blindings, 2), *(uniform(blindings, 1) for _ in range(3))]
    drawn.append(uniform(blindings, 3))
    proofs = []
    for owner in (0, 1):
        values = iter(drawn)
        proofs.append(elements(encode(made(owner, lambda _, count, values=values: take(values, count), 0))))
    assert all(a != b for a, b in zip(*proofs, strict=True))


def take(values: object, count: int) -> list[Scalar]:
    """The next blinding of a fixed list."""
    drawn: list[Scalar] = next(values)  # type: ignore[call-overload]
    assert len(drawn) == count
    return drawn


@pytest.mark.parametrize("owner", [0, 1])
def test_a_fixed_portfolio_and_new_blinding_change_every_element(owner: int) -> None:
    """... and none of the portfolio alone: every blinding gives another value."""
    for name, data in samples(owner, uniform, SAMPLES).items():
        assert len(set(data)) == SAMPLES, name
