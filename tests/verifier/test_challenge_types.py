"""Challenges and messages that stand in each other's place are errors of types, before anything runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mypy import api

from tests.support.places import ROOT

#: Right calls first, which is the control; every line below ``WRONG`` must be refused.
RIGHT = """
from zkmargin.prover import rounds
from zkmargin.verifier.argument.instance import Instance
from zkmargin.verifier.argument.v1 import challenges, messages
from zkmargin.verifier.argument.v1.challenges import Alpha, Beta, ColumnChallenges, Eta, Gamma, Nu, Zeta
from zkmargin.verifier.argument.v1.linearisation import linearise
from zkmargin.verifier.transcript import Transcript

def use(
    gamma: Gamma, beta: Beta, eta: Eta, alpha: Alpha, zeta: Zeta, nu: Nu, drawn: ColumnChallenges, instance: Instance,
    t: Transcript, columns: messages.Columns, sums: messages.Sums, said: messages.Evaluations,
    quotient: rounds.AfterQuotient, evaluations: rounds.AfterEvaluations,
) -> None:
    ColumnChallenges(gamma, beta, eta)
    linearise(instance, drawn, alpha, zeta, said)
    challenges.round_2(t, sums)
    rounds.round_4(quotient, challenges.round_3(t, rounds.round_3(rounds.round_2(
        rounds.round_1(quotient.sums.columns.start)[1], challenges.round_1(t, columns))[1], alpha)[0]))
    rounds.round_5(evaluations, nu)
"""
WRONG = [
    "ColumnChallenges(beta, gamma, eta)",
    "ColumnChallenges(gamma, beta, beta)",
    "ColumnChallenges(gamma, beta, gamma * beta)",
    "linearise(instance, drawn, zeta, alpha, said)",
    "rounds.round_3(quotient.sums, zeta)",
    "rounds.round_4(quotient, nu)",
    "rounds.round_5(evaluations, zeta)",
    "rounds.round_5(quotient, nu)",
    "challenges.round_1(t, sums)",
    "challenges.round_2(t, columns)",
    "challenges.round_3(t, quotient)",
]


def test_what_stands_in_the_place_of_another_does_not_type_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    snippet = tmp_path / "snippet.py"
    snippet.write_text(RIGHT + "".join(f"    {line}\n" for line in WRONG))
    out, err, _ = api.run(["--strict", "--config-file", "pyproject.toml", "--no-error-summary", str(snippet)])
    assert not err
    first = RIGHT.count("\n") + 1
    refused = [int(number) for number in re.findall(r"snippet\.py:(\d+): error: Argument \d", out)]
    assert sorted(set(refused)) == list(range(first, first + len(WRONG))), out
    assert out.count("error:") == len(refused), out
