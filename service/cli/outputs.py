"""What a command's options say of files: which it writes, of which kind; checked before the command does anything.

An option of type ``Path`` is read, unless its annotation carries :class:`Writes`. The writer refuses what is not
declared so (:func:`zkmargin.service.files.declared`).
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from zkmargin.circuits.errors import MalformedInput
from zkmargin.service.file_kinds import FOLDER
from zkmargin.service.files import STANDARD, check_target


@dataclass(frozen=True)
class Writes:
    """Mark of an option whose file the command writes: its kind (:mod:`zkmargin.service.file_kinds`).

    ``only_copy``: a secret that nobody could make again, replaced with --force only. ``held``: read first, and replaced
    by its successor.
    """

    kind: str
    only_copy: bool = False
    held: bool = False


def mark_of(annotation: Any) -> Writes | None:
    """The mark inside ``Annotated[...]``, None for an option that is not written."""
    return next((item for item in get_args(annotation)[1:] if isinstance(item, Writes)), None)


def _paths(value: Any) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _paths(item)


def check_options(command: Callable[..., Any], given: Mapping[str, Any]) -> tuple[Path, ...]:
    """The paths that a command declares to write; ``MalformedInput`` for one that would lose a file.

    That is an input, the same file for two outputs, a file of another kind, or an existing secret without ``force``.
    ``-`` is standard input or output, for one file each, and no output for a secret or beside --json.
    """
    outputs: list[tuple[str, Path, Writes]] = []
    inputs: list[tuple[str, Path]] = []
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        mark = mark_of(parameter.annotation)
        for path in _paths(given.get(name)):
            if mark is None:
                inputs.append((name, path))
            else:
                outputs.append((name, path, mark))
    _check_standard(inputs, outputs, as_json=bool(given.get("as_json")))
    files = [(path, mark) for _, path, mark in outputs if path != STANDARD and mark.kind != FOLDER]
    for i, (path, _) in enumerate(files):
        if any(_same(path, other) for other, _ in files[:i]):
            raise MalformedInput("the same path for two outputs", field=str(path))
        for name, other in inputs:
            if _same(path, other):
                raise MalformedInput(f"is read by --{name.replace('_', '-')} and would be replaced", field=str(path))
    for path, mark in files:
        check_target(path, mark.kind, only_copy=mark.only_copy, force=bool(given.get("force")))
    return tuple(path for _, path, _ in outputs)


def _check_standard(inputs: list[tuple[str, Path]], outputs: list[tuple[str, Path, Writes]], *, as_json: bool) -> None:
    if sum(path == STANDARD for _, path in inputs) > 1:
        raise MalformedInput("standard input holds one document", field="-")
    written = [(name, mark) for name, path, mark in outputs if path == STANDARD]
    for name, mark in written:
        if mark.only_copy or mark.held or mark.kind == FOLDER:
            raise MalformedInput("is not written to standard output; name a file", field=name)
    if len(written) > 1:
        raise MalformedInput("standard output holds one document", field="-")
    if written and as_json:
        raise MalformedInput("--json has standard output for its answer; name a file", field=written[0][0])


def _same(one: Path, other: Path) -> bool:
    """Whether two paths are one file, by whatever links."""
    if STANDARD in (one, other):
        return False
    try:
        return os.path.samefile(one, other)
    except OSError:
        return one.resolve() == other.resolve()
