"""How proving and verifying grow with instruments and scenarios: prints a table and writes docs/growth.svg.

python benchmarks/growth.py [--repeat 3] [--out docs/growth.svg]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

from zkmargin.circuits import statement
from zkmargin.prover.prove import prove
from zkmargin.service.cli.bench import interleaved, make_case, make_snapshot, two_pairings
from zkmargin.verifier.verify import verify

INSTRUMENTS = (16, 32, 64, 100, 200, 400, 800)
SCENARIOS = (1, 16, 40, 81, 160)
PAIRINGS = two_pairings()


def point(instruments: int, scenarios: int, repeat: int) -> dict[str, Any]:
    """Prove and verify one size, beside a two-pairing check in the same run."""
    snap = make_snapshot(instruments, scenarios)
    stated, opening = make_case(snap)
    proof = prove(stated, snap, opening)
    ms = interleaved(
        [
            ("prove", lambda: prove(stated, snap, opening)),
            ("verify", lambda: verify(stated, snap, proof)),
            ("pairings", PAIRINGS),
        ],
        repeat,
    )
    layout = statement.bind(stated, snap).layout
    return {"instruments": instruments, "scenarios": scenarios, "n": layout.n, "K": layout.columns, **ms}


def draw(by_instruments: list[dict[str, Any]], by_scenarios: list[dict[str, Any]], out: Path) -> None:
    """Two panels: multiples of a two-pairing check over instruments and over scenarios."""
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "zkmargin"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
    for axis, rows, key, title in (
        (axes[0], by_instruments, "instruments", "40 scenarios"),
        (axes[1], by_scenarios, "scenarios", "100 instruments"),
    ):
        x = [r[key] for r in rows]
        axis.plot(x, [r["prove"] / r["pairings"] for r in rows], "o-", label="prove")
        axis.plot(x, [r["verify"] / r["pairings"] for r in rows], "s-", label="verify, one")
        for r in rows:
            axis.annotate(
                f"({r['n']}, {r['K']})",
                (r[key], r["prove"] / r["pairings"]),
                textcoords="offset points",
                xytext=(0, 7),
                ha="center",
                fontsize=7,
            )
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xticks(x, [str(v) for v in x])
        axis.set_xlabel(key)
        axis.set_title(title)
        axis.grid(visible=True, which="major", alpha=0.3)
    axes[0].set_ylabel("multiples of a two-pairing check")
    axes[0].legend()
    figure.suptitle("Growth of proving and verifying, with (n, K)")
    figure.tight_layout()
    figure.savefig(out, metadata={"Date": None})


def main() -> int:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description="growth of proving and verifying")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent.parent / "docs" / "growth.svg")
    args = parser.parse_args()
    sizes = [(d, 40) for d in INSTRUMENTS] + [(100, s) for s in SCENARIOS]
    rows: list[dict[str, Any]] = []
    print(f"{'size':>10} {'(n, K)':>10} {'prove ms':>9} {'verify ms':>9} {'prove x':>8} {'verify x':>8}")
    for d, s in sizes:
        if sys.stderr.isatty():
            print(f"measuring {d}x{s}", end="\r", file=sys.stderr)
        r = point(d, s, args.repeat)
        rows.append(r)
        print(
            f"{f'{d}x{s}':>10} {'({n}, {K})'.format(**r):>10} {r['prove']:9.1f} {r['verify']:9.2f} "
            f"{r['prove'] / r['pairings']:8.1f} {r['verify'] / r['pairings']:8.2f}",
            flush=True,
        )
    draw(rows[: len(INSTRUMENTS)], rows[len(INSTRUMENTS) :], args.out)
    print(f"wrote {args.out.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
