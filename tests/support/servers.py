"""Real server processes of one hub, and a caller that signs each request and repeats it until it is answered."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.support.places import ROOT
from zkmargin.service.client.signing import RequestSigner

Tree = dict[str, Any]
SERVE = ("-m", "zkmargin")
#: Problems after which nothing is known, or nothing was tried: repeat with the same idempotency key.
AGAIN = frozenset({"unavailable", "overloaded", "not-ready", "request-timeout", "request-in-progress"})
READY_SECONDS = 60


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


class ServerProcess:
    """``zkmargin serve`` in a process of its own (``program`` may be another one, to break it)."""

    def __init__(
        self, environment: dict[str, str], directory: Path, *, workers: int = 1, program: Sequence[str] = SERVE
    ) -> None:
        self.port = free_port()
        self.log = directory / f"server-{self.port}.log"
        self.workers = workers
        self._environment = os.environ | environment
        self._command = [sys.executable, *program, "serve", "--port", str(self.port), "--workers", str(workers)]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; see :meth:`wait_ready`."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, cwd=ROOT, stderr=log, stdout=log, env=self._environment)

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def wait_ready(self) -> None:
        """Until it takes work."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            assert self.running, self.log.read_text()[-3000:]
            try:
                if call(self.port, "GET", "/health/ready")[0] == 200:
                    return
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.05)
        raise AssertionError(f"not ready in time: {self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        """SIGKILL: no clean-up, no last answer."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def terminate(self) -> None:
        """SIGTERM: a graceful end begins."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Exit code of the graceful end."""
        assert self.process is not None
        return self.process.wait(60)

    def stop(self) -> int:
        """A graceful end; gives the exit code."""
        self.terminate()
        return self.wait()


def call(
    port: int, method: str, path: str, *, body: bytes = b"", headers: dict[str, str] | None = None, timeout: float = 60
) -> tuple[int, Any]:
    """One request on a connection of its own; gives status and JSON. Raises ``OSError`` or ``HTTPException``."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body or None, headers or {})
        answer = connection.getresponse()
        data = answer.read()
    finally:
        connection.close()
    return answer.status, json.loads(data) if data else None


class Caller:
    """A principal that calls whichever server is there."""

    def __init__(self, key: bytes, hub: str, ports: Sequence[int], rng: Random) -> None:
        self.signer = RequestSigner(Ed25519PrivateKey.from_private_bytes(key), hub)
        self.ports, self.rng = list(ports), rng
        #: Outcomes that stayed open, and requests repeated for it.
        self.lost = 0

    def headers(self, method: str, path: str, body: bytes, key: str | None) -> dict[str, str]:
        """Headers of a request, signed now."""
        plain = {"content-type": "application/json"} if body else {}
        if key is not None:
            plain["idempotency-key"] = key
        bare, _, query = path.partition("?")
        return self.signer.sign(method, bare, query, plain, body, now=int(time.time()))

    def once(self, method: str, path: str, tree: Tree | None = None, key: str | None = None) -> tuple[int, Any]:
        """One request to a server picked at random."""
        body = b"" if tree is None else json.dumps(tree).encode()
        headers = self.headers(method, path, body, key)
        return call(self.rng.choice(self.ports), method, path, body=body, headers=headers)

    def until_answered(
        self, method: str, path: str, tree: Tree | None = None, key: str | None = None
    ) -> tuple[int, Any, int]:
        """Repeat under the same idempotency key until there is an answer; gives also how often there was none."""
        open_outcomes = 0
        while True:
            try:
                status, answer = self.once(method, path, tree, key)
            except (OSError, http.client.HTTPException, ValueError):
                open_outcomes += 1
            else:
                if status < 400 or answer.get("code") not in AGAIN:
                    return status, answer, open_outcomes
                open_outcomes += 1
            self.lost += 1
            time.sleep(self.rng.uniform(0.02, 0.3))

    def hang_up(self, path: str, tree: Tree, key: str, seconds: float) -> None:
        """Send a POST and be gone before its answer."""
        body = json.dumps(tree).encode()
        lines = self.headers("POST", path, body, key) | {"host": "hub", "content-length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        try:
            with socket.create_connection(("127.0.0.1", self.rng.choice(self.ports)), timeout=10) as line:
                line.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
                time.sleep(seconds)
        except OSError:
            pass
