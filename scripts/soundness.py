"""The error terms of the argument for sizes that occur, as the table of docs/SECURITY.md.

For each challenge the chance that a false statement survives it, from docs/SPEC.md, "Soundness"; printed as powers of
two, rounded up.
"""

from __future__ import annotations

import math
from fractions import Fraction

from zkmargin.circuits.layout import DOMAINS, MAX_COLUMNS, Layout
from zkmargin.circuits.system import FIELD_ORDER
from zkmargin.verifier.batch import BATCH_WEIGHT_BITS
from zkmargin.verifier.srs import SRS_SIZE

#: Sizes (layout, d, R): the example of docs/FILES.md, the demo's account, and the largest of all. Every row of a
#: compiled system has a variable of its own, so there are never more rows than words.
_LARGEST = Layout(max(DOMAINS), MAX_COLUMNS)
SIZES = (
    ("example", Layout(256, 1), 4, 7),
    ("demo", Layout(1024, 1), 28, 45),
    ("largest", _LARGEST, 1, _LARGEST.columns * _LARGEST.words_per_column),
)
#: Hash queries of a cheater who works as hard as breaking the curve would cost, commonly put at 2^117 to 2^125.
QUERIES_LOG2 = 117


def terms(layout: Layout, positions: int, rows: int) -> dict[str, Fraction]:
    """The chance of each challenge to fail, by name."""
    n, k, r = layout.n, layout.columns, FIELD_ORDER
    return {
        "gamma, lookup": Fraction(n * (k + 2), r),
        "beta, rows and hidden rows": Fraction(rows + n - positions - 1, r),
        "eta, two claims in one sum": Fraction(1, r),
        "alpha, K + 2 constraints": Fraction(k + 1, r),
        "zeta, Schwartz-Zippel": Fraction(2 * (SRS_SIZE - 1), r),
        "nu, openings at zeta": Fraction(k, r),
        "mu, two points": Fraction(1, r),
    }


def bits(value: Fraction) -> str:
    """The smallest whole power of two that is not below a chance."""
    exponent = math.floor(math.log2(value.numerator) - math.log2(value.denominator))
    while Fraction(2) ** exponent < value:
        exponent += 1
    return f"2^{exponent}"


def table() -> list[str]:
    """The lines of the table."""
    columns = [terms(layout, positions, rows) for _, layout, positions, rows in SIZES]
    heads = [f"{name}: n = {a.n}, K = {a.columns}, d = {d}, R = {rows}" for name, a, d, rows in SIZES]
    out = ["| term | " + " | ".join(heads) + " |", "|---" * (len(SIZES) + 1) + "|"]
    out += [f"| {name} | " + " | ".join(bits(column[name]) for column in columns) + " |" for name in columns[0]]
    sums = [sum(column.values(), Fraction(0)) for column in columns]
    out.append("| all, for each attempt | " + " | ".join(map(bits, sums)) + " |")
    tried = [bits(total * 2**QUERIES_LOG2) for total in sums]
    out.append(f"| all, after 2^{QUERIES_LOG2} attempts | " + " | ".join(tried) + " |")
    batch = f"1/(2^{BATCH_WEIGHT_BITS} - 1)"
    out.append("| batch, each combined check | " + " | ".join([batch] * len(SIZES)) + " |")
    srs = bits(Fraction(SRS_SIZE, FIELD_ORDER))
    out.append("| `srs verify`, each check | " + " | ".join([srs] * len(SIZES)) + " |")
    bias = bits(Fraction(FIELD_ORDER, 2**384))
    out.append("| a challenge's distance from uniform | " + " | ".join([bias] * len(SIZES)) + " |")
    return out


if __name__ == "__main__":
    print("\n".join(table()))
