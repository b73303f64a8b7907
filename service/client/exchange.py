"""What the client does with one request of a flow, without input or output: sign, send, wait, try again, understand.

A flow is a generator that yields requests and gets responses, so that one text of a protocol serves the sync and the
async client. ``drive`` turns a flow into plain actions, ``Send`` and ``Wait``, which ``transport`` performs.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast
from urllib.parse import quote, urlencode

import httpx2

from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.errors import MalformedInput, ZkMarginError
from zkmargin.circuits.strict_json import MAX_JSON_BYTES, parse_json
from zkmargin.service.client.signing import RequestSigner
from zkmargin.service.keys.request_signatures import IDEMPOTENCY_KEY

T = TypeVar("T")

#: Answers after which the same request may succeed: overloaded, or a proxy without its server.
RETRY_STATUS = (429, 502, 503, 504)
#: Problems with such a status that waiting does not mend: somebody has to act.
DECIDED = ("breaker-open",)
#: Problems of another status that waiting does mend: an earlier try of the same request is still at work.
UNDECIDED = ("request-in-progress",)
#: Most answers are a few kilobytes; whoever asks for a snapshot says so.
MAX_RESPONSE = 1024 * 1024
#: What an error repeats of an answer: characters, then cut.
MAX_DETAIL = 1000
_CODE = re.compile(r"[a-z0-9-]{1,64}")
_FIELD = re.compile(r"[A-Za-z0-9_.:/+?-]{1,256}")
_IDEMPOTENCY_KEY = re.compile(r"[A-Za-z0-9._:-]{1,64}")


@dataclass(frozen=True)
class Request:
    """A request to a hub. ``path`` begins with a slash, its variable parts quoted with :func:`segment`.

    A request with an ``idempotency_key`` has its effect once, however often it is sent. Bodies may be secret and are
    not shown.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)
    idempotency_key: str | None = None
    signed: bool = True
    max_response: int = MAX_RESPONSE

    @property
    def repeatable(self) -> bool:
        """Whether sending it again, not knowing what became of it, does no harm."""
        return self.method == "GET" or self.idempotency_key is not None


def get(path: str, *, signed: bool = False, max_response: int = MAX_RESPONSE, **query: str | int) -> Request:
    """A request that only reads."""
    pairs = tuple((name, str(value)) for name, value in query.items())
    return Request("GET", path, pairs, signed=signed, max_response=min(max_response, MAX_JSON_BYTES))


def post(path: str, tree: Any, *, idempotency_key: str | None = None, signed: bool = True) -> Request:
    """A request with a JSON body, sent as RFC 8785 bytes."""
    return Request("POST", path, body=canonical_bytes(tree), idempotency_key=idempotency_key, signed=signed)


def segment(text: str) -> str:
    """One segment of a path, with everything quoted that could end it; ``MalformedInput`` for what is no name."""
    if text in ("", ".", ".."):
        raise MalformedInput("not a name", field="path")
    return quote(text, safe="")


def new_idempotency_key() -> str:
    """A fresh key: 32 hex digits."""
    return secrets.token_hex(16)


