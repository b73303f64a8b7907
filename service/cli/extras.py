"""Parts of the package that are installed only where they are wanted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from zkmargin.circuits.errors import MissingExtra
from zkmargin.service.cli.console import OURS


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Around the imports of a command: ``MissingExtra`` when a package of the extra is not there."""
    try:
        yield
    except ModuleNotFoundError as err:
        if (err.name or "").partition(".")[0] == OURS:
            raise
        raise MissingExtra(f"not installed here: pip install 'zkmargin[{name}]'", field=name) from None
