"""What an operator reads: structured lines on standard error.

Events have fixed names and typed members; no body, path, query or key.

An exception is told by type and place alone: its message or its frames' locals could hold a position.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

BRIDGED = ("uvicorn.error", "asyncio", "concurrent.futures")


def configure(level: str = "info", style: str = "json") -> None:
    """Set up structlog for this process, and silence the server's own loggers below warnings."""
    renderer: Any = (
        structlog.processors.JSONRenderer() if style == "json" else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    for name in BRIDGED:
        bridged = logging.getLogger(name)
        bridged.handlers, bridged.propagate = [_Bridge(logging.WARNING)], False


class _Bridge(logging.Handler):
    """Warnings of the server and of asyncio: the first line of their text, never a traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        """One event for one record."""
        first = str(record.msg).partition("\n")[0][:100]
        reporter().warning("server", logger=record.name, message=first)


def reporter() -> Any:
    """What writes diagnostics."""
    return structlog.get_logger()


def place(error: BaseException) -> str:
    """Function and line where an exception came from, without any value."""
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    return f"{where.tb_frame.f_code.co_name}:{where.tb_lineno}" if where else "?"
