"""Measure groth16py (arkworks) on the .r1cs and .wtns files that circom made.

Usage: python groth16py_peer.py SIZE_DIR REPEATS

It runs inside the virtual environment that run.py makes. It prints one JSON
object a line: {"stage": ...} as it goes, then {"result": ...}.
"""

from __future__ import annotations

import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def emit(record: dict[str, Any]) -> None:
    """Print one record for run.py to read."""
    print(json.dumps(record), flush=True)


def median_ms(action: Callable[[], object], repeats: int) -> float:
    """Run once to warm up, then give the median time of the measured runs."""
    action()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


def main() -> None:
    """Set up, prove and verify, with the checks that make the figures mean something."""
    directory, repeats = Path(sys.argv[1]), int(sys.argv[2])
    groth16py: Any = importlib.import_module("groth16py")
    public = [int(text) for text in json.loads((directory / "public.json").read_text())]
    witness = str(directory / "witness.wtns")

    emit({"stage": "circuit setup"})
    start = time.perf_counter()
    proving_key, verifying_key = groth16py.setup(str(directory / "main.r1cs"))
    setup_s = time.perf_counter() - start

    emit({"stage": "prove"})
    prove_ms = median_ms(lambda: groth16py.prove_wtns(proving_key, witness), repeats)
    proof = groth16py.prove_wtns(proving_key, witness)

    emit({"stage": "verify"})
    verifier = groth16py.Verifier(verifying_key)
    verify_ms = median_ms(lambda: verifier.verify(proof, public), repeats)
    if not verifier.verify(proof, public):
        raise SystemExit("an honest proof was rejected")
    for index in range(len(public)):
        wrong = [value + (place == index) for place, value in enumerate(public)]
        if verifier.verify(proof, wrong):
            raise SystemExit("a wrong public input was accepted")

    emit(
        {
            "result": {
                "setup_s": setup_s,
                "prove_ms": prove_ms,
                "verify_ms": verify_ms,
                "proof_bytes": len(proof),
            }
        }
    )


if __name__ == "__main__":
    main()
