"""Try every set-up with the oldest pip that a Python brings: does all that resolves come from the locks?

    python -m scripts.check_setup [PYTHON ...]

For each Python program (this one if none is named): a new environment with that pip; requirements.lock and the project
installed, and the demo run; every other lock resolved, and every extra under constraints.txt; and the locked installer
installed by the old one, as `make` does it. From the project's root; downloads from the index. Exit code 1 at the first
failure.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from packaging.utils import canonicalize_name

from scripts.locks import CONSTRAINTS, INSTALLER_LOCK, LOCKS, ROOT, USER_EXTRAS, pins

#: The pip that ensurepip of X.Y.0 brings, the first release of each supported Python, and the digest of its wheel.
OLDEST = {
    "3.11": ("22.3", "1daab4b8d3b97d1d763caeb01a4640a2250a0ea899e257b1e44b9eded91e15ab"),
    "3.12": ("23.2.1", "7ccf472345f20d35bdc9d1841ff5f313260c2c33fe417f48c30ac46cccabf5be"),
    "3.13": ("24.2", "2cd581cf58ab7fcfca4ce8efa6dcacd0de5bf8d0a3eb9ec927e07405f4d9e2a2"),
    "3.14": ("25.2", "6d67a2b4e7f14d8b31b8b52648866fa717f45a1eb70e83002f4331d07e953717"),
}
LOCKED = ("--only-binary", ":all:", "--require-hashes")
RUN_LOCK = "requirements.lock"


class SetupError(Exception):
    """A step failed; the message is what it printed."""


def run(what: str, *command: str | Path) -> str:
    """One step: its name and seconds are printed, and what it wrote is returned. SetupError if it fails."""
    begin = time.perf_counter()
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=False)
    print(f"  {what}: {'ok' if done.returncode == 0 else 'FAILED'}, {time.perf_counter() - begin:.1f} s", flush=True)
    if done.returncode:
        raise SetupError(done.stdout + done.stderr)
    return done.stdout


def expect_pip(version: str, *pip: str | Path) -> None:
    """SetupError unless that pip is the one that runs."""
    said = run("its version", *pip, "--version")
    if said.split()[1] != version:
        raise SetupError(f"pip {version} should run, but this does: {said}")


def check(python: str, scratch: Path) -> None:
    """All steps with one Python program, in a folder of their own. SetupError at the first that fails."""
    asked = subprocess.run(
        [python, "-c", "import sys; print('%d.%d %s' % (*sys.version_info[:2], sys.version.split()[0]))"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if asked.returncode:
        raise SetupError(f"{python} does not run: {asked.stderr}")
    version, full = asked.stdout.split()
    if version not in OLDEST:
        raise SetupError(f"{python} is Python {full}; supported are {', '.join(OLDEST)}")
    oldest, digest = OLDEST[version]
    print(f"Python {full}, pip {oldest}")
    begin = time.perf_counter()
    made = scratch / "venv"
    run("new environment", python, "-m", "venv", made)
    pip = (made / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet")
    first = scratch / "oldest.txt"
    first.write_text(f"pip=={oldest} --hash=sha256:{digest}\n")
    run("the oldest installer", *pip, "install", *LOCKED, "-r", first)
    expect_pip(oldest, *pip)
    run(f"{RUN_LOCK}, installed", *pip, "install", "--no-compile", *LOCKED, "-r", RUN_LOCK)
    run("the project", *pip, "install", "--no-deps", "--no-build-isolation", "--no-index", "--editable", ".")
    run("nothing is missing", *pip, "check")
    run("the demo", made / "bin" / "zkmargin", "demo")
    for lock in LOCKS:
        if lock != RUN_LOCK:
            run(f"{lock}, resolved", *pip, "install", "--dry-run", *LOCKED, "-r", lock)
    report = scratch / "report.json"
    everything = f".[{','.join(USER_EXTRAS)}]"
    options = ("--dry-run", "--only-binary", ":all:", "--no-build-isolation", "--report", report, "-c", CONSTRAINTS)
    run(f"{everything} under {CONSTRAINTS}, resolved", *pip, "install", *options, everything)
    pinned = {(pin.name, pin.version) for pin in pins((ROOT / CONSTRAINTS).read_text())}
    resolved = {
        (canonicalize_name(item["metadata"]["name"]), item["metadata"]["version"])
        for item in json.loads(report.read_text())["install"]
    }
    if loose := sorted(f"{name} {version}" for name, version in resolved - pinned if name != "zkmargin"):
        raise SetupError(f"resolved past {CONSTRAINTS}: {', '.join(loose)}")
    run("the locked installer", *pip, "install", *LOCKED, "-r", INSTALLER_LOCK)
    expect_pip(pins((ROOT / INSTALLER_LOCK).read_text())[0].version, *pip)
    print(f"  all: {time.perf_counter() - begin:.1f} s")


def main() -> int:
    """Check each Python program that is named."""
    for python in sys.argv[1:] or [sys.executable]:
        with tempfile.TemporaryDirectory(prefix="zkmargin-setup-") as scratch:
            try:
                check(python, Path(scratch))
            except SetupError as err:
                print(err, file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
