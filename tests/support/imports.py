"""Who imports whom, read from the sources of ``zkmargin`` without running them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from tests.support.places import ROOT

#: Each imports only what stands before it.
LAYERS = ("circuits", "verifier", "prover", "service")


@cache
def modules() -> Mapping[str, Path]:
    """Every module by its import name, and where it lies; a package is its ``__init__.py``."""
    top = ROOT / "src" / "zkmargin"
    found = {"zkmargin": top / "__init__.py", "zkmargin.__main__": top / "__main__.py"}
    for layer in LAYERS:
        for path in sorted((ROOT / layer).rglob("*.py")):
            parts = ["zkmargin", *path.relative_to(ROOT).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(tree: ast.AST) -> Iterator[str]:
    """The full names that a tree imports anywhere: in functions and for the type checker too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            before = "." * node.level + (node.module or "")
            yield from (f"{before}.{alias.name}" for alias in node.names)


def imports_of(name: str) -> set[str]:
    """The modules of ``zkmargin`` that a module imports, without itself: ``a.b.C`` is of module ``a.b``."""
    known, out = modules(), set()
    for full in imported(ast.parse(known[name].read_text())):
        for target in (full, full.rpartition(".")[0]):
            if target in known:
                out.add(target)
                break
    return out - {name}


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of at least two modules in which each leads to each other one, by Tarjan's algorithm."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    out: list[list[str]] = []

    def visit(name: str) -> None:
        number[name] = low[name] = len(number)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in number:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], number[other])
        if low[name] == number[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                out.append(sorted(group))

    for name in graph:
        if name not in number:
            visit(name)
    return out
