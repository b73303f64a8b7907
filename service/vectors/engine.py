"""What answers a case: an engine. Ours are ``native`` and ``reference``; a driver makes another program one.

An engine has operations by name. An operation takes a case's input and returns values, or raises a typed error when
it refuses the input. Anything else that it raises is a bug of the engine, never a refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from zkmargin.circuits.errors import MalformedInput, ZkMarginError
from zkmargin.service.vectors.case import Case

#: ``failed`` is no answer at all: a crash, a time-out, an answer of another form.
Verdict = Literal["accepted", "rejected", "unsupported", "failed"]
Operation = Callable[["Input"], Mapping[str, Any]]


class UnusableInput(Exception):
    """A case's input lacks what its operation needs: the case or its sender is wrong, so nothing was decided."""


class Refused(Exception):
    """A typed refusal with values that a rejected input still has (which proofs of a batch failed)."""

    def __init__(self, error: ZkMarginError, values: Mapping[str, Any]) -> None:
        super().__init__(str(error))
        self.error, self.values = error, values


@dataclass(frozen=True)
class Answer:
    """What an engine said of one case; ``reason`` is for people."""

    verdict: Verdict
    values: Mapping[str, Any] = field(default_factory=dict)
    code: str | None = None
    at: str | None = None
    reason: str = ""


class Engine(Protocol):
    """Anything that answers cases. ``exact`` engines must name the very error and field."""

    name: str
    exact: bool

    def answer(self, case: Case) -> Answer:
        """Answer one case; never raises for bad input."""
        ...

    def close(self) -> None:
        """Let go of processes."""
        ...


class Input:
    """A case's input with checked access: hex to bytes, texts, integers, lists."""

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self._tree = tree

    def has(self, name: str) -> bool:
        """Whether the input has this member."""
        return name in self._tree

    def _get(self, name: str, kind: type) -> Any:
        value = self._tree.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise UnusableInput(f"input.{name} is missing or of another type")
        return value

    def text(self, name: str) -> str:
        """A string."""
        out: str = self._get(name, str)
        return out

    def data(self, name: str) -> bytes:
        """A document as the UTF-8 bytes of a string."""
        return self.text(name).encode("utf-8", "surrogatepass")

    def hex(self, name: str) -> bytes:
        """Bytes from hex."""
        return unhex(self.text(name), name)

    def number(self, name: str) -> int:
        """An integer."""
        out: int = self._get(name, int)
        return out

    def optional_number(self, name: str) -> int | None:
        """An integer, or None when absent."""
        return self.number(name) if self.has(name) else None

    def items(self, name: str) -> list[Any]:
        """A list."""
        out: list[Any] = self._get(name, list)
        return out

    def inputs(self, name: str) -> list[Input]:
        """A list of objects."""
        if not all(isinstance(item, dict) for item in self.items(name)):
            raise UnusableInput(f"input.{name} is no list of objects")
        return [Input(item) for item in self.items(name)]

    def texts(self, name: str) -> list[str]:
        """A list of strings."""
        if not all(isinstance(item, str) for item in self.items(name)):
            raise UnusableInput(f"input.{name} is no list of strings")
        return self.items(name)

    def integers(self, name: str) -> list[int]:
        """A list of integers, written as decimal strings since they may be long."""
        return [integer(item, name) for item in self.items(name)]

    def bytes_list(self, name: str) -> list[bytes]:
        """A list of byte strings in hex."""
        return [unhex(item, name) for item in self.items(name)]


def unhex(value: object, name: str) -> bytes:
    """Bytes from a hex string of a case."""
    try:
        if not isinstance(value, str):
            raise TypeError
        return bytes.fromhex(value)
    except (TypeError, ValueError):
        raise UnusableInput(f"input.{name} is no hex") from None


def integer(value: object, name: str) -> int:
    """An integer from a decimal string of a case."""
    if not isinstance(value, str) or not value.removeprefix("-").isdecimal() or len(value) > 400:
        raise UnusableInput(f"input.{name} is no decimal integer")
    return int(value)


def require(condition: bool, message: str, field: str) -> None:
    """Refuse an input of a conformance function as malformed."""
    if not condition:
        raise MalformedInput(message, field=field)


class LocalEngine:
    """An engine of this process: a table of operations."""

    def __init__(self, name: str, operations: Mapping[str, Operation], *, exact: bool) -> None:
        self.name, self.exact = name, exact
        self._operations = operations

    def covers(self, operation: str) -> bool:
        """Whether the engine has this operation."""
        return operation in self._operations

    def answer(self, case: Case) -> Answer:
        """Run the operation. An exception that is no typed refusal is a failure of the engine."""
        operation = self._operations.get(case.operation)
        if operation is None:
            return Answer("unsupported", reason="not covered by this engine")
        try:
            return Answer("accepted", dict(operation(Input(case.input))))
        except Refused as refused:
            return _rejected(refused.error, refused.values)
        except ZkMarginError as error:
            if error.code == "internal-error":
                return Answer("failed", reason=str(error))
            return _rejected(error, {})
        except UnusableInput as error:
            return Answer("failed", reason=str(error))
        except Exception as error:  # a bug must be counted, not hidden as a refusal
            return Answer("failed", reason=f"{type(error).__name__}: {error}")

    def close(self) -> None:
        """Nothing to let go of."""


def _rejected(error: ZkMarginError, values: Mapping[str, Any]) -> Answer:
    return Answer("rejected", dict(values), error.code, error.field, error.message)


class ValueMismatch(ZkMarginError):
    """A case claims a value, and the engine computes another one. Only vectors know this error."""

    code = "value-mismatch"
    exit_code = 6


def check_claim(claimed: object, computed: object, field: str) -> None:
    """Refuse a claimed value that is not the computed one."""
    if claimed != computed:
        raise ValueMismatch("the claimed value is not what comes out", field=field)
