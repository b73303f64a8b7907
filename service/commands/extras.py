"""Parts of the package that are installed only where they are wanted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from circuits.errors import ZkMarginError

_OURS = ("circuits", "verifier", "prover", "service")


class NotInstalled(ZkMarginError):
    """The command needs an extra of this package that is not installed."""

    code = "not-installed"
    exit_code = 14

    def __init__(self, extra: str) -> None:
        super().__init__(f"this command needs the extra {extra!r}", field=extra)
        self.remedy = f"pip install 'zkmargin[{extra}]'"

    def to_json(self) -> dict[str, str]:
        """The error as a flat JSON object, with the remedy."""
        return super().to_json() | {"remedy": self.remedy}


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Around the imports of a command: ``NotInstalled`` when a package of the extra is not there."""
    try:
        yield
    except ModuleNotFoundError as err:
        if (err.name or "").partition(".")[0] in _OURS:
            raise
        raise NotInstalled(name) from None
