"""Prometheus metrics of one server process; several of them share a directory (multi-process mode)."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Set by ``serve`` before the server processes start, when there are several.
DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
LATENCY = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """All counters of a service. Labels are route templates, statuses and codes: never a path or a name."""

    def __init__(self) -> None:
        self.registry = r = CollectorRegistry()
        self.requests = Counter("zkmargin_http_requests", "requests", ("method", "route", "status"), registry=r)
        self.problems = Counter("zkmargin_http_problems", "failed requests by code", ("code",), registry=r)
        self.latency = Histogram(
            "zkmargin_http_request_seconds", "time of a request", ("route",), buckets=LATENCY, registry=r
        )
        self.in_progress = Gauge(
            "zkmargin_http_in_progress", "requests in progress", registry=r, multiprocess_mode="livesum"
        )
        self.verdicts = Counter("zkmargin_verdicts", "verdicts by code of the failing check", ("code",), registry=r)
        self.batch = Histogram("zkmargin_verify_batch_size", "proofs in a batch", buckets=SIZES, registry=r)
        self.work = Histogram("zkmargin_verify_batch_seconds", "time of a batch", buckets=LATENCY, registry=r)
        self.queue = Gauge(
            "zkmargin_verify_queue", "jobs that wait for a process", registry=r, multiprocess_mode="livesum"
        )
        self.replaced = Counter("zkmargin_verify_processes_replaced", "processes that died or hung", registry=r)

    def render(self) -> bytes:
        """The exposition text: of all server processes in multi-process mode."""
        if DIRECTORY_VARIABLE in os.environ:
            shared = CollectorRegistry()
            MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
            return generate_latest(shared)
        return generate_latest(self.registry)

    @staticmethod
    def close() -> None:
        """Forget this process's live gauges."""
        if DIRECTORY_VARIABLE in os.environ:
            mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]
