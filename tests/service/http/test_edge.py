"""A real server and raw sockets: headers, bodies and connections that never end, and what others notice of it."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.services import running
from zkmargin.service.http import edge

LIVE = b"GET /health/live HTTP/1.1\r\nhost: service\r\n\r\n"
VERIFY = b"POST /v1/proofs/verify HTTP/1.1\r\nhost: service\r\ncontent-type: application/json\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """Port and process id of a verifier that waits a second for headers and for bodies, not more."""
    patched = pytest.MonkeyPatch()
    patched.setenv("ZKMARGIN_HEADER_TIMEOUT", "1")
    patched.setenv("ZKMARGIN_BODY_TIMEOUT", "1")
    patched.setenv("ZKMARGIN_WRITE_TIMEOUT", "1")
    patched.setenv("ZKMARGIN_MAX_CONNECTIONS", "60")
    with running(tmp_path_factory.mktemp("edge") / "log") as (process, url):
        yield int(url.rpartition(":")[2]), process.pid
    patched.undo()


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        yield line


def answer_on(line: socket.socket) -> bytes:
    """All that comes until the server closes."""
    got = b""
    while True:
        try:
            part = line.recv(65536)
        except ConnectionResetError:
            return got
        if not part:
            return got
        got += part


def one(line: socket.socket) -> bytes:
    """One answer of a connection that stays."""
    got = b""
    while b"\r\n\r\n" not in got:
        part = line.recv(65536)
        assert part, got
        got += part
    head, _, body = got.partition(b"\r\n\r\n")
    found = re.search(rb"content-length: (\d+)", head)
    assert found
    while len(body) < int(found[1]):
        body += line.recv(65536)
    return head + b"\r\n\r\n" + body


def code_of(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head[9:12]), json.loads(body)["code"] if body else ""


def alive(port: int) -> None:
    with connected(port) as line:
        line.sendall(LIVE)
        assert one(line).startswith(b"HTTP/1.1 200")


def memory_kb(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1])


BOMBS = {
    "one long line": b"x-a: " + b"a" * (40 * 1024),
    "one endless name": b"a" * (40 * 1024),
    "many lines": b"x-a: b\r\n" * (edge.MAX_HEAD_LINES + 5),
    "a long path": None,
}


@pytest.mark.parametrize("name", BOMBS)
def test_headers_beyond_the_limit_are_refused_with_431(server: tuple[int, int], name: str) -> None:
    port, _ = server
    with connected(port) as line:
        bomb = BOMBS[name]
        if bomb is None:
            line.sendall(b"GET /" + b"a" * (40 * 1024))
        else:
            line.sendall(b"GET /health/live HTTP/1.1\r\nhost: service\r\n" + bomb)
        assert code_of(answer_on(line)) == (431, "head-too-large")
    alive(port)


def test_a_header_of_many_megabytes_is_thrown_away(server: tuple[int, int]) -> None:
    """300 MiB on one connection were all kept."""
    port, pid = server
    alive(port)
    before, sent = memory_kb(pid), 0
    with connected(port) as line:
        line.sendall(b"GET / HTTP/1.1\r\nx-a: ")
        try:
            while sent < 64 * 1024 * 1024:
                line.sendall(b"a" * 1024 * 1024)
                sent += 1024 * 1024
        except OSError:
            pass  # closed on the way, which is well
        assert memory_kb(pid) - before < 16 * 1024
    alive(port)


def test_trailers_are_no_headers_and_framing_is_bounded(server: tuple[int, int]) -> None:
    port, pid = server
    start = VERIFY + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n"
    with connected(port) as line:
        line.sendall(start + b"0\r\ncontent-encoding: gzip\r\n\r\n")
        # The body is judged, so the trailer was not taken for a header that would refuse it.
        assert code_of(one(line)) == (422, "malformed-input")
    before = memory_kb(pid)
    for endless in (b"0\r\n" + b"x-a: b\r\n" * 400_000, b"1;" + b"e" * 2**22, b"0\r\nx-a: " + b"b" * 2**22):
        with connected(port) as line:
            try:
                line.sendall(start + endless)
                got = answer_on(line)
            except OSError:
                got = b""
            assert got[9:12] in (b"", b"431", b"400"), got[:200]
    assert memory_kb(pid) - before < 16 * 1024
    alive(port)


def test_slow_headers_are_given_up(server: tuple[int, int]) -> None:
    """A connection without a request, half a request, blank lines for ever: each has the time of the headers."""
    port, _ = server
    begin = time.monotonic()
    with connected(port) as silent, connected(port) as half, connected(port) as blank, connected(port) as kept:
        half.sendall(b"GET /health/live HTTP/1.1\r\nhost: ser")
        kept.sendall(LIVE)
        assert one(kept).startswith(b"HTTP/1.1 200")
        kept.sendall(b"GET /heal")
        blank.settimeout(0.05)
        got = b""
        while time.monotonic() - begin < 10:
            try:
                blank.sendall(b"\r\n")
                got = blank.recv(65536)
                break
            except TimeoutError:
                continue
            except OSError:
                break
        for name, line in (("silent", silent), ("half", half), ("kept", kept)):
            assert code_of(answer_on(line)) == (408, "request-timeout"), name
    assert got[9:12] in (b"", b"408")
    assert time.monotonic() - begin < 10
    alive(port)


def test_a_slow_body_is_told_so(server: tuple[int, int]) -> None:
    port, _ = server
    with connected(port) as line:
        line.sendall(VERIFY + b"content-length: 100\r\n\r\n{")
        assert code_of(one(line)) == (408, "request-timeout")


BUNDLE = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: service\r\n\r\n"


@pytest.mark.parametrize("reads", [False, True], ids=["stops", "reads on"])
def test_whoever_does_not_read_is_dropped(server: tuple[int, int], reads: bool) -> None:
    """Answers of megabytes, more than a connection's buffers hold, to a client that stops reading for a while."""
    port, _ = server
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.settimeout(20)
        line.connect(("127.0.0.1", port))
        line.sendall(5 * BUNDLE + BUNDLE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
        if not reads:
            time.sleep(2.5)
        got = answer_on(line)
    # What its buffers hold it may still read.
    assert (got.count(b"HTTP/1.1 200") == 6) == reads
    alive(port)


def test_few_requests_wait_behind_one_another(server: tuple[int, int]) -> None:
    port, _ = server
    with connected(port) as line:
        line.sendall(LIVE * 5)
        got = b""
        while got.count(b"HTTP/1.1 200") < 5:
            got += line.recv(65536)
    with connected(port) as line:
        try:
            line.sendall(LIVE * 5000)
            got = answer_on(line)
        except OSError:
            got = b""
        assert got.count(b"HTTP/1.1 200") < 5000
    alive(port)


def test_more_connections_than_allowed_are_dropped_and_the_others_served(server: tuple[int, int]) -> None:
    port, _ = server
    lines = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(80)]
    try:
        lines[0].sendall(LIVE)
        assert one(lines[0]).startswith(b"HTTP/1.1 200")
        assert answer_on(lines[79]) == b""
    finally:
        for line in lines:
            line.close()
