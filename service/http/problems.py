"""RFC 9457 problem details: one type for every code of :mod:`zkmargin.circuits.errors` and
:mod:`zkmargin.service.errors`.

``type`` is ``/v1/problems/CODE``, which the service itself serves. A body holds what the typed error says and no more:
typed errors never quote the input. What is unexpected becomes ``internal-error`` without any of its content.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from zkmargin.circuits.errors import InternalError, ZkMarginError

MEDIA_TYPE = "application/problem+json"
BASE = "/v1/problems/"


@dataclass(frozen=True)
class ProblemType:
    """What a code means to a client. ``shows_detail`` is False where the message is for the operator or the holder."""

    code: str
    status: int
    title: str
    remedy: str
    shows_detail: bool = True


#: Those that several domains share. One that a single domain has is declared there.
_TYPES = (
    # The shape of a request.
    ProblemType("broken-json", 400, "The body is not strict JSON", "Send UTF-8 JSON without duplicate keys or floats."),
    ProblemType("malformed-input", 422, "A value is not of the documented form", "Correct the named field."),
    ProblemType("malformed-proof", 422, "The proof is not of the documented form", "Send the bytes that prove made."),
    ProblemType("not-found", 404, "There is no such thing", "Check the path and the identifier."),
    ProblemType("method-not-allowed", 405, "The path has no such method", "Use a method of the Allow header."),
    ProblemType("not-acceptable", 406, "No acceptable media type", "Accept application/json."),
    ProblemType("request-timeout", 408, "The body did not arrive in time", "Send the request again, faster."),
    ProblemType("body-too-large", 413, "The body is larger than this call takes", "Send less, or by digest."),
    ProblemType(
        "head-too-large", 431, "The headers are larger than this service takes", "Send fewer, shorter headers."
    ),
    ProblemType(
        "unsupported-media-type", 415, "The body is not application/json", "Send Content-Type application/json."
    ),
    # Statements and proofs.
    ProblemType("statement-mismatch", 422, "Parts that do not belong together", "Make a statement from these parts."),
    ProblemType("stale-statement", 409, "Outside its time of validity", "Prove again on the latest snapshot."),
    ProblemType("proof-rejected", 422, "The proof does not hold", "Prove this statement with the account's opening."),
    ProblemType("rule-refused", 422, "The margin rule is not provable", "Correct the named term of the rule."),
    ProblemType("system-too-large", 422, "The system fits no supported size", "Use a smaller snapshot or amount."),
    ProblemType("not-solvent", 422, "The statement is false", "Ask for less, or reduce risk.", shows_detail=False),
    ProblemType("log-forked", 409, "Two histories of one log", "Keep both heads and show them to others."),
    ProblemType("oracle-refused", 422, "No snapshot from this market data", "Correct the named feed."),
    ProblemType("unknown-snapshot", 404, "The snapshot is not known here", "Send the snapshot document itself."),
    # Who asks.
    ProblemType("signature-rejected", 401, "The signature does not hold", "Sign as RFC 9421 says, with your key."),
    ProblemType("unknown-key", 401, "The key is not registered", "Register the key first."),
    ProblemType("key-not-valid", 401, "The key is not valid at this time", "Compare the clocks, or use another key."),
    ProblemType("request-replayed", 409, "This signed request was seen before", "Sign again with a fresh nonce."),
    ProblemType("request-expired", 401, "The signature is outside its time", "Set the clock and sign again."),
    ProblemType("forbidden", 403, "Not allowed to this caller", "Use a key with the role that this call needs."),
    # The ledger.
    ProblemType("unknown-venue", 404, "The venue or zone is not registered", "Register it first."),
    ProblemType("venue-suspended", 403, "The venue is suspended", "Ask the hub's operator to resume it."),
    ProblemType("account-frozen", 409, "The account is frozen", "Only exposure may fall. Ask the hub's operator."),
    ProblemType("cap-exceeded", 409, "An exposure cap would be exceeded", "Ask for less, or release other credits."),
    ProblemType("cap-below-exposure", 409, "More is out than this cap", "Wait for releases, or suspend the venue."),
    ProblemType("breaker-open", 409, "A circuit breaker is open", "Only exposure may fall now. Try again later."),
    ProblemType("stale-snapshot", 409, "The snapshot is not usable now", "Fetch the latest one and prove again."),
    ProblemType("stale-epoch", 409, "The account has a later epoch", "Fetch its opening and attestation, prove again."),
    ProblemType("amount-above-proof", 422, "More than the proof covers", "Prove the amount that is asked for."),
    ProblemType("amount-unavailable", 409, "More than the credit has", "Fetch the credit and ask for what it has."),
    ProblemType("statement-refused", 422, "Not the statement that this call needs", "Correct the named field, prove."),
    ProblemType(
        "not-authorised", 403, "Not authorised by the account's key", "Ask the holder to authorise exactly this."
    ),
    ProblemType("sequence-conflict", 409, "Not the next report of this credit", "Send the expected sequence."),
    ProblemType("credit-expired", 409, "The credit's time is over", "Request a new credit."),
    ProblemType("not-expired", 409, "The credit is not due", "Wait until it is, or let its venue release it."),
    ProblemType("position-limit", 409, "Beyond what the snapshot can prove", "Reduce the position, or recommit."),
    ProblemType("snapshot-refused", 422, "Not a snapshot for this hub", "Publish in its currency, with a credit line."),
    ProblemType(
        "idempotency-mismatch", 422, "The idempotency key had another request", "Use a fresh key for a new request."
    ),
    ProblemType(
        "request-in-progress", 409, "Another try is at work on this", "Repeat it unchanged after Retry-After's seconds."
    ),
    ProblemType("conflict", 409, "In conflict with the present state", "Fetch the present state and decide again."),
    # The service itself.
    ProblemType("overloaded", 503, "Too much work at the moment", "Try again after the Retry-After header's seconds."),
    ProblemType("too-expensive", 503, "More work than one request gets", "Verify it yourself, or in smaller calls."),
    ProblemType("unavailable", 503, "A part of the service is away", "Repeat with the same Idempotency-Key."),
    ProblemType("missing-extra", 500, "An optional part is not installed", "Tell the operator.", shows_detail=False),
    ProblemType("not-ready", 503, "The service is not ready", "Try again later."),
    ProblemType("corrupt-data", 500, "A data file is missing or changed", "Tell the operator.", shows_detail=False),
    ProblemType(
        "internal-error", 500, "A fault of this service", "Tell the operator its instance.", shows_detail=False
    ),
)
_REGISTRY = {problem.code: problem for problem in _TYPES}
#: Every problem type that an answer may have, by code.
PROBLEMS: Mapping[str, ProblemType] = MappingProxyType(_REGISTRY)
#: Problems besides those of status 503 that say when to try again.
LATER = ("request-in-progress",)
#: What every call may answer, whatever it does.
ALWAYS = ("not-acceptable", "internal-error", "overloaded")
#: And every call with a body.
WITH_BODY = ("broken-json", "malformed-input", "request-timeout", "body-too-large", "unsupported-media-type")


class Problem(BaseModel):
    """A problem document (RFC 9457). Calls may add members that their description names."""

    model_config = ConfigDict(extra="allow")

    type: Annotated[str, Field(description="URI reference of the problem type; it can be fetched")]
    title: Annotated[str, Field(description="what the type means, always the same")]
    status: Annotated[int, Field(ge=400, le=599, description="HTTP status")]
    detail: Annotated[str, Field(description="what happened this time; for people, may change")]
    instance: Annotated[str, Field(description="this request: urn:zkmargin:request: and its X-Request-Id")]
    code: Annotated[str, Field(description="stable name of the type")]
    remedy: Annotated[str, Field(description="what to do next")]
    field: Annotated[str, Field(description="path of the offending value; absent when unknown")] = ""


class ProblemTypeModel(BaseModel):
    """A problem type of this service."""

    model_config = ConfigDict(extra="forbid")

    type: Annotated[str, Field(description="URI reference of this document")]
    code: Annotated[str, Field(description="stable name")]
    status: Annotated[int, Field(ge=400, le=599, description="HTTP status that it comes with")]
    title: str
    remedy: str


def declare(problem: ProblemType) -> str:
    """Add the problem type of one domain, in its own module before the calls that name it; gives its code.

    ``ValueError`` for a code that means something else already.
    """
    if _REGISTRY.setdefault(problem.code, problem) != problem:
        raise ValueError(f"two problem types of one code: {problem.code}")
    return problem.code


def describe(problem: ProblemType) -> ProblemTypeModel:
    """The document of a problem type."""
    return ProblemTypeModel(
        type=BASE + problem.code,
        code=problem.code,
        status=problem.status,
        title=problem.title,
        remedy=problem.remedy,
    )


def problem_of(error: ZkMarginError) -> ProblemType:
    """The problem type of a typed error; a code that is not registered is our bug and says nothing."""
    return PROBLEMS.get(error.code) or PROBLEMS["internal-error"]


def body_of(error: ZkMarginError, request_id: str) -> dict[str, Any]:
    """The problem document of a typed error."""
    problem = problem_of(error)
    tree: dict[str, Any] = dict(getattr(error, "extensions", {})) if problem.shows_detail else {}
    tree |= {
        "type": BASE + problem.code,
        "title": problem.title,
        "status": problem.status,
        "detail": error.message if problem.shows_detail else problem.title,
        "instance": f"urn:zkmargin:request:{request_id}",
        "code": problem.code,
        "remedy": problem.remedy,
    }
    if error.field and problem.shows_detail:
        tree["field"] = error.field
    return tree


def headers_of(error: ZkMarginError) -> dict[str, str]:
    """Headers that belong to the error: when to try again, how to authenticate, what is allowed."""
    headers = {"cache-control": "no-store"}
    problem = problem_of(error)
    if problem.status == 503 or problem.code in LATER:
        headers["retry-after"] = str(getattr(error, "retry_after", 1))
    if problem.status == 401:
        headers["www-authenticate"] = "Signature"
    allowed = getattr(error, "allow", None)
    if problem.status == 405 and allowed:
        headers["allow"] = allowed
    return headers


def response_of(error: ZkMarginError, request_id: str) -> Response:
    """The whole answer to a failed request."""
    return Response(
        json.dumps(body_of(error, request_id)),
        status_code=problem_of(error).status,
        media_type=MEDIA_TYPE,
        headers=headers_of(error),
    )


def example(code: str) -> dict[str, Any]:
    """An example body for the API description."""
    error = InternalError("a sentence about what happened")
    error.code = code
    return body_of(error, "0c2f6f0e5d5b4b7e8f6a1d2c3b4a5968")


def responses(*codes: str, with_body: bool = False) -> dict[int | str, dict[str, Any]]:
    """``responses`` of a call: these codes and those that every call may answer, by status, an example for each."""
    wanted: Iterable[str] = dict.fromkeys((*codes, *(WITH_BODY if with_body else ()), *ALWAYS))
    by_status: dict[int, list[ProblemType]] = {}
    for code in wanted:
        by_status.setdefault(PROBLEMS[code].status, []).append(PROBLEMS[code])
    out: dict[int | str, dict[str, Any]] = {}
    for status in sorted(by_status):
        examples = {p.code: {"summary": p.title, "value": example(p.code)} for p in by_status[status]}
        answer: dict[str, Any] = {
            "description": "; ".join(f"`{p.code}`: {p.title}" for p in by_status[status]),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}},
        }
        if status == 503 or any(p.code in LATER for p in by_status[status]):
            answer["headers"] = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
        out[status] = answer
    return out
