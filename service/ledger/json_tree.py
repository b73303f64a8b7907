"""JSON at the ledger's edge: the types of what is written, and the one place where what is read gets a type.

Everything else in this package has types of its own. What comes back from here was parsed strictly (no float, no
duplicate key) and is looked at field by field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from zkmargin.circuits.errors import CorruptData
from zkmargin.circuits.strict_json import parse_json

Json: TypeAlias = "str | int | bool | Sequence[Json] | Mapping[str, Json] | None"
Tree: TypeAlias = Mapping[str, Json]
#: How an amount in quanta is written.
Money: TypeAlias = Callable[[int], str]


def parsed(data: bytes | str, *, name: str) -> Tree:
    """A stored JSON object; ``CorruptData`` for anything else."""
    tree: Json = parse_json(data.encode() if isinstance(data, str) else data, name=name)
    if not isinstance(tree, Mapping):
        raise CorruptData("a stored document is no object", field=name)
    return tree


class Fields:
    """The fields of a stored object by type; ``CorruptData`` for one that is missing or of another type.

    Whether there are others, and whether a number was written as it would be now, the caller finds by writing what it
    read and comparing.
    """

    def __init__(self, tree: Tree, name: str) -> None:
        self._tree, self._name = tree, name

    def __contains__(self, field: str) -> bool:
        return field in self._tree

    def _fault(self, field: str) -> CorruptData:
        return CorruptData("a stored object is not of its form", field=f"{self._name}.{field}")

    def text(self, field: str) -> str:
        """A string."""
        value = self._tree.get(field)
        if not isinstance(value, str):
            raise self._fault(field)
        return value

    def optional(self, field: str) -> str | None:
        """A string or null."""
        return None if self._tree.get(field, "") is None else self.text(field)

    def number(self, field: str) -> int:
        """An integer that JSON carries as one."""
        value = self._tree.get(field)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._fault(field)
        return value

    def quanta(self, field: str) -> int:
        """An amount in quanta, which is written as a string."""
        text = self.text(field)
        if not text.isdecimal():
            raise self._fault(field)
        return int(text)

    def raw(self, field: str) -> bytes:
        """Bytes, which are written as hex."""
        try:
            return bytes.fromhex(self.text(field))
        except ValueError:
            raise self._fault(field) from None

    def tree(self, field: str) -> Tree:
        """An object."""
        value = self._tree.get(field)
        if not isinstance(value, Mapping):
            raise self._fault(field)
        return value

    def texts(self, field: str) -> tuple[str, ...]:
        """A list of strings."""
        return _texts(self._tree.get(field), self._fault(field))

    def pairs(self, field: str) -> tuple[tuple[str, str], ...]:
        """A list of pairs of strings."""
        value, fault = self._tree.get(field), self._fault(field)
        if not isinstance(value, list):
            raise fault
        pairs = [_texts(pair, fault) for pair in value]
        if any(len(pair) != 2 for pair in pairs):
            raise fault
        return tuple((pair[0], pair[1]) for pair in pairs)

    def quantities(self, field: str) -> dict[str, str]:
        """Quantities by instrument, as they were written; none where the field is absent."""
        if field not in self._tree:
            return {}
        out: dict[str, str] = {}
        for instrument, quantity in self.tree(field).items():
            if not isinstance(quantity, str):
                raise self._fault(field)
            out[instrument] = quantity
        return out


def _texts(value: Json, fault: CorruptData) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise fault
    return tuple(text for text in value if isinstance(text, str))
