"""How a topic's cases are written down: shared texts, and every expectation checked against the native engine.

The author of a case says whether it is valid and, if not, with which error it must be refused. The native engine must
agree, or nothing is generated; the values of valid cases and the fields that errors name are what it answers. The
reference engine then checks them again on arithmetic of its own (``zkmargin vectors run --engine reference``).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from zkmargin.circuits.errors import InternalError
from zkmargin.service.vectors.case import INVALID, VALID, Case, Shared, Topic, Tree, compact
from zkmargin.service.vectors.engine import LocalEngine
from zkmargin.service.vectors.flags import FLAGS
from zkmargin.service.vectors.native import engine

#: Shorter texts stand in their cases.
SHARE_FROM = 1000


class SharedTexts:
    """Shared texts, by name, each stored once."""

    def __init__(self) -> None:
        self.texts: dict[str, str | Tree] = {}

    def put(self, name: str, value: str | Tree) -> str:
        """Store a text or a document under a name; returns the reference to it. A name means one text for good."""
        known = self.texts.setdefault(name, copy.deepcopy(value))
        if known != value:
            raise InternalError(f"two shared texts named {name}")
        return f"@{name}"


class Cases:
    """The cases of one topic, in the order in which they are written."""

    def __init__(self, name: str, title: str, library: SharedTexts) -> None:
        self.name, self.title, self.library = name, title, library
        self._cases: list[Case] = []
        self._engine: LocalEngine = engine()

    def valid(self, operation: str, given: Tree, comment: str, *flags: str) -> None:
        """A case that must be accepted."""
        self._add(Case(self._id(), operation, given, VALID, comment, tuple(flags)))

    def invalid(self, operation: str, given: Tree, flag: str, code: str, comment: str) -> None:
        """A case that must be refused with this error."""
        self._add(Case(self._id(), operation, given, INVALID, comment, (flag,), code=code))

    def _id(self) -> str:
        return f"{self.name}-{len(self._cases) + 1:03d}"

    def _add(self, case: Case) -> None:
        given = Shared(self.library.texts).resolve(dict(case.input))
        answer = self._engine.answer(replace(case, input=given))
        wanted = "accepted" if case.result == VALID else "rejected"
        if answer.verdict != wanted or answer.code != case.code or not set(case.flags) <= set(FLAGS):
            raise InternalError(
                f"{case.id} ({case.comment}): {answer.verdict} {answer.code} {answer.reason}, expected {case.code}"
            )
        # Through JSON, so that what is compared later is what a file can hold.
        values = json.loads(json.dumps(answer.values))
        self._cases.append(replace(case, values=values, at=answer.at))

    def topic(self) -> Topic:
        """The finished topic."""
        return Topic(self.name, self.title, tuple(self._cases))


def changed(tree: Mapping[str, Any], path: str, value: Any) -> Tree:
    """A copy of a document with the member at a dotted path replaced."""
    out = copy.deepcopy(dict(tree))
    holder: Any = out
    *parents, last = path.split(".")
    for part in parents:
        holder = holder[int(part)] if isinstance(holder, list) else holder[part]
    if isinstance(holder, list):
        holder[int(last)] = value
    else:
        holder[last] = value
    return out


def without(tree: Mapping[str, Any], path: str) -> Tree:
    """A copy of a document without the member at a dotted path."""
    out = copy.deepcopy(dict(tree))
    holder: Any = out
    *parents, last = path.split(".")
    for part in parents:
        holder = holder[int(part)] if isinstance(holder, list) else holder[part]
    del holder[int(last) if isinstance(holder, list) else last]
    return out


def text(tree: object) -> str:
    """A document's text."""
    return compact(tree)
