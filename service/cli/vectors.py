"""Commands of the test vectors: generate, run, answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zkmargin.circuits.errors import MalformedInput
from zkmargin.prover.kinds import FOLDER
from zkmargin.service.cli.console import emit, progress, reports_errors, table
from zkmargin.service.cli.outputs import Writes
from zkmargin.service.cli.proofs import Json

if TYPE_CHECKING:
    from zkmargin.service.vectors.case import Topic
    from zkmargin.service.vectors.engine import Engine

vectors_app = typer.Typer(help="Cryptographic test vectors: frozen, generated, and public ones.", no_args_is_help=True)
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


@vectors_app.command()
@reports_errors
def generate(
    out: Annotated[Path | None, typer.Option(help="Folder to write to: v1, v2 in it."), Writes(FOLDER)] = None,
    check: Annotated[bool, typer.Option("--check", help="Compare with the frozen files instead of writing.")] = False,
    as_json: Json = False,
) -> None:
    """Make the vectors of every wire version from their public seed: the same bytes every time."""
    from zkmargin.prover.files import public, write_files
    from zkmargin.service.vectors.generate import TOPICS, build, compare

    if (out is None) != check:
        raise MalformedInput("either --out FOLDER or --check", field="out")
    if out is not None and not out.is_dir():
        raise MalformedInput("no such folder", field=str(out))
    with progress("vectors", tuple(TOPICS), as_json=as_json) as step:
        made = build(progress=step)
    if out is None:
        compare(made.files)
    else:
        for folder in sorted({(out / path).parent for path in made.files}):
            try:
                folder.mkdir(exist_ok=True)
            except OSError as err:
                raise MalformedInput(err.strerror or "cannot be made", field=str(folder)) from None
        write_files(*(public(out / path, data) for path, data in made.files.items()))
    answer = {
        "digest": made.digest,
        "cases": sum(n for n, _ in made.counts.values()),
        "invalid": sum(k for _, k in made.counts.values()),
        "bytes": sum(map(len, made.files.values())),
        "topics": {name: {"cases": n, "invalid": k} for name, (n, k) in made.counts.items()},
    }

    def text() -> None:
        table("vectors", ["topic", "cases", "invalid"], [[k, str(n), str(i)] for k, (n, i) in made.counts.items()])
        place = "as frozen" if out is None else f"-> {out}"
        typer.echo(f"{answer['cases']} cases, {answer['invalid']} invalid, {answer['bytes']} bytes {place}")
        typer.echo(f"digest {made.digest}")

    emit(answer, as_json=as_json, text=text)


@vectors_app.command("answer")
@reports_errors
def answer_command(engine: Annotated[str, typer.Option(help="native or reference")] = "native") -> None:
    """Answer cases on standard input, one JSON line each: an example of a driver, on our own engine."""
    from zkmargin.service.vectors.driver import serve

    chosen = chosen_engines(engine, None, 1.0)
    if len(chosen) != 1:
        raise MalformedInput("must be native or reference", field="engine")
    serve(chosen[0])
