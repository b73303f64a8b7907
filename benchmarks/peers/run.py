"""Measure other zero-knowledge provers on the statement that zkmargin proves.

Standard library only. The peers are installed by name, from npm and PyPI, into
a work directory that is never committed. See README.md for what the figures
mean.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peer_statement import Size, make_statement

HERE = Path(__file__).resolve().parent
PEERS = ("snarkjs", "groth16py")
NPM_PACKAGES = ("circom2@0.2.23", "circomlib@2.0.5", "snarkjs@0.7.6")
PIP_PACKAGES = ("groth16py==0.2.0",)
REPEATS = 3
Row = dict[str, Any]


class PeerError(Exception):
    """A peer failed or ran out of time; the message says which."""


@dataclass(frozen=True)
class Work:
    """Where everything that is downloaded or made goes."""

    root: Path

    @property
    def npm(self) -> Path:
        """The npm project that holds circom2, circomlib and snarkjs."""
        return self.root / "npm"

    @property
    def python(self) -> Path:
        """The interpreter of the virtual environment that holds groth16py."""
        return self.root / "venv" / "bin" / "python"

    @property
    def ptau(self) -> Path:
        """The toy powers of tau, kept between runs."""
        return self.root / "ptau"

    def size(self, size: Size) -> Path:
        """The circuit, keys and witness of one size."""
        return self.root / "sizes" / str(size)


def say(text: str) -> None:
    """Report progress on the error stream."""
    print(text, file=sys.stderr, flush=True)


def run_stages(command: Sequence[str], timeout: float, cwd: Path | None = None) -> Row:
    """Run a peer's script, show its stages, and return the result it prints.

    A script that is still running after ``timeout`` seconds is killed.
    """
    start = time.monotonic()
    stage, result, timed_out = "start", None, threading.Event()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=cwd) as process:

        def stop() -> None:
            timed_out.set()
            process.kill()

        timer = threading.Timer(timeout, stop)
        timer.daemon = True
        timer.start()
        assert process.stdout is not None
        for line in process.stdout:
            if not line.startswith("{"):
                continue
            record = json.loads(line)
            result = record.get("result", result)
            if "stage" in record:
                stage = record["stage"]
                say(f"    {time.monotonic() - start:7.1f} s  {stage}")
        process.wait()
        timer.cancel()
    if timed_out.is_set():
        raise PeerError(f"did not finish in {timeout:g} s (stopped during: {stage})")
    if process.returncode != 0 or not isinstance(result, dict):
        raise PeerError(f"failed during: {stage} (exit code {process.returncode})")
    return result


def install(work: Work, peers: Sequence[str]) -> None:
    """Install the peers by name, unless an earlier run did."""
    work.ptau.mkdir(parents=True, exist_ok=True)
    (work.root / ".gitignore").write_text("*\n", encoding="utf-8")
    if not (work.npm / "node_modules" / "snarkjs").exists():
        say(f"npm install {' '.join(NPM_PACKAGES)}")
        work.npm.mkdir(exist_ok=True)
        (work.npm / "package.json").write_text('{"private": true}\n', encoding="utf-8")
        flags = ("--no-save", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund")
        command = ["npm", "install", "--loglevel=error", *flags, *NPM_PACKAGES]
        subprocess.run(command, cwd=work.npm, check=True, stdout=sys.stderr)
    if "groth16py" in peers and not (work.root / "venv" / ".ready").exists():
        say(f"pip install {' '.join(PIP_PACKAGES)}")
        subprocess.run([sys.executable, "-m", "venv", str(work.root / "venv")], check=True)
        pip_flags = ("--quiet", "--disable-pip-version-check", "--only-binary", ":all:")
        command = [str(work.python), "-m", "pip", "install", *pip_flags, *PIP_PACKAGES]
        subprocess.run(command, check=True, stdout=sys.stderr)
        (work.root / "venv" / ".ready").touch()


def compile_circuit(work: Work, size: Size, timeout: float) -> Row:
    """Write the circuit of this size, compile it, and read how large it is."""
    directory = work.size(size)
    make_statement(size).write(directory)
    shutil.copy(HERE / "account_solvency.circom", directory)
    compiler = Path("npm", "node_modules", "circom2", "cli.js")
    # The compiler runs in a WASM sandbox that sees only the current directory
    # and those above it, so it is run from the work directory.
    command = ["node", str(compiler), f"sizes/{size}/main.circom", "--r1cs", "--wasm", "--O2"]
    command += ["-l", "npm/node_modules/circomlib/circuits", "-o", f"sizes/{size}"]
    start = time.monotonic()
    try:
        done = subprocess.run(command, cwd=work.root, timeout=timeout, capture_output=True, text=True, check=False)
    except subprocess.TimeoutExpired:
        raise PeerError(f"did not finish in {timeout:g} s (stopped during: compile)") from None
    if done.returncode != 0:
        raise PeerError(f"the circuit did not compile: {done.stderr or done.stdout}")
    constraints, public = read_r1cs_header(directory / "main.r1cs")
    return {
        "constraints": constraints,
        "public_signals": public,
        "compile_s": time.monotonic() - start,
    }


def read_r1cs_header(path: Path) -> tuple[int, int]:
    """The number of constraints and of public signals in a .r1cs file."""
    with path.open("rb") as file:
        magic, _, sections = struct.unpack("<4sII", file.read(12))
        if magic != b"r1cs":
            raise PeerError("the compiler's output is not an .r1cs file")
        for _ in range(sections):
            kind, length = struct.unpack("<IQ", file.read(12))
            if kind != 1:
                file.seek(length, os.SEEK_CUR)
                continue
            (field_bytes,) = struct.unpack("<I", file.read(4))
            file.seek(field_bytes, os.SEEK_CUR)
            _, outputs, inputs, _, _, constraints = struct.unpack("<IIIIQI", file.read(28))
            return constraints, outputs + inputs
    raise PeerError("the .r1cs file has no header")


def run_node(work: Work, size: Size, circuit: Row, timeout: float, mode: str) -> Row:
    """Run one mode of the node script: ``witness``, ``ptau`` or ``prove``."""
    power = int(circuit["constraints"] + circuit["public_signals"]).bit_length()
    places = [str(work.npm), str(work.size(size)), str(work.ptau)]
    script = str(HERE / "snarkjs_peer.js")
    return run_stages(["node", script, *places, str(power), str(REPEATS), mode], timeout)


def measure_size(work: Work, size: Size, peers: Sequence[str], timeout: float, ptau_timeout: float) -> list[Row]:
    """Measure every chosen peer at one size."""
    shape: Row = {"instruments": size.instruments, "scenarios": size.scenarios}
    say(f"{size}: compile")
    try:
        circuit = compile_circuit(work, size, timeout)
        say(f"{size}: {circuit['constraints']} constraints; witness")
        witness = run_node(work, size, circuit, timeout, "witness")
    except PeerError as error:
        return [{"peer": peer, **shape, "status": str(error)} for peer in peers]
    rows = []
    for peer in peers:
        say(f"{size}: {peer}")
        row = {"peer": peer, **shape, **circuit, **witness}
        try:
            if peer == "snarkjs":
                row |= run_node(work, size, circuit, ptau_timeout, "ptau")
                row |= run_node(work, size, circuit, timeout, "prove")
            else:
                script = str(HERE / "groth16py_peer.py")
                command = [str(work.python), script, str(work.size(size)), str(REPEATS)]
                row |= run_stages(command, timeout)
            row["total_ms"] = row["witness_ms"] + row["prove_ms"]
            row["status"] = "ok"
        except PeerError as error:
            row["status"] = str(error)
        rows.append(row)
    return rows


def measure_ours(sizes: str, timeout: float) -> list[Row]:
    """Run zkmargin's own benchmark, where that command is installed."""
    command = shutil.which("zkmargin")
    if command is None:
        say("zkmargin is not installed here, so its figures are left out")
        return []
    say(f"zkmargin bench --sizes {sizes} --json")
    try:
        done = subprocess.run(
            [command, "bench", "--sizes", sizes, "--json"],
            timeout=timeout,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found = json.loads(done.stdout[done.stdout.index("{") :])["rows"]
        return [read_our_row(row) for row in found]
    except (subprocess.SubprocessError, ValueError, KeyError, TypeError, AttributeError) as error:
        say(f"zkmargin bench gave no usable figures: {type(error).__name__}")
        return []


def read_our_row(row: Row) -> Row:
    """Keep the fields of a zkmargin row that the table shows; any may be missing."""
    wanted = ("instruments", "scenarios", "prove_ms", "verify_ms", "proof_bytes")
    ours: Row = {"peer": "zkmargin", "status": "ok", "setup_s": 0.0}
    ours |= {name: row.get(name) for name in wanted}
    return ours | {"total_ms": row.get("prove_ms")}


COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("constraints", "constraints", "{:,.0f}"),
    ("ptau s", "ptau_s", "{:,.1f}"),
    ("setup s", "setup_s", "{:,.1f}"),
    ("witness ms", "witness_ms", "{:,.1f}"),
    ("prove ms", "prove_ms", "{:,.1f}"),
    ("total ms", "total_ms", "{:,.1f}"),
    ("verify ms", "verify_ms", "{:,.2f}"),
    ("proof B", "proof_bytes", "{:,.0f}"),
)


