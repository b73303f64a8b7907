"""What only a holder is told."""

from __future__ import annotations

from zkmargin.circuits.errors import ZkMarginError


class NotSolvent(ZkMarginError):
    """The statement is false. For the holder only: the message says by how much and in which scenario."""

    code = "not-solvent"
    exit_code = 8

    def __init__(self, message: str, *, scenario: str, shortfall: str) -> None:
        super().__init__(message, field="portfolio")
        self.scenario = scenario
        self.shortfall = shortfall
