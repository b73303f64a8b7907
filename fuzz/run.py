"""Fuzz every decoder: coverage-guided with atheris where it is installed, else seeded mutations of the corpus.

    python -m fuzz.run                      every target, 10 seconds each
    python -m fuzz.run --seconds 600 --target snapshot
    python -m fuzz.run --plain              without atheris

Prints a line for each target and exits with 1 when anything but a typed error came out; the input is then kept in
fuzz/findings/. What atheris learns on the way is kept in fuzz/.work/, so that long runs go on where they ended.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
FINDINGS = HERE / "findings"
WORK = HERE / ".work"
#: Share of inputs that are mutated as JSON trees; libFuzzer's own mutations do the rest.
TREE_SHARE = 0.6


def guided(name: str, options: Sequence[str]) -> None:
    """Hand this process to atheris. Does not return."""
    import atheris

    with atheris.instrument_imports(include=["zkmargin"]):
        from . import targets

    def mutate(data: bytes, size: int, seed: int) -> bytes:
        rng = random.Random(seed)  # noqa: S311 - libFuzzer's own seed
        if rng.random() < TREE_SHARE:
            return targets.mutate_tree(data, rng)[:size]
        changed: bytes = atheris.Mutate(data, len(data))
        return changed

    atheris.Setup([sys.argv[0], *options], lambda data: targets.run(name, data) and None, custom_mutator=mutate)
    atheris.Fuzz()


def plain(name: str, seconds: float, seed: int) -> tuple[int, str]:
    """Mutations of the corpus for a while; number of inputs, and the traceback of the first failure if any."""
    from . import targets

    rng = random.Random(seed)  # noqa: S311 - repeatable on purpose
    pool, count, end = targets.corpus(name), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        data = rng.choice(pool)
        for _ in range(rng.randint(1, 3)):
            data = targets.mutate_tree(data, rng)
        count += 1
        try:
            if targets.run(name, data) and len(pool) < 200:
                pool.append(data)
        except Exception:  # everything but a typed error is what we look for
            FINDINGS.mkdir(exist_ok=True)
            (FINDINGS / f"{name}-plain").write_bytes(data)
            return count, traceback.format_exc()
    return count, ""


def with_atheris(name: str, seconds: int) -> tuple[int, str]:
    """The same through atheris, in a process of its own."""
    learnt = WORK / name
    learnt.mkdir(parents=True, exist_ok=True)
    FINDINGS.mkdir(exist_ok=True)
    options = [
        str(learnt), str(HERE / "corpus" / name), f"-max_total_time={seconds}", "-max_len=20000", "-timeout=60",
        "-rss_limit_mb=4096", "-print_final_stats=1", "-verbosity=1", f"-artifact_prefix={FINDINGS}/{name}-",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "fuzz.run", "--one", name, *options],
        cwd=HERE.parent, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    units = re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)
    return int(units[1]) if units else 0, "" if done.returncode == 0 else done.stderr[-4000:] + done.stdout[-4000:]


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; 1 when something was found."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--one"]:
        guided(words[1], words[2:])
    from . import targets

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--target", action="append", choices=list(targets.TARGETS), help="default: every one")
    parser.add_argument("--seconds", type=int, default=10, help="for each target")
    parser.add_argument("--plain", action="store_true", help="without atheris")
    options = parser.parse_args(words)
    atheris = not options.plain and importlib.util.find_spec("atheris") is not None
    seed = targets.fresh_seed()
    print("atheris, guided by coverage" if atheris else f"seeded mutations of the corpus, seed {seed}")
    total, found = 0, 0
    for name in options.target or targets.TARGETS:
        count, failure = with_atheris(name, options.seconds) if atheris else plain(name, options.seconds, seed)
        total += count
        found += bool(failure)
        print(f"{name:26}{count:>10} inputs  {'FOUND' if failure else 'only typed errors'}", flush=True)
        if failure:
            print(failure)
    print(f"{total} inputs, {found} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
