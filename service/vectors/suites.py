"""Public suites by path: KZG proofs of EIP-4844, the precompiles of EIP-2537, RFC 9380.

``kzg``: the folder tree of the consensus tests, ``FUNCTION/.../CASE/data.yaml``. ``eip2537``: the JSON files of the
EIP. ``rfc9380``: the RFC's vectors as JSON. Each file becomes cases like our own, so every engine and every driver
answers them. A file of a function that no engine has still makes cases: they are counted as not covered.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from zkmargin.circuits.errors import MalformedInput
from zkmargin.service.vectors.case import INVALID, VALID, Case, Topic

#: A suite's files are small; anything larger is none of them.
MAX_FILE_BYTES = 4 * 1024 * 1024
EIP2537 = {
    "add_G1_bls": "eip2537-g1-add",
    "mul_G1_bls": "eip2537-g1-mul",
    "msm_G1_bls": "eip2537-g1-msm",
    "pairing_check_bls": "eip2537-pairing-check",
}


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise MalformedInput("larger than any file of a suite", field=str(path))
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise MalformedInput(f"cannot be read ({type(err).__name__})", field=str(path)) from None


def _json(path: Path) -> Any:
    try:
        return json.loads(_read(path))
    except json.JSONDecodeError as err:
        raise MalformedInput(f"not JSON at line {err.lineno}", field=str(path)) from None


def _unprefixed(text: str) -> str:
    return text.removeprefix("0x")


def read_flat_yaml(text: str, *, field: str) -> dict[str, Any]:
    """The YAML of these suites: ``key: scalar`` at two levels, strings in quotes, true, false, null.

    This is all that the files of verify_kzg_proof use; anything else is refused rather than misread.
    """
    scalars: dict[str, Any] = {"true": True, "false": False, "null": None}
    root: dict[str, Any] = {}
    inner: dict[str, Any] = {}
    for number, line in enumerate(text.splitlines(), 1):
        key, colon, rest = line.partition(":")
        value, indented, key = rest.strip(), line.startswith("  "), key.strip()
        target = inner if indented else root
        if not line.strip():
            continue
        if not colon or not key.isidentifier() or key in target or line.startswith("   ") or (indented and not root):
            raise MalformedInput(f"not the YAML of this suite, line {number}", field=field)
        if not value and not indented:
            inner = {}
            root[key] = inner
        elif value in scalars:
            target[key] = scalars[value]
        elif len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"" and value[1:-1].isalnum():
            target[key] = value[1:-1]
        else:
            raise MalformedInput(f"not the YAML of this suite, line {number}", field=field)
    return root


def kzg(folder: Path) -> Iterator[Case]:
    """Cases of ``verify_kzg_proof``: output true, false (does not hold), or null (an input must be refused)."""
    for path in sorted(folder.rglob("data.yaml")):
        name = path.parent.name
        if not name.startswith("verify_kzg_proof_case"):
            yield Case(name, f"eip4844-{name.partition('_case')[0].replace('_', '-')}", {}, VALID)
            continue
        tree = read_flat_yaml(_read(path), field=str(path))
        given, output = tree.get("input"), tree.get("output")
        if not isinstance(given, dict) or "output" not in tree or not all(isinstance(v, str) for v in given.values()):
            raise MalformedInput("not a case of verify_kzg_proof", field=str(path))
        if not isinstance(output, bool | None):
            raise MalformedInput("an output that is neither a boolean nor null", field=str(path))
        fields = {key: _unprefixed(value) for key, value in given.items()}
        code = None if output else "proof-rejected" if output is False else "malformed-input"
        yield Case(name, "eip4844-verify-kzg-proof", fields, VALID if output else INVALID, code=code)


def eip2537(folder: Path) -> Iterator[Case]:
    """Cases of the precompiles: ``Expected`` is the output, ``ExpectedError`` means refused."""
    for path in sorted(folder.glob("*.json")):
        function = path.stem.removeprefix("fail-")
        operation = EIP2537.get(function, f"eip2537-{function}")
        tree = _json(path)
        for i, case in enumerate(tree if isinstance(tree, list) else [None]):
            try:
                name, given = f"{path.stem}.{i}.{case['Name']}", {"bytes": _unprefixed(case["Input"])}
                if "ExpectedError" in case:
                    error = case["ExpectedError"]
                    yield Case(name, operation, given, INVALID, comment=error, code="malformed-input")
                else:
                    yield Case(name, operation, given, VALID, values={"bytes": _unprefixed(case["Expected"])})
            except (KeyError, TypeError, AttributeError):
                raise MalformedInput("not a case of EIP-2537", field=f"{path}:{i}") from None


def rfc9380(folder: Path) -> Iterator[Case]:
    """Cases of ``expand_message_xmd`` with SHA-256."""
    for path in sorted(folder.glob("*.json")):
        tree = _json(path)
        try:
            known = tree["name"] == "expand_message_xmd" and tree["hash"] == "SHA256"
            operation = "expand-message-xmd" if known else f"rfc9380-{path.stem}"
            dst = tree["DST"].encode().hex()
            for i, test in enumerate(tree["tests"]):
                length = int(test["len_in_bytes"], 16)
                given = {"message": test["msg"].encode().hex(), "dst": dst, "length": length}
                values = {"bytes": test["uniform_bytes"]}
                yield Case(f"{path.stem}.{i}", operation, given, VALID, values=values)
        except (KeyError, TypeError, AttributeError, ValueError):
            raise MalformedInput("not a file of RFC 9380 vectors", field=str(path)) from None


SUITES: dict[str, tuple[str, Callable[[Path], Iterator[Case]]]] = {
    "kzg": ("EIP-4844 verify_kzg_proof", kzg),
    "eip2537": ("EIP-2537 precompiles of BLS12-381", eip2537),
    "rfc9380": ("RFC 9380 expand_message_xmd", rfc9380),
}


def load_suite(name: str, folder: Path) -> Topic:
    """All cases below a folder. A missing folder, one without a case, or an unknown suite is refused."""
    if name not in SUITES:
        raise MalformedInput(f"unknown suite; there are {', '.join(SUITES)}", field="suite")
    if not folder.is_dir():
        raise MalformedInput("no such folder", field=f"suite.{name}")
    title, read = SUITES[name]
    cases = tuple(read(folder))
    if not cases:
        raise MalformedInput("not one case in this folder", field=f"suite.{name}")
    return Topic(name, title, cases)
