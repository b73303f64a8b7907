"""The edge of the server: uvicorn's HTTP protocol, with bounds on all that comes before, around and between bodies.

httptools keeps a header until it is complete, however long that takes and however long it is; uvicorn waits for it for
ever. Here a request line with its headers has so many bytes, lines and seconds, the framing of a body has no more bytes
than the body, and few requests wait behind another on one connection. Bodies themselves have their limits in
:mod:`zkmargin.service.http.middleware`, where the call is known.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from zkmargin.circuits.errors import ZkMarginError
from zkmargin.service.errors import HeadTooLarge, RequestTimeout
from zkmargin.service.http.context import Service
from zkmargin.service.http.problems import response_of
from zkmargin.service.observability.diagnostics import reporter

#: Request line and headers. A signed request has some 1,500 bytes in a dozen lines; browsers and proxies add theirs.
MAX_HEAD_BYTES = 32 * 1024
MAX_HEAD_LINES = 100
#: Requests that may wait behind one on the same connection.
MAX_PIPELINED = 8
#: What is fed to the parser at once, so that none of the limits is passed by more.
PIECE = 8 * 1024
#: Seconds beyond the service's own time-out for a body, in which it says so itself.
BODY_MARGIN = 10.0
#: Seconds in which a client that was refused may read why, while what it goes on sending is thrown away.
LINGER = 2.0
#: How often at least a reader must make room for more of an answer within the service's time-out for it, if it is not
#: yet whole: some 50 kB each time, so 10 kB a second.
LEAST_RESUMED = 4


class EdgeProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        service: Service = self.config.loaded_app.state.service
        self.service, self.settings = service, service.settings
        self._timer: asyncio.TimerHandle | None = None
        self._reader: asyncio.TimerHandle | None = None
        self._resumed = 0
        self._refusal: ZkMarginError | None = None
        self._lingering = self._head_complete = False
        #: Bytes of the present message outside its body and inside.
        self._outside = self._inside = 0

    # --- time

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a first request for as long as for its headers."""
        super().connection_made(transport)
        if len(self.connections) > self.settings.max_connections:
            transport.abort()
            return
        self._wait(self.settings.header_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._wait(None)
        if self._reader is not None:
            self._reader.cancel()
        super().connection_lost(exc)

    def _wait(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        self._timer = None
        if self._lingering or self._head_complete:
            # The call has told a slow body already; what still comes is for nobody.
            self.transport.close()
        elif self._outside or self.cycle is None:
            self._refuse(RequestTimeout("the headers did not arrive in time"))
        elif self.cycle.response_complete:
            self.transport.close()

    # --- what goes

    def pause_writing(self) -> None:
        """The reader takes less than is sent: from here it has its time."""
        super().pause_writing()
        if self._reader is None:
            self._watch_reader()

    def resume_writing(self) -> None:
        """The reader has made room."""
        super().resume_writing()
        self._resumed += 1

    def _watch_reader(self) -> None:
        self._resumed = 0
        self._reader = self.loop.call_later(self.settings.write_timeout, self._slow_reader)

    def _slow_reader(self) -> None:
        self._reader = None
        if not self.flow.write_paused:
            return
        if self._resumed >= LEAST_RESUMED:
            self._watch_reader()
        else:
            # Not closed: that would wait until all is read.
            self.transport.abort()

    # --- what comes

    def data_received(self, data: bytes) -> None:
        """Feed the parser piece by piece, and stop where a limit is passed."""
        if self._lingering or (self._head_complete and self._idle()):
            # What goes on after its answer is read, so that the client comes to read it, but in its turn.
            self._pause(self.service.sluice.delay(len(data), self.loop.time()))
        for start in range(0, len(data), PIECE):
            if self._lingering or self.transport.is_closing():
                return
            piece = data[start : start + PIECE]
            self._outside += len(piece)
            super().data_received(piece)
            if self._outside > MAX_HEAD_BYTES + self._inside:
                self._refuse(HeadTooLarge(f"more than {MAX_HEAD_BYTES} bytes outside the body"))
        if self._timer is None and not self._lingering and not self._head_complete and self._idle():
            # Blank lines before a request begin none, but uvicorn has stopped its own clock for them.
            self._wait(self.settings.header_timeout)

    def _pause(self, seconds: float) -> None:
        if seconds > 0 and not self.transport.is_closing():
            self.transport.pause_reading()
            self.loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        if not self.transport.is_closing() and not self.flow.read_paused:
            self.transport.resume_reading()

    def _idle(self) -> bool:
        return self.cycle is None or bool(self.cycle.response_complete)

    def on_message_begin(self) -> None:
        """The clock of the headers runs."""
        if len(self.pipeline) >= MAX_PIPELINED:
            self._refusal = HeadTooLarge("too many requests wait on this connection")
            raise self._refusal
        super().on_message_begin()
        self._head_complete = False
        self._outside, self._inside = 1, 0
        self._wait(self.settings.header_timeout)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; a trailer is none, since nobody has signed it when the call begins."""
        if self._head_complete:
            return
        if len(self.headers) >= MAX_HEAD_LINES:
            self._refusal = HeadTooLarge(f"more than {MAX_HEAD_LINES} header lines")
            raise self._refusal
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The clock of the body runs, whether or not anybody reads it."""
        self._head_complete = True
        self._wait(self.settings.body_timeout + BODY_MARGIN)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Count it apart."""
        self._outside -= len(body)
        self._inside += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A whole request: from here the answer takes the time that it takes."""
        self._wait(None)
        self._head_complete = False
        self._outside = self._inside = 0
        super().on_message_complete()

    # --- refusals

    def send_400_response(self, msg: str) -> None:
        """The parser stopped: by a limit of ours, or because this is no HTTP."""
        if self._refusal is not None:
            self._refuse(self._refusal)
        elif not self.transport.is_closing():
            super().send_400_response(msg)

    def _refuse(self, error: ZkMarginError) -> None:
        """Say why, and close once the client has had time to read it."""
        if self._lingering or self.transport.is_closing():
            return
        self._lingering = True
        self.service.metrics.problems.labels(error.code).inc()
        reporter().info("refused", code=error.code)
        if self._idle():
            answer = response_of(error, secrets.token_hex(16))
            lines = [*answer.raw_headers, (b"connection", b"close")]
            head = b"".join(name + b": " + value + b"\r\n" for name, value in lines)
            self.transport.write(STATUS_LINE[answer.status_code] + head + b"\r\n" + bytes(answer.body))
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self._wait(LINGER)
        else:
            # Another request of this connection is being answered, and the two answers must not mix.
            self.transport.close()
