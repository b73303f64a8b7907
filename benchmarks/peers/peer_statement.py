"""The statement that every peer proves, made from a fixed pseudo-random seed."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

VALUE_BITS = 48
LOT_BITS = 12
SURPLUS_BITS = 70
CASH_VALUE = 1 << 20


@dataclass(frozen=True)
class Size:
    """A problem size: the number of instruments and of scenarios."""

    instruments: int
    scenarios: int

    def __str__(self) -> str:
        return f"{self.instruments}x{self.scenarios}"

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read a size written as ``100x40``."""
        left, _, right = text.strip().lower().partition("x")
        size = cls(int(left), int(right))
        if size.instruments < 2 or size.scenarios < 1:
            raise ValueError(f"size {text!r} is too small")
        return size


@dataclass(frozen=True)
class Statement:
    """One account: public values and add-ons, and private positions."""

    size: Size
    values: list[list[int]]
    addons: list[int]
    longs: list[int]
    shorts: list[int]
    blinding: int
    amount: int

    def surpluses(self) -> list[int]:
        """What is left in each scenario after the add-ons and the amount."""
        addon = sum(a * (p + n) for a, p, n in zip(self.addons, self.longs, self.shorts, strict=True))
        lots = [p - n for p, n in zip(self.longs, self.shorts, strict=True)]
        return [sum(x * v for x, v in zip(lots, row, strict=True)) - addon - self.amount for row in self.values]

    def circom_main(self) -> str:
        """The circom source that fixes the sizes, the values and the add-ons."""
        d, s = self.size.instruments, self.size.scenarios
        return (
            "pragma circom 2.1.0;\n"
            'include "account_solvency.circom";\n'
            "component main {public [amount]} = "
            f"AccountSolvency({d}, {s}, {json.dumps(self.values)}, {json.dumps(self.addons)});\n"
        )

    def circom_input(self, extra_amount: int = 0) -> dict[str, str | list[str]]:
        """The circuit's inputs, as decimal strings."""
        return {
            "p": [str(v) for v in self.longs],
            "n": [str(v) for v in self.shorts],
            "blinding": str(self.blinding),
            "amount": str(self.amount + extra_amount),
        }

    def write(self, directory: Path) -> None:
        """Write the circuit, a solvent input and one that is short by a single unit."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "main.circom").write_text(self.circom_main(), encoding="utf-8")
        short_by_one = min(self.surpluses()) + 1
        for name, extra in (("solvent", 0), ("insolvent", short_by_one)):
            text = json.dumps(self.circom_input(extra))
            (directory / f"{name}.json").write_text(text, encoding="utf-8")


def make_statement(size: Size) -> Statement:
    """Make a solvent account of the given size, the same one on every run.

    Instrument 0 is cash, worth the same in every scenario; there is enough of
    it to cover the worst scenario with something left over.
    """
    rng = random.Random(f"zkmargin peers {size}")
    bound = 1 << VALUE_BITS
    values = [
        [CASH_VALUE] + [rng.randrange(-bound, bound) for _ in range(size.instruments - 1)]
        for _ in range(size.scenarios)
    ]
    addons = [0] + [rng.randrange(1, CASH_VALUE) for _ in range(size.instruments - 1)]
    longs, shorts = [0], [0]
    for _ in range(size.instruments - 1):
        lots, is_short = rng.randrange(1, 1 << LOT_BITS), rng.random() < 0.5
        longs.append(0 if is_short else lots)
        shorts.append(lots if is_short else 0)
    amount, blinding = rng.randrange(1 << 40), rng.randrange(1 << 250)
    bare = Statement(size, values, addons, longs, shorts, blinding, amount)
    longs[0] = max(0, -min(bare.surpluses())) // CASH_VALUE + 1000
    if not all(0 <= left < 1 << SURPLUS_BITS for left in bare.surpluses()):
        raise ValueError(f"the generated account of size {size} is out of range")
    return bare
