"""The best elections for an account: which pieces a holder names (class B). Any are sound, these complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod

from zkmargin.circuits.election import Choice, children, elections, resolver
from zkmargin.circuits.expression import Election, Expression, Sum
from zkmargin.prover.evaluation import evaluate

#: Joint choices that are tried one by one, each an evaluation of the whole rule.
MAX_JOINT = 256


def _below(expr: Expression, memo: dict[int, frozenset[int]]) -> frozenset[int]:
    """Ids of the elections in an expression, itself included."""
    if id(expr) not in memo:
        inner = frozenset[int]().union(*(_below(child, memo) for _, child in children(expr)))
        memo[id(expr)] = inner | {id(expr)} if isinstance(expr, Election) else inner
    return memo[id(expr)]


def _weights(root: Expression, memo: dict[int, frozenset[int]]) -> tuple[dict[int, int], set[int]]:
    """How often a root simply adds each election (by id), and the elections that it has anywhere else."""
    added: dict[int, int] = {}
    other: set[int] = set()
    todo = [(root, 1)]
    while todo:
        expr, weight = todo.pop()
        if isinstance(expr, Sum):
            todo += [(term, weight * factor) for factor, term in expr.parts if factor]
        elif isinstance(expr, Election):
            added[id(expr)] = added.get(id(expr), 0) + weight
            other |= _below(expr, memo) - {id(expr)}
        else:
            other |= _below(expr, memo)
    return added, other


def _separate(
    found: Mapping[str, tuple[Election, ...]], roots: Sequence[Expression]
) -> dict[str, tuple[tuple[int, Election], ...]]:
    """Elections that can be chosen by themselves, with the weights by which the pieces of a label are summed.

    One election that is the same object wherever it stands: more of it is better everywhere. Several of one name in
    a single root that only adds them up, as two levels of a rule do. Neither with elections in their pieces.
    """
    memo: dict[int, frozenset[int]] = {}
    split = [_weights(root, memo) for root in roots]
    out: dict[str, tuple[tuple[int, Election], ...]] = {}
    for name, same in found.items():
        if any(_below(piece, memo) for election in same for _, piece in election.pieces):
            continue
        if len(same) == 1:
            out[name] = ((1, same[0]),)
            continue
        holders = [k for k, root in enumerate(roots) if any(id(election) in _below(root, memo) for election in same)]
        added, other = split[holders[0]]
        if len(holders) == 1 and not any(id(election) in other for election in same):
            out[name] = tuple((added[id(election)], election) for election in same)
    return out


def best_choice(
    net: Sequence[Expression], limits: Sequence[tuple[Expression, int]], z: Sequence[int], amount: int = 0
) -> dict[str, str]:
    """The choice with the largest smallest net margin, among those that meet every limit; among all if none does.

    ``net`` are the scenarios' net margins, in one unit. ``limits`` are (expression, least value) of the constraints,
    each in a unit of its own: they are met or not, and never compared with money. The first of equals wins. Up to
    :data:`MAX_JOINT` joint choices are tried, so the answer is the best; a rule with more of them gets one that no
    single election betters, which is sound all the same.
    """
    roots = [*net, *(expr for expr, _ in limits)]
    found = elections(roots)
    labels = {name: [label for label, _ in same[0].pieces] for name, same in found.items()}
    separate = _separate(found, roots)
    choice: dict[str, str] = {name: names[0] for name, names in labels.items()}
    shared: dict[int, int] = {}
    for name, weighted in separate.items():
        sums = [
            sum(weight * evaluate(election.pieces[k][1], z, shared, amount) for weight, election in weighted)
            for k in range(len(labels[name]))
        ]
        choice[name] = labels[name][sums.index(max(sums))]
    joint = [name for name in found if name not in separate]

    def score(tried: Choice) -> tuple[bool, int]:
        resolve, memo = resolver(tried), dict[int, int]()
        met = all(evaluate(resolve(expr), z, memo, amount) >= least for expr, least in limits)
        return met, min(evaluate(resolve(expr), z, memo, amount) for expr in net)

    def with_labels(names: Sequence[str], chosen: Sequence[str]) -> dict[str, str]:
        return {**choice, **dict(zip(names, chosen, strict=True))}

    if not joint:
        return choice
    if prod(len(labels[name]) for name in joint) <= MAX_JOINT:
        return max((with_labels(joint, chosen) for chosen in product(*(labels[n] for n in joint))), key=score)
    best = score(choice)
    improved = True
    while improved:
        improved = False
        for name in joint:
            for label in labels[name]:
                tried = with_labels([name], [label])
                if (reached := score(tried)) > best:
                    choice, best, improved = tried, reached, True
    return choice
