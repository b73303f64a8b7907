"""What work a verification process takes on: so much for a light batch, so much for a heavy job, so much in memory.

Work is counted in steps, which are known before anything is compiled (:mod:`circuits.rules.work`). A system is new by
its snapshot, but also by another multiplier, horizon, level, overlay or election: whoever changes those in every call
asks for a system in every call.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from circuits import statement as statements
from circuits.errors import ProofRejected, RuleRefused, SystemTooLarge
from circuits.rules import work
from circuits.snapshot import Snapshot
from circuits.statement import Statement
from verifier.claim import forget_matrices

from .errors import TooExpensive

#: Steps that compile in some 30 ms: 100 instruments in 40 scenarios, or what costs as much. All new systems of a light
#: batch together have so many, since its proofs wait for each other.
LIGHT_STEPS = 2**15
#: Verifying on a compiled system costs about this part of compiling it.
REUSE = 32
#: Steps of verifying that a light batch takes on.
BATCH_STEPS = 8 * LIGHT_STEPS
#: And of all new systems that one heavy job may ask for: some ten seconds.
HEAVY_STEPS = 2**24
#: Compiled statements that the library keeps for a process (the least of its caches), and their steps together, at
#: some hundred bytes of memory each: beyond, all are dropped.
COMPILED = 32
COMPILED_STEPS = 2**24
#: What a proof can come to after its system was compiled or refused.
COMPILED_TO = (ProofRejected, RuleRefused, SystemTooLarge)


class Heavy(Exception):
    """This work belongs into the heavy lane."""


class Full(Exception):
    """This batch has enough to do."""


class Budget:
    """Which systems are compiled, and what the present batch has taken on."""

    def __init__(self) -> None:
        self.compiled: OrderedDict[Any, int] = OrderedDict()
        self.begin()

    def begin(self) -> None:
        """A new batch."""
        self._compiling = self._verifying = 0
        self._taken: set[Any] = set()

    def admit(self, statement: Statement, snapshot: Snapshot, heavy: bool) -> None:
        """Take the work of one proof on, or say where it belongs: :class:`Heavy`, :class:`Full`, ``TooExpensive``."""
        mark, steps = _mark(statement, snapshot), _steps(statement, snapshot)
        new = mark not in self.compiled and mark not in self._taken
        if steps is None:
            # A rule of somebody else's: nobody knows, so the clock decides.
            if new and not heavy:
                raise Heavy
            return
        compiling, verifying = (steps if new else 0), steps // REUSE
        if heavy:
            if self._compiling + compiling > HEAVY_STEPS:
                raise TooExpensive("its statements need more systems compiled than one call gets")
        elif max(compiling, verifying) > LIGHT_STEPS:
            raise Heavy
        elif (new and self._compiling + compiling > LIGHT_STEPS) or self._verifying + verifying > BATCH_STEPS:
            raise Full
        self._compiling += compiling
        self._verifying += verifying
        self._taken.add(mark)

    def keep(self, statement: Statement, snapshot: Snapshot) -> None:
        """Remember what the library has compiled, or refused, and keeps; drop all when it is too much to keep."""
        mark = _mark(statement, snapshot)
        self.compiled[mark] = _steps(statement, snapshot) or 0
        self.compiled.move_to_end(mark)
        while len(self.compiled) > COMPILED:
            self.compiled.popitem(last=False)
        if sum(self.compiled.values()) > COMPILED_STEPS:
            self.compiled.clear()
            statements.forget_compiled()
            forget_matrices()


def _mark(statement: Statement, snapshot: Snapshot) -> tuple[Any, ...]:
    """What a compiled system depends on."""
    return snapshot.digest, statement.terms, statement.domain


def _steps(statement: Statement, snapshot: Snapshot) -> int | None:
    return work.steps(snapshot, statement.terms.level, statement.terms.overlays)