@dataclass(frozen=True)
class Response:
    """A successful answer (2xx). Names of headers are lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """The body as strict JSON; ``MalformedInput`` if it is none."""
        return parse_json(self.body, name="response")


Flow = Generator[Request, Response, T]


class HubProblem(ZkMarginError):
    """The hub refused, as problem details (RFC 9457). ``code`` is the hub's own; ``http-STATUS`` if it gave none.

    The text is the hub's: cut to a line, without control characters. ``extensions`` holds the further members.
    """

    code = "hub-problem"
    exit_code = 12

    def __init__(
        self,
        code: str,
        *,
        status: int,
        detail: str,
        field: str | None = None,
        remedy: str | None = None,
        extensions: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail, field=field)
        self.code = code
        self.status = status
        self.detail = detail
        self.remedy = remedy
        self.extensions = dict(extensions or {})

    def to_json(self) -> dict[str, str]:
        """The error as a flat JSON object, with the remedy where the hub gives one."""
        return super().to_json() | ({"remedy": self.remedy} if self.remedy else {})


class HubUnreachable(ZkMarginError):
    """No answer from the hub, or none in time. A request with an idempotency key may be sent again as it is."""

    code = "hub-unreachable"
    exit_code = 13


@dataclass(frozen=True)
class Retry:
    """How often, and how long between: before try n + 1, a random time up to base * 2^n seconds, at most ``cap``; all
    tries together end ``deadline`` seconds after the first began.
    """

    tries: int = 4
    base: float = 0.2
    cap: float = 5.0
    deadline: float = 60.0


@dataclass(frozen=True)
class Send:
    """Action: send, and answer with a :class:`Response` of any status or an ``httpx2.TransportError``."""

    request: httpx2.Request
    max_response: int
    deadline: float


@dataclass(frozen=True)
class Wait:
    """Action: sleep for so many seconds."""

    seconds: float


Actions = Generator[Send | Wait, Response | None, T]


@dataclass(frozen=True)
class Settings:
    """What does not change between requests. Clock and chance are members so that a test can hold them still."""

    url: httpx2.URL
    signer: RequestSigner | None
    retry: Retry
    now: Callable[[], float] = time.time
    jitter: Callable[[float, float], float] = secrets.SystemRandom().uniform


def hub_url(text: str, *, insecure: bool = False) -> httpx2.URL:
    """The address of a hub: scheme, host and port. Plain http only to this machine, unless ``insecure``.

    Raises ``MalformedInput``.
    """
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError):
        raise MalformedInput("not a URL", field="hub") from None
    if url.scheme not in ("http", "https") or not url.host or not 0 < (url.port or 443) < 65536:
        raise MalformedInput("must begin with https:// and a host", field="hub")
    if url.raw_path not in (b"", b"/") or url.userinfo or url.fragment:
        raise MalformedInput("must be scheme, host and port alone", field="hub")
    if url.scheme == "http" and not insecure and url.host not in ("localhost", "127.0.0.1", "::1"):
        raise MalformedInput("plain http to another machine: use https", field="hub")
    return url


def drive(flow: Flow[T], settings: Settings) -> Actions[T]:
    """Run a flow: typed errors of a request are raised inside it, where it may handle them; gives its result."""
    try:
        request = next(flow)
        while True:
            try:
                response = yield from _exchange(request, settings)
            except ZkMarginError as err:
                request = flow.throw(err)
            else:
                request = flow.send(response)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        flow.close()


def _exchange(request: Request, settings: Settings) -> Actions[Response]:
    """One request until its answer; raises ``HubProblem``, ``HubUnreachable``, ``MalformedInput``."""
    retry, left = settings.retry, settings.retry.tries
    deadline = time.monotonic() + retry.deadline
    while True:
        left -= 1
        wait = min(retry.cap, retry.base * 2 ** (retry.tries - 1 - left))
        delay = settings.jitter(0, wait)
        try:
            response = cast(Response, (yield Send(_build(request, settings), request.max_response, deadline)))
        except httpx2.TransportError as err:
            # If no connection was made the hub has not seen the request, whatever it asks for.
            again = request.repeatable or isinstance(err, (httpx2.ConnectError, httpx2.ConnectTimeout))
            if not again or not left or time.monotonic() + delay >= deadline:
                raise HubUnreachable(f"no answer ({type(err).__name__})", field="hub") from None
        else:
            problem = _problem(response)
            if problem is None:
                return response
            delay = max(delay, _retry_after(response, retry.cap))
            # It is decided soon, and asking costs nobody anything: only the deadline ends this.
            left += problem.code in UNDECIDED
            open_yet = problem.code in UNDECIDED or (response.status in RETRY_STATUS and problem.code not in DECIDED)
            again = request.repeatable and open_yet
            if not again or not left or time.monotonic() + delay >= deadline:
                raise problem
        yield Wait(delay)


def _build(request: Request, settings: Settings) -> httpx2.Request:
    """The request as sent, signed anew with a nonce of its own."""
    headers = {"accept": "application/json, application/problem+json", "accept-encoding": "identity"}
    headers["user-agent"] = "zkmargin"
    if request.body:
        headers["content-type"] = "application/json"
    if request.idempotency_key is not None:
        if not _IDEMPOTENCY_KEY.fullmatch(request.idempotency_key):
            raise MalformedInput("must be 1 to 64 letters, digits or ._:-", field=IDEMPOTENCY_KEY)
        headers[IDEMPOTENCY_KEY] = request.idempotency_key
    # A request always goes to this host: a path that names another one is a path here.
    target = request.path + ("?" + urlencode(request.query, quote_via=quote) if request.query else "")
    if not target.startswith("/") or "#" in target or not target.isascii():
        raise MalformedInput("must begin with a slash, without fragment, quoted", field="path")
    try:
        url = settings.url.copy_with(raw_path=target.encode("ascii"))
    except httpx2.InvalidURL:
        raise MalformedInput("not a path", field="path") from None
    if request.signed:
        if settings.signer is None:
            raise MalformedInput("this call is signed, and the client has no key", field="key")
        path, _, query = url.raw_path.decode("ascii").partition("?")
        now = int(settings.now())
        headers = settings.signer.sign(request.method, path, query, headers, request.body, now=now)
    return httpx2.Request(request.method, url, headers=headers, content=request.body)


def _retry_after(response: Response, cap: float) -> float:
    """Seconds that the hub asks to wait (RFC 9110 section 10.2.3, the form in seconds), at most ``cap``."""
    text = response.headers.get("retry-after", "")
    return min(float(text), cap) if text.isascii() and text.isdigit() and len(text) < 7 else 0.0


def _problem(response: Response) -> HubProblem | None:
    """The typed error of an answer that is not 2xx."""
    if 200 <= response.status < 300:
        return None
    tree: Any = None
    if response.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/problem+json":
        try:
            tree = response.json()
        except MalformedInput:
            tree = None
    if not isinstance(tree, dict):
        return HubProblem(
            f"http-{response.status}", status=response.status, detail=f"the hub answered with status {response.status}"
        )
    code = str(tree.pop("type", "")).rpartition("/")[2]
    if not _CODE.fullmatch(code):
        code = f"http-{response.status}"
    title, detail, place, remedy = (_line(tree.pop(name, None)) for name in ("title", "detail", "field", "remedy"))
    for name in ("status", "code"):  # told twice
        tree.pop(name, None)
    return HubProblem(
        code,
        status=response.status,
        detail=detail or title or f"the hub answered with status {response.status}",
        field=place if place and _FIELD.fullmatch(place) else None,
        remedy=remedy,
        extensions=tree,
    )


def _line(value: Any) -> str | None:
    """Text of an answer as one line that is safe on a terminal."""
    if not isinstance(value, str) or not value:
        return None
    return "".join(ch if ch.isprintable() else " " for ch in value[:MAX_DETAIL])
