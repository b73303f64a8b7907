"""Every failure of a call as a problem document, whoever found it: the call, the models, the router, nobody."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from zkmargin.circuits.errors import InternalError, MalformedInput, ZkMarginError
from zkmargin.circuits.schema import form_of
from zkmargin.service.errors import MethodNotAllowed, NotFound, RequestTimeout
from zkmargin.service.http import problems
from zkmargin.service.http.middleware import context_of
from zkmargin.service.observability import diagnostics

_SAFE_PART = re.compile(r"[A-Za-z0-9_.:/+-]{1,64}")


def handle_errors(app: FastAPI, forms: Mapping[str, str]) -> None:
    """Every failure as a problem document; ``forms`` is what is said instead of a pattern."""

    def answer(request: Request, error: ZkMarginError) -> Response:
        context = context_of(request.scope)
        problem = problems.problem_of(error)
        context.code = problem.code
        if problem.status == 500:
            diagnostics.reporter().error(
                "fault", kind=type(error).__name__, place=diagnostics.place(error), request=context.id
            )
        return problems.response_of(error, context.id)

    async def typed(request: Request, error: Exception) -> Response:
        return answer(request, error if isinstance(error, ZkMarginError) else InternalError("unexpected"))

    async def invalid(request: Request, error: Exception) -> Response:
        faults = error.errors() if isinstance(error, RequestValidationError) else []
        return answer(request, malformed(faults[0] if faults else {}, forms))

    async def http(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        if status == 405:
            refused = MethodNotAllowed("the path has no such method")
            methods = (getattr(error, "headers", None) or {}).get("Allow", "")
            refused.allow = methods.replace("GET", "GET, HEAD")
            return answer(request, refused)
        if status == 404:
            return answer(request, NotFound("no such path"))
        if status < 500:
            return answer(request, MalformedInput("the request could not be read", field="body"))
        return answer(request, InternalError("unexpected"))

    async def gone(request: Request, error: Exception) -> Response:
        # Nobody reads this answer; it is for diagnostics and metrics, where it is no fault of ours.
        return answer(request, RequestTimeout("the client went away before the body was complete"))

    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(ZkMarginError, typed)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)


def malformed(fault: dict[str, Any], forms: Mapping[str, str]) -> MalformedInput:
    """A fault of pydantic as a typed error: where and what, never the input."""
    place = [str(part) for part in fault.get("loc", ())[1:]]
    path = ".".join(part if _SAFE_PART.fullmatch(part) else "?" for part in place)
    match fault.get("type"):
        case "extra_forbidden":
            message = "unknown key"
        case "string_pattern_mismatch":
            pattern = fault["ctx"]["pattern"]
            message = forms.get(pattern) or form_of(pattern)
        case _:
            message = fault.get("msg", "not valid")
    return MalformedInput(message, field=path or "body")
