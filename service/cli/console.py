"""How commands speak: one JSON object with ``--json``, else text; errors to exit codes; progress on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import typer

from zkmargin.circuits.errors import InternalError, MalformedInput, MissingExtra, ZkMarginError

P = ParamSpec("P")
T = TypeVar("T")
#: Our own package: a module of it that is missing is no extra.
OURS = "zkmargin"
#: Whether a document goes to standard output, so that what is said of it cannot.
_document_on_stdout: ContextVar[bool] = ContextVar("document_on_stdout", default=False)


def emit(payload: dict[str, Any], *, as_json: bool, text: Callable[[], None], ok: bool = True) -> None:
    """Print the answer of a command: JSON on one line, or whatever ``text`` prints."""
    if as_json:
        typer.echo(json.dumps({"ok": ok, **payload}))
    elif _document_on_stdout.get():
        with redirect_stdout(sys.stderr):
            text()
    else:
        text()


def warn(warnings: Iterable[str], *, as_json: bool) -> None:
    """Print warnings on standard error; with ``--json`` they are a member of the answer instead."""
    for warning in warnings if not as_json else ():
        typer.echo(f"warning: {warning}", err=True)


def fail(error: ZkMarginError, *, as_json: bool) -> typer.Exit:
    """Report a typed error (JSON on standard output, text on standard error) and give its exit."""
    if as_json:
        typer.echo(json.dumps({"ok": False, "error": error.to_json()}))
    else:
        typer.echo(f"{error.code}: {error}", err=True)
        for field, message in error.more if isinstance(error, MalformedInput) else ():
            typer.echo(f"{error.code}: {field}: {message}", err=True)
        if remedy := error.to_json().get("remedy"):
            typer.echo(remedy, err=True)
    return typer.Exit(error.exit_code)


def reports_errors(command: Callable[P, T]) -> Callable[P, T]:
    """Turn typed errors into messages and exit codes, and anything unexpected into ``internal-error`` without a
    traceback.

    A traceback could print local variables' contents, and here those may be positions or keys.
    """

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        from zkmargin.service.cli.outputs import check_options
        from zkmargin.service.files import STANDARD, declared

        as_json = bool(kwargs.get("as_json", False))
        try:
            outputs = check_options(command, kwargs)
            _document_on_stdout.set(STANDARD in outputs)
            with declared(outputs):
                return command(*args, **kwargs)
        except ZkMarginError as error:
            raise fail(error, as_json=as_json) from None
        except (typer.Exit, typer.Abort, KeyboardInterrupt, BrokenPipeError):
            raise
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == OURS:
                raise fail(_bug(error), as_json=as_json) from None
            raise fail(
                MissingExtra(
                    f"{error.name} is not installed: pip install 'zkmargin[EXTRA]' (README.md names the extras)"
                ),
                as_json=as_json,
            ) from None
        except Exception as error:
            raise fail(_bug(error), as_json=as_json) from None

    return wrapped


def _bug(error: Exception) -> InternalError:
    """What is said of an exception that nobody meant: its type and place, none of its content."""
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    line = f"{where.tb_frame.f_code.co_name}:{where.tb_lineno}" if where else "?"
    return InternalError(f"{type(error).__name__} in {line}; please report it")


@contextmanager
def progress(title: str, steps: tuple[str, ...], *, as_json: bool) -> Iterator[Callable[[str], None]]:
    """A progress bar over named steps, on a terminal's standard error only."""
    if as_json or not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    with Progress(console=Console(stderr=True, highlight=False, emoji=False), transient=True) as bar:
        task = bar.add_task(escape(title), total=len(steps))

        def advance(step: str) -> None:
            done = steps.index(step) if step in steps else None
            bar.update(task, completed=done, description=escape(f"{title}: {step}"))

        yield advance


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table; the first column left, the others right. Cells are text: brackets and colons are meant."""
    from rich.console import Console
    from rich.table import Table

    out = Table(title=title, title_justify="left")
    for i, name in enumerate(columns):
        out.add_column(name, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        out.add_row(*row)
    console = Console(width=None if sys.stdout.isatty() else 140, markup=False, highlight=False, emoji=False)
    console.print(out)
