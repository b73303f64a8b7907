"""Commands of the test vectors: run, answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zkmargin.circuits.errors import MalformedInput
from zkmargin.service.cli.console import emit, progress, reports_errors, table
from zkmargin.service.cli.options import Json

if TYPE_CHECKING:
    from zkmargin.service.vectors.case import Topic
    from zkmargin.service.vectors.engine import Engine

vectors_app = typer.Typer(help="Cryptographic test vectors: frozen and public ones.", no_args_is_help=True)
ENGINES = ("native", "reference", "both")
FAILED_EXIT = 6


def chosen_engines(name: str, driver: str | None, timeout: float) -> list[Engine]:
    """The engines to run: ours by name, or a program alone."""
    if name not in ENGINES:
        raise MalformedInput(f"must be one of {', '.join(ENGINES)}", field="engine")
    if driver is not None:
        from zkmargin.service.vectors.driver import Driver

        return [Driver(driver, seconds=timeout)]
    found: list[Engine] = []
    if name in ("native", "both"):
        from zkmargin.service.vectors import native

        found.append(native.engine())
    if name in ("reference", "both"):
        from zkmargin.service.vectors import reference

        found.append(reference.engine())
    return found


def chosen_topics(suites: list[str]) -> list[Topic]:
    """``TOPIC`` of the frozen vectors or ``NAME=FOLDER`` of a public suite; nothing means all that is frozen."""
    from zkmargin.service.vectors.case import load_topic, topic_names
    from zkmargin.service.vectors.suites import load_suite

    shipped = topic_names()
    out: list[Topic] = []
    for text in suites or shipped:
        name, sep, path = text.partition("=")
        if sep:
            out.append(load_suite(name, Path(path)))
        elif name in shipped:
            out.append(load_topic(name))
        else:
            raise MalformedInput(f"neither NAME=FOLDER nor one of {', '.join(shipped)}", field="suite")
    return out


@vectors_app.command()
@reports_errors
def run(
    suite: Annotated[
        list[str] | None,
        typer.Option(help="A frozen topic, or kzg=FOLDER, eip2537=FOLDER, rfc9380=FOLDER; repeatable. All by default."),
    ] = None,
    engine: Annotated[str, typer.Option(help="native, reference or both")] = "native",
    driver: Annotated[
        str | None, typer.Option(help='Another implementation instead: "PROGRAM ARGS", asked line by line.')
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds for one answer of the driver.")] = 30.0,
    as_json: Json = False,
) -> None:
    """Run test vectors; any wrong answer, or nothing run, fails."""
    from zkmargin.service.vectors.runner import run as run_all

    topics = chosen_topics(suite or [])
    engines = chosen_engines(engine, driver, timeout)
    try:
        with progress("vectors", tuple(t.name for t in topics), as_json=as_json) as step:
            report = run_all(topics, engines, progress=step)
    finally:
        for one in engines:
            one.close()

    def text() -> None:
        columns = ["topic", "engine", "cases", "invalid", "passed", "failed", "not covered", "seconds"]
        rows = [
            [t.topic, t.engine, *map(str, (t.cases, t.invalid, t.passed, t.failed, t.not_covered)), f"{t.seconds:.1f}"]
            for t in report.tallies
        ]
        table("test vectors", columns, rows)
        for f in report.failures:
            typer.echo(f"FAILED {f.engine} {f.topic} {f.case}: {f.reason}")
        typer.echo(f"{report.ran} answers: {report.ran - sum(t.failed for t in report.tallies)} right", nl=False)
        typer.echo(f", {sum(t.failed for t in report.tallies)} wrong", nl=False)
        typer.echo(f"; {sum(t.not_covered for t in report.tallies)} cases not covered by the engine")

    emit(report.to_json(), as_json=as_json, text=text, ok=report.ok)
    if not report.ok:
        raise typer.Exit(FAILED_EXIT)


@vectors_app.command("answer")
@reports_errors
def answer_command(engine: Annotated[str, typer.Option(help="native or reference")] = "native") -> None:
    """Answer cases on standard input, one JSON line each: an example of a driver, on our own engine."""
    from zkmargin.service.vectors.driver import serve

    chosen = chosen_engines(engine, None, 1.0)
    if len(chosen) != 1:
        raise MalformedInput("must be native or reference", field="engine")
    serve(chosen[0])
