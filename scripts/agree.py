"""Ask both verifiers about random mutations of valid proofs and statements, and count where they disagree.

    python -m scripts.agree [--count 1000] [--seed 1] [--json]

From the project's root. Verdict, code and field must be the same; any difference is printed and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter

from tests.support.agreement import MAKERS, answers, case, questions


def main() -> int:
    """Ask and print."""
    parser = argparse.ArgumentParser(description="do both verifiers agree?")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    begin = time.perf_counter()
    valid = sum(answers(case(name).question()) == (("holds", None),) * 2 for name in MAKERS)
    outcomes: dict[str, Counter[str]] = {}
    differences: list[str] = []
    for i, question in enumerate(questions(args.count, args.seed)):
        if sys.stderr.isatty():
            print(f"{i} of {args.count}", end="\r", file=sys.stderr)
        native, second = answers(question)
        outcomes.setdefault(question.kind, Counter())[native[0]] += 1
        if native != second:
            differences.append(f"mutation {i}, {question.kind}: native {native}, reference {second}")
    seconds = time.perf_counter() - begin
    codes = sorted({code for counter in outcomes.values() for code in counter})
    if args.json:
        answer = {"valid": valid, "cases": len(MAKERS), "mutations": args.count, "seed": args.seed}
        print(json.dumps({**answer, "outcomes": outcomes, "differences": differences, "seconds": round(seconds)}))
        return 1 if differences or valid < len(MAKERS) else 0
    print(f"{'mutation':<18}" + "".join(f"{code:>20}" for code in codes))
    for kind, counter in sorted(outcomes.items()):
        print(f"{kind:<18}" + "".join(f"{counter[code]:>20}" for code in codes))
    total = sum(outcomes.values(), Counter())
    print(f"{'all':<18}" + "".join(f"{total[code]:>20}" for code in codes))
    print("\n".join(differences))
    print(f"valid proofs that hold by both: {valid} of {len(MAKERS)}")
    print(f"mutations: {args.count}, disagreements: {len(differences)}, {seconds:.0f} s")
    return 1 if differences or valid < len(MAKERS) else 0


if __name__ == "__main__":
    sys.exit(main())
