"""How words lie in columns, and how many columns a system needs on a domain.

A word is 8 limbs of w bits, n = 2**w; a column of n rows holds S = n/8 words, limb k of word j in row j + kS, least
significant limb first (docs/SPEC.md, "Words and columns"). Limbs of one word lie multiples of S apart, so omega**S,
an eighth root of unity, ties their Lagrange values together and a verifier evaluates a word in closed form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zkmargin.circuits.errors import SystemTooLarge

#: Supported domain sizes; every polynomial of the argument has degree below n + 4, far inside the SRS of 4096 powers.
DOMAINS = (256, 512, 1024, 2048)
#: Limbs of a word. With n >= 256 a word has at least 64 bits, and positions are below 2**63 lots.
LIMBS = 8
#: More columns would make a proof above 4 kB; no shipped rule comes near.
MAX_COLUMNS = 32


@dataclass(frozen=True)
class Layout:
    """Domain size n (rows), K columns, and the derived word geometry."""

    n: int
    columns: int

    @property
    def limb_bits(self) -> int:
        """w: bits of one limb, log2 n."""
        return self.n.bit_length() - 1

    @property
    def word_bits(self) -> int:
        """B = 8 w: bits of one word (64, 72, 80, 88 for n = 256, 512, 1024, 2048)."""
        return self.limb_bits * LIMBS

    @property
    def words_per_column(self) -> int:
        """S = n / 8."""
        return self.n // LIMBS

    def words_of(self, limit: int) -> int:
        """Words that a variable with values 0..limit takes."""
        return max(1, -(-limit.bit_length() // self.word_bits))


def proof_size(columns: int) -> int:
    """Bytes of a proof: a header of 3, 2K + 6 points of 48, K + 1 scalars of 32."""
    return 3 + 48 * (2 * columns + 6) + 32 * (columns + 1)


def fit(limits: Sequence[int], positions: int, n: int) -> Layout:
    """The layout on a given domain: as many columns as the words of the variables need.

    ``limits[k]`` is the largest honest value of variable k; ``positions`` rows of the domain hold the account.
    """
    if n not in DOMAINS:
        raise SystemTooLarge(f"domain {n} is not one of {DOMAINS}", field="domain")
    if positions > n:
        raise SystemTooLarge(f"{positions} instruments do not fit a domain of {n}", field="domain")
    probe = Layout(n, 1)
    words = sum(probe.words_of(limit) for limit in limits)
    columns = max(1, -(-words // probe.words_per_column))
    if columns > MAX_COLUMNS:
        raise SystemTooLarge(f"{words} words need {columns} columns of {n}, more than {MAX_COLUMNS}", field="system")
    return Layout(n, columns)
