"""What an account comes to under a rule: the slack of every inequality, net margins, the best elections.

Everything here takes secret positions and is for their holder.
"""

from __future__ import annotations

from collections.abc import Sequence

from zkmargin.circuits.compiler import MarginRule
from zkmargin.prover import elections
from zkmargin.prover.evaluation import evaluate


def best_choice(rule: MarginRule, z: Sequence[int], amount: int = 0) -> dict[str, str]:
    """The elections with the largest net margin at positions ``z`` and an amount (quote quanta), of those that meet
    every constraint; of all, if none does (:func:`slacks` names what is not met).
    """
    limits = [(c.expression, c.amount_factor * amount) for c in rule.constraints]
    return elections.best_choice([expr for _, expr in rule.scenarios], limits, z, amount)


def slacks(rule: MarginRule, z: Sequence[int], amount: int) -> list[tuple[str, int]]:
    """Every inequality's slack by the plain evaluator, with the best elections: scenarios (fine quanta), then
    constraints (their own units).
    """
    if rule.elections():
        return slacks(rule.elect(best_choice(rule, z, amount)), z, amount)
    memo: dict[int, int] = {}
    rows = [
        *((name, expr, rule.amount_factor) for name, expr in rule.scenarios),
        *((c.name, c.expression, c.amount_factor) for c in rule.constraints),
    ]
    return [(name, evaluate(expr, z, memo, amount) - factor * amount) for name, expr, factor in rows]


def net_margin(rule: MarginRule, z: Sequence[int]) -> list[int]:
    """Net margin of every scenario in fine quanta, by the plain evaluator with the best elections."""
    return [slack for _, slack in slacks(rule, z, 0)[: len(rule.scenarios)]]


def provability_class(rule: MarginRule) -> str:
    """ "A" exact and leaking nothing, "B" exact with public elections, "C" conservative by at most ``overcharge``."""
    return "C" if rule.overcharge else "B" if rule.elections() else "A"
