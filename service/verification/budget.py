"""What work a verification process takes on: so much for a light batch, so much for a heavy job, so much in memory.

Work is counted in steps, which are known before anything is compiled (:mod:`zkmargin.circuits.rules.work`). A system
is new by its snapshot, but also by another multiplier, horizon, level, overlay or election: whoever changes those in
every call asks for a system in every call.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from zkmargin.circuits import statement as statements
from zkmargin.circuits.errors import ProofRejected, RuleRefused, SystemTooLarge, ZkMarginError
from zkmargin.circuits.rules import Terms, work
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import Statement
from zkmargin.service.errors import TooExpensive
from zkmargin.verifier.argument.matrix import forget_matrices

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
#: Bytes of the documents of snapshots that those hold; parsed they take ten times as much memory.
COMPILED_BYTES = 32 * 1024 * 1024
#: A document of this size parses in some 50 ms.
HEAVY_BYTES = 128 * 1024
#: What a proof can come to after its system was compiled or refused.
COMPILED_TO = (ProofRejected, RuleRefused, SystemTooLarge)


#: What a compiled system depends on: the snapshot's digest, the terms and the domain.
Mark = tuple[bytes, Terms, int]


@dataclass(frozen=True)
class Kept:
    """What the library holds of a statement: steps and bytes of it, and whether its system need not be made again."""

    steps: int
    size: int
    compiled: bool


class Heavy(Exception):
    """This work belongs into the heavy lane."""


class Full(Exception):
    """This batch has enough to do."""


class Budget:
    """Which systems the library holds, and what the present batch has taken on."""

    def __init__(self) -> None:
        self.held: OrderedDict[Mark, Kept] = OrderedDict()
        self.begin()

    def begin(self) -> None:
        """A new batch."""
        self._compiling = self._verifying = 0
        self._taken: set[Mark] = set()

    def admit(self, statement: Statement, snapshot: Snapshot, heavy: bool) -> None:
        """Take the work of one proof on, or say where it belongs: :class:`Heavy`, :class:`Full`, ``TooExpensive``."""
        mark, steps = _mark(statement, snapshot), _steps(statement, snapshot)
        held = self.held.get(mark)
        new = (held is None or not held.compiled) and mark not in self._taken
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

    def keep(self, statement: Statement, snapshot: Snapshot, size: int, error: ZkMarginError | None) -> None:
        """Remember what the library keeps, a refusal with its snapshot too; drop all when it is too much to keep.

        ``size`` is of the snapshot's document. After any other ``error`` nobody knows whether it was compiled.
        """
        mark = _mark(statement, snapshot)
        before = self.held.get(mark)
        compiled = error is None or isinstance(error, COMPILED_TO) or (before is not None and before.compiled)
        self.held[mark] = Kept(_steps(statement, snapshot) or 0, size, compiled)
        self.held.move_to_end(mark)
        while len(self.held) > COMPILED:
            self.held.popitem(last=False)
        documents = {digest: kept.size for (digest, *_), kept in self.held.items()}
        if sum(kept.steps for kept in self.held.values()) > COMPILED_STEPS or sum(documents.values()) > COMPILED_BYTES:
            self.held.clear()
            statements.forget_compiled()
            forget_matrices()


def _mark(statement: Statement, snapshot: Snapshot) -> Mark:
    return snapshot.digest, statement.terms, statement.domain


def _steps(statement: Statement, snapshot: Snapshot) -> int | None:
    return work.steps(snapshot, statement.terms.level, statement.terms.overlays)