def table(rows: Sequence[Row]) -> str:
    """Lay the rows out as a Markdown table."""
    lines = [["size", "peer", *(title for title, _, _ in COLUMNS), "status"]]
    for row in rows:
        cells = [f"{row.get('instruments')}x{row.get('scenarios')}", str(row["peer"])]
        for _, key, style in COLUMNS:
            value = row.get(key)
            cells.append(style.format(value) if isinstance(value, (int, float)) else "-")
        lines.append([*cells, str(row["status"])])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", default="16x16,100x40", help="INSTRUMENTSxSCENARIOS, ...")
    parser.add_argument("--peers", default=",".join(PEERS), help="which of: %(default)s")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds for one peer at one size")
    parser.add_argument("--ptau-timeout", type=float, default=1800.0, help="seconds for toy powers of tau")
    parser.add_argument("--cores", type=int, default=1, help="cores that everything may use")
    parser.add_argument("--ours", default="100x40", help="sizes for `zkmargin bench`")
    parser.add_argument("--work", type=Path, default=HERE / ".work", help="work directory")
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE", help="write JSON to FILE, or print it")
    options = parser.parse_args()
    options.peers = [name.strip() for name in options.peers.split(",") if name.strip()]
    unknown = sorted(set(options.peers) - set(PEERS))
    if unknown:
        parser.error(f"unknown peers: {', '.join(unknown)}")
    try:
        options.sizes = [Size.parse(text) for text in options.sizes.split(",")]
    except ValueError as error:
        parser.error(f"bad --sizes: {error}")
    return options


