"""Why a hub refuses: one typed error for each cause, whose ``code`` is its problem type.

None of these changes any state but that of its idempotency key. ``extensions`` are members that the problem carries
besides the usual ones, such as the amount that was proved.
"""

from __future__ import annotations

from typing import Any

from zkmargin.circuits.errors import ZkMarginError


class Refusal(ZkMarginError):
    """Base of the hub's refusals."""

    exit_code = 12

    def __init__(self, message: str, *, field: str | None = None, **extensions: Any) -> None:
        super().__init__(message, field=field)
        self.extensions = extensions

    def to_json(self) -> dict[str, Any]:
        """The error as a flat JSON object, extensions included."""
        return {**super().to_json(), **self.extensions}


class RequestReplayed(Refusal):
    """The nonce of the signature was used before."""

    code = "request-replayed"


class KeyNotValid(Refusal):
    """The key is registered, and not valid by this server's clock; the times of both sides are extensions."""

    code = "key-not-valid"


class Forbidden(Refusal):
    """The caller is known and not entitled to this."""

    code = "forbidden"


class UnknownVenue(Refusal):
    """No venue of this name is registered."""

    code = "unknown-venue"


class VenueSuspended(Refusal):
    """The venue is suspended: it may report, release and expire, and gets no new credit."""

    code = "venue-suspended"


class AccountFrozen(Refusal):
    """The account is frozen: its exposure may only fall."""

    code = "account-frozen"


class CapExceeded(Refusal):
    """The credit would put a venue or zone above its cap."""

    code = "cap-exceeded"


class BreakerOpen(Refusal):
    """A circuit breaker is open: exposure may only fall."""

    code = "breaker-open"


class StaleSnapshot(Refusal):
    """The statement names a snapshot that is not in force, or has been superseded."""

    code = "stale-snapshot"


class StaleEpoch(Refusal):
    """The statement proves an epoch that is not the account's latest."""

    code = "stale-epoch"


class AmountAboveProof(Refusal):
    """More is asked for than was proved."""

    code = "amount-above-proof"


class AmountUnavailable(Refusal):
    """More is consumed or released than the credit has."""

    code = "amount-unavailable"


class StatementRefused(Refusal):
    """A true statement that is not the one this call needs (purpose, level, multiplier, horizon, overlays, venue)."""

    code = "statement-refused"


class NotAuthorised(Refusal):
    """The account's key did not authorise this: no signature of it, or of less, for less long, for others."""

    code = "not-authorised"


class SequenceConflict(Refusal):
    """A report of a credit out of order; ``expected`` is the next sequence."""

    code = "sequence-conflict"


class CreditExpired(Refusal):
    """The credit's time is over: it may be released, not used."""

    code = "credit-expired"


class NotExpired(Refusal):
    """The credit is not due to expire."""

    code = "not-expired"


class IdempotencyMismatch(Refusal):
    """An idempotency key that was used before, with another request."""

    code = "idempotency-mismatch"


class RequestInProgress(Refusal):
    """Another try under this idempotency key is at work; what becomes of it is not known yet."""

    code = "request-in-progress"
    #: Seconds after which to ask again.
    retry_after = 1


class Conflict(Refusal):
    """The thing exists already, or another change came first."""

    code = "conflict"


class CapBelowExposure(Refusal):
    """A cap cannot be set below what is out already."""

    code = "cap-below-exposure"


class PositionLimit(Refusal):
    """The change would take a position below zero or beyond what the snapshot can prove."""

    code = "position-limit"


class SnapshotRefused(Refusal):
    """A signed snapshot that this hub cannot take over."""

    code = "snapshot-refused"


class Unavailable(Refusal):
    """A part of the service does not answer; nothing is known to have changed."""

    code = "unavailable"
    exit_code = 13
