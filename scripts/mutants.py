"""Mutants of a source file: one small change each. See :mod:`scripts.mutate`."""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COMPARE: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
}  # fmt: skip
BINARY: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}  # fmt: skip
#: Calls whose positional arguments are prose for people. Their ``field=`` is part of the interface, and mutated.
ERRORS = frozenset(
    {
        "MalformedInput", "MalformedProof", "ProofRejected", "SignatureRejected", "StatementMismatch",
        "StaleStatement", "CorruptData", "ValueError", "ZeroDivisionError",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change: the file by its path in ``verifier/``, the function around it, what it says before and after, and the
    whole mutated source.
    """

    file: str
    scope: str
    before: str
    after: str
    #: Counts equal changes within one function.
    ordinal: int = 0
    source: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        """A name that survives changes elsewhere in the file."""
        again = f" ({self.ordinal + 1})" if self.ordinal else ""
        return f"{self.file}:{self.scope}: {self.before} -> {self.after}{again}"


def text(node: ast.AST) -> str:
    """The code of a node on one line, shortened."""
    line = " ".join(ast.unparse(ast.fix_missing_locations(node)).split())
    return line if len(line) <= 110 else line[:107] + "..."


def is_error(node: ast.AST) -> bool:
    """Whether a node makes one of our exceptions."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS


def children(node: ast.AST) -> Iterator[tuple[Any, Any, ast.AST]]:
    """(container, key, child) of every child that may be mutated: no annotations, decorators, prose, imports."""
    skip: set[str] = {"decorator_list", "returns", "bases", "keywords", "annotation", "type_comment", "ctx"}
    if isinstance(node, ast.Call):
        skip.discard("keywords")
        if is_error(node):
            skip.add("args")
    if isinstance(node, ast.AnnAssign) and text(node.annotation).startswith(("Annotated", "Literal")):
        skip.discard("annotation")  # a pydantic constraint is code
    if isinstance(node, ast.keyword) and node.arg == "strict":
        return  # the same as leaving it out
    for name, value in ast.iter_fields(node):
        if name in skip:
            continue
        if isinstance(value, list):
            yield from ((value, i, item) for i, item in enumerate(value) if isinstance(item, ast.AST))
        elif isinstance(value, ast.AST):
            yield node, name, value


def skipped(node: ast.AST) -> bool:
    """Statements that are not mutated at all."""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.JoinedStr):
        return True
    if isinstance(node, ast.If) and text(node.test) == "TYPE_CHECKING":
        return True
    if isinstance(node, ast.Assign) and text(node.targets[0]) == "__all__":
        return True
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def shorter(node: ast.AST, name: str, least: int) -> Iterator[ast.AST]:
    """Copies of a node with one element of a list left out, as long as ``least`` remain."""
    for i in range(len(getattr(node, name)) if len(getattr(node, name)) > least else 0):
        changed = copy.copy(node)
        elements = list(getattr(node, name))
        del elements[i]
        setattr(changed, name, elements)
        yield changed


def changed(node: ast.AST, **fields: Any) -> ast.AST:
    """A copy of a node with other fields."""
    out = copy.copy(node)
    for name, value in fields.items():
        setattr(out, name, value)
    return out


def commutes(node: ast.Call) -> bool:
    """Whether a call is a sum or product over two vectors, whose order says nothing."""
    return text(node).startswith(("inner(", "map(mul,", "map(add,"))


def constant(value: object) -> Iterator[ast.AST]:
    """Neighbours of a constant."""
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield ast.Constant(value + 1)
        if value > 0:
            yield ast.Constant(value - 1)
    elif isinstance(value, str):
        yield ast.Constant(value + "X")
    elif isinstance(value, bytes):
        yield ast.Constant(value + b"X")


def replacements(node: ast.AST) -> Iterator[ast.AST]:
    """Everything that this node may become."""
    match node:
        case ast.If() | ast.IfExp() | ast.While():
            yield changed(node, test=ast.Constant(True))
            yield changed(node, test=ast.Constant(False))
        case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.For():
            yield ast.Pass()
        case ast.Return(value=ast.expr()):
            yield changed(node, value=None)
        case ast.Compare():
            for i, op in enumerate(node.ops):
                for other in COMPARE[type(op)]:
                    yield changed(node, ops=[*node.ops[:i], other(), *node.ops[i + 1 :]])
        case ast.BoolOp():
            yield changed(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
            yield from node.values
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand
        case ast.BinOp():
            yield changed(node, op=BINARY[type(node.op)]())
        case ast.Constant():
            yield from constant(node.value)
        case ast.List() | ast.Tuple() | ast.Set() if isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
            yield from shorter(node, "elts", 1)
        case ast.Call():
            yield from shorter(node, "keywords", 0)
            if not is_error(node) and not commutes(node):
                for i in range(len(node.args) - 1):
                    yield changed(node, args=[*node.args[:i], node.args[i + 1], node.args[i], *node.args[i + 2 :]])
        case ast.Slice():
            if node.lower is not None:
                yield changed(node, lower=None)
            if node.upper is not None:
                yield changed(node, upper=None)
        case ast.ExceptHandler(type=ast.expr()):
            yield changed(node, type=ast.Tuple([], ast.Load()))
        case ast.comprehension():
            yield from shorter(node, "ifs", 0)


def sites(node: ast.AST, scope: str = "module") -> Iterator[tuple[str, Any, Any, ast.AST]]:
    """(function, container, key, node) of all nodes below one."""
    for container, key, child in children(node):
        if skipped(child):
            continue
        inner = scope
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            inner = child.name if scope == "module" else f"{scope}.{child.name}"
        yield inner, container, key, child
        yield from sites(child, inner)


def put(container: Any, key: Any, node: ast.AST) -> None:
    """Set an element of a list or a field of a node."""
    if isinstance(container, list):
        container[key] = node
    else:
        setattr(container, key, node)


def mutants(root: Path, file: str) -> Iterator[Mutant]:
    """All mutants of a file, given by its path below ``root``."""
    tree = ast.parse((root / file).read_text())
    plain = ast.unparse(tree)
    seen: Counter[str] = Counter()
    for scope, container, key, node in list(sites(tree)):
        for other in replacements(node):
            put(container, key, other)
            source = ast.unparse(ast.fix_missing_locations(tree))
            put(container, key, node)
            if source == plain:
                continue
            after = "nothing" if isinstance(other, ast.Pass) else text(other)
            mutant = Mutant(file, scope, text(node), after, source=source)
            yield Mutant(file, scope, mutant.before, after, seen[mutant.name], source)
            seen[mutant.name] += 1