def limit_cores(cores: int) -> int:
    """Keep this process, and so every peer, on a few cores; return how many."""
    if not hasattr(os, "sched_setaffinity"):
        return os.cpu_count() or 1
    allowed = sorted(os.sched_getaffinity(0))[-max(1, cores) :]
    os.sched_setaffinity(0, allowed)
    return len(allowed)


def main() -> int:
    """Install, measure and report; exit 1 if any peer gave no figures."""
    options = parse_arguments()
    cores = limit_cores(options.cores)
    options.work.mkdir(parents=True, exist_ok=True)
    work = Work(options.work.resolve())
    install(work, options.peers)
    rows: list[Row] = []
    for size in options.sizes:
        rows += measure_size(work, size, options.peers, options.timeout, options.ptau_timeout)
    rows += measure_ours(options.ours, options.timeout)
    report = {
        "packages": [*NPM_PACKAGES, *PIP_PACKAGES],
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cores": cores,
        "repeats": REPEATS,
        "timeout_s": options.timeout,
        "ptau_timeout_s": options.ptau_timeout,
        "rows": rows,
    }
    if options.json == "-":
        print(json.dumps(report, indent=2))
    else:
        print(table(rows))
    if options.json not in (None, "-"):
        Path(options.json).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0 if all(row["status"] == "ok" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
