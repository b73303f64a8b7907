"""A server with a fault of the ledger planted, to see that the race finds it: ``RACE_FAULT`` names the fault."""

from __future__ import annotations

import os
from typing import Any

from zkmargin.service.cli import root
from zkmargin.service.ledger import epochs, idempotency


def no_epoch_check() -> None:
    """A proof is good for later epochs too, once it was verified."""
    epochs.expect_epoch = lambda *_: None


def no_idempotency() -> None:
    """A repeated request is a new one."""

    def forgetful(ledger: Any, caller: str, key: str, request: bytes, work: Any, *, status: int = 200) -> Any:
        return ledger.database.write(work).to_json(ledger.money), False

    idempotency.once = forgetful
    idempotency.claim = lambda ledger, call, check: ledger.database.read(check)
    idempotency.settle = lambda ledger, call, work: idempotency.Outcome(
        ledger.database.write(work).to_json(ledger.money)
    )
    idempotency.refuse = lambda ledger, call, error: idempotency.Outcome(error)


def no_record_of_refusals() -> None:
    """A refusal stores nothing: another try of the same request may book."""

    def forgotten(ledger: Any, tx: Any, one: Any, refusal: Any) -> Any:
        tx.execute(idempotency._GIVE_UP, one.place())
        return idempotency.Outcome(refusal, earlier=False)

    idempotency._write_refusal = forgotten


FAULTS = {"epoch": no_epoch_check, "idempotency": no_idempotency, "refusals": no_record_of_refusals}

if __name__ == "__main__":
    FAULTS[os.environ["RACE_FAULT"]]()
    root.main()
