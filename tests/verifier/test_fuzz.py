"""Fuzzing in short: the committed corpus, and seeded mutations of it. `make fuzz` is the long form."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz import targets
from zkmargin.circuits.errors import MalformedInput, ZkMarginError

#: A sealed file costs a key derivation by scrypt, a snapshot its compilation at three levels.
EXAMPLES = {"sealed": 10, "snapshot": 40}
#: What each target accepts of its corpus at least; the others refuse every input, by design of the target.
REFUSING = {"statement"}


@pytest.mark.parametrize("name", targets.TARGETS)
def test_the_corpus_gives_typed_errors_only(name: str) -> None:
    """And something in it is accepted, so that mutations start from what gets deep."""
    accepted = [targets.run(name, data) for data in targets.corpus(name)]
    assert accepted
    assert any(accepted) or name in REFUSING


def test_every_corpus_has_its_target() -> None:
    assert {path.name for path in targets.CORPUS.iterdir()} == set(targets.TARGETS)


@pytest.mark.slow
@pytest.mark.parametrize("name", targets.TARGETS)
def test_mutations_of_the_corpus_give_typed_errors_only(name: str) -> None:
    pool = targets.corpus(name)

    @settings(max_examples=EXAMPLES.get(name, 120))
    @given(st.sampled_from(pool), st.integers(0, 2**64 - 1), st.booleans())
    def check(data: bytes, seed: int, structured: bool) -> None:
        rng = random.Random(seed)
        for _ in range(rng.randint(1, 3)):
            data = (targets.mutate_tree if structured else targets.mutate_bytes)(data, rng)
        targets.run(name, data)

    check()


@pytest.mark.parametrize("name", targets.TARGETS)
def test_arbitrary_bytes_give_typed_errors_only(name: str) -> None:
    @settings(max_examples=30)
    @given(st.binary(max_size=200))
    def check(data: bytes) -> None:
        targets.run(name, data)

    check()


def test_control_anything_but_a_typed_error_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(_: bytes) -> None:
        raise KeyError("not ours")

    monkeypatch.setitem(targets.TARGETS, "json", fault)
    with pytest.raises(KeyError):
        targets.run("json", b"{}")


def test_control_mutations_reach_behind_the_parser() -> None:
    """A good share of the mutated snapshots is accepted, and refusals name fields deep in the document."""
    rng = random.Random(1)
    accepted, fields = 0, set()
    for _ in range(150):
        data = targets.mutate_tree(rng.choice(targets.corpus("snapshot")), rng)
        try:
            targets.fuzz_snapshot(data)
            accepted += 1
        except MalformedInput as err:
            fields.add(str(err.field))
        except ZkMarginError:
            pass
    assert accepted
    assert any(field.startswith("snapshot.rule.parameters.") for field in fields)
    assert len(fields) > 20
