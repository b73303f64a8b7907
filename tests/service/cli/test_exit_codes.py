"""Every exit code of docs/FILES.md, by a command that gives it; and what is printed on the way."""

from __future__ import annotations

import builtins
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tests.circuits.test_market_rules import line, make, tiered
from tests.service.cli.test_cli import NOW, World, ask, build, demo_file
from tests.service.cli.test_outputs import ALL, ENV, Command
from tests.support.ledgers import Hub  # noqa: F401 - the ledger's errors are subclasses too
from tests.support.places import ROOT
from zkmargin.circuits import errors
from zkmargin.circuits.errors import ZkMarginError
from zkmargin.circuits.rules import Terms
from zkmargin.prover.explain import explain
from zkmargin.service.cli.explained import grouped, money, show
from zkmargin.service.cli.root import app
from zkmargin.service.client.transport import HubProblem
from zkmargin.service.errors import NotFound
from zkmargin.service.refusals import Conflict
from zkmargin.verifier.facts.transparency import LogForked

RUNNER = CliRunner()
TEXT = (ROOT / "docs" / "FILES.md").read_text()
#: Exit code to the codes in JSON that its row of the document names.
ROWS = {
    int(number): re.findall(r"`([a-z-]+)`", codes)
    for number, codes in re.findall(r"^\| ([0-9]+) \|([^|]*)\|", TEXT.split("## Exit codes")[1], re.M)
}
Case = Callable[["World", Path, pytest.MonkeyPatch], tuple[int, str]]
CASES: dict[int, list[Case]] = {}


def case(number: int) -> Callable[[Case], Case]:
    def register(function: Case) -> Case:
        CASES.setdefault(number, []).append(function)
        return function

    return register


def said(*words: object, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit code and the code in JSON of a command."""
    result = RUNNER.invoke(app, [*map(str, words), "--json"], env=env)
    try:
        return result.exit_code, json.loads(result.stdout).get("error", {}).get("code", "")
    except ValueError:
        return result.exit_code, ""


def explained(w: World) -> tuple[str, ...]:
    return ("explain", "--snapshot", str(w.snapshot), "--portfolio", str(w.portfolio))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build(tmp_path_factory.mktemp("exits"))


def raising(error: BaseException) -> Callable[..., Any]:
    def function(*_: object, **__: object) -> Any:
        raise error

    return function


@case(0)
def done(w: World, p: Path, m: pytest.MonkeyPatch) -> tuple[int, str]:
    return said(*explained(w))


@case(1)
def aborted(w: World, p: Path, m: pytest.MonkeyPatch) -> tuple[int, str]:
    m.setattr("zkmargin.service.cli.proofs.read_snapshot", raising(typer.Abort()))
    return said(*explained(w))


@case(2)
def wrong_usage(w: World, p: Path, m: pytest.MonkeyPatch) -> tuple[int, str]:
    return said("explain", "--no-such-option")


@case(3)
def malformed(w: World, p: Path, m: pytest.MonkeyPatch) -> tuple[int, str]:
    return said("explain", "--snapshot", p / "none", "--portfolio", w.portfolio)


@case(3)
def wrong_proof(w: World, p: Path, m: pytest.MonkeyPatch) -> tuple[int, str]:
    tree = json.loads(w.proof.read_bytes())
    (p / "p.json").write_text(json.dumps(tree | {"proof": tree["proof"] + "00"}))
    return said("verify", "--statement", w.statement, "--snapshot", w.snapshot, "--proof", p / "p.json", "--now", NOW)


@case(4)
def mismatch(w: World, p: Path, m: pytest.MonkeyPatch) -> tuple[int, str]:
    ask(w, p / "other.json", "7")
    return said("verify", "--statement", p / "other.json", "--snapshot", w.snapshot, "--proof", w.proof, "--now", NOW)


@case(4)
def no_ledger(w: World, p: Path, m: pytest.MonkeyPatch) -> tuple[int, str]:
    env = {"ZKMARGIN_DATABASE_URL": f"sqlite:///{p}/none.db", "ZKMARGIN_STORAGE_KEYS": "ab" * 32}
    answers = {said(*words, env=env) for words in (("ledger", "audit"), ("hub", "migrate"), ("hub", "reseal"))}
    result = RUNNER.invoke(app, ["serve", "--role", "hub", "--port", "0"], env=env)
    assert "run zkmargin hub init" in result.stderr
    assert list(p.iterdir()) == []  # what asks for a ledger leaves none
    [answer] = answers | {(result.exit_code, "statement-mismatch")}
    return answer


@case(5)
def stale(w: World, p: Path, m: pytest.MonkeyPatch) -> tuple[int, str]:
    return said("verify", "--statement", w.statement, "--snapshot", w.snapshot, "--proof", w.proof)


@case(6)
def rejected(w: World, p: Path, m: pytest.MonkeyPatch) -> tuple[int, str]:
    tree = json.loads(w.proof.read_bytes())
    flipped = tree["proof"][:-1] + ("0" if tree["proof"][-1] != "0" else "1")
    (p / "p.json").write_text(json.dumps(tree | {"proof": flipped}))
    return said("verify", "--statement", w.statement, "--snapshot", w.snapshot, "--proof", p / "p.json", "--now", NOW)


@case(7)
def refused_rule(w: World, p: Path, m: pytest.MonkeyPatch) -> tuple[int, str]:
    table = [
        {"lower": "0", "initial_ppm": 9, "maintenance_ppm": 9},
        {"lower": "5", "initial_ppm": 1, "maintenance_ppm": 1},
    ]
    (p / "s.json").write_bytes(tiered(table).to_bytes())
    (p / "p.json").write_text('{"schema":"zkmargin/portfolio/1","positions":[]}')
    return said("explain", "--snapshot", p / "s.json", "--portfolio", p / "p.json")


@case(8)
def not_solvent(w: World, p: Path, m: pytest.MonkeyPatch) -> tuple[int, str]:
    ask(w, p / "s.json", "5000000")
    words = ("prove", "--statement", p / "s.json", "--snapshot", w.snapshot, "--opening", w.opening)
    return said(*words, "--out", p / "p.json", env=ENV)


@case(9)
def corrupt(w: World, p: Path, m: pytest.MonkeyPatch) -> tuple[int, str]:
    from zkmargin.verifier import srs

    m.setattr(srs, "PINNED", dict.fromkeys(srs.PINNED, "0" * 64))
    return said("srs", "verify")


@case(10)
def no_market(w: World, p: Path, m: pytest.MonkeyPatch) -> tuple[int, str]:
    from zkmargin.service.oracle.errors import OracleRefused

    m.setattr("zkmargin.service.oracle.build.build", raising(OracleRefused("too few feeds", field="feeds")))
    m.setattr("zkmargin.service.oracle.config.parse_config", lambda *_: None)
    (p / "feeds").mkdir()
    build_words = ("oracle", "build", "--config", w.snapshot, "--feeds", p / "feeds", "--out", p / "out")
    return said(*build_words, "--key", w.hub_key, env=ENV)


@case(11)
def forked(w: World, p: Path, m: pytest.MonkeyPatch) -> tuple[int, str]:
    from zkmargin.service.cli.session import Session

    m.setattr(Session, "trust", property(lambda self: None))
    m.setattr(Session, "run", raising(LogForked("two heads", held=None, shown=None, proven=False)))
    return said("log", "head", "--hub", "https://hub")


@case(12)
def conflict(w: World, p: Path, m: pytest.MonkeyPatch) -> tuple[int, str]:
    env = {"ZKMARGIN_DATABASE_URL": f"sqlite:///{p}/hub.db", "ZKMARGIN_STORAGE_KEYS": "ab" * 32}
    words = ("hub", "init", "--name", "h", "--currency", "USD", "--decimals", "2", "--operator-key", w.hub_pub)
    assert said(*words, env=env)[0] == 0
    code, name = said(*words, env=env)
    assert name == "conflict"  # a code of the hub
    return code, ""


@case(13)
def unopenable(w: World, p: Path, m: pytest.MonkeyPatch) -> tuple[int, str]:
    (p / "text.db").write_text("this is no database, and long enough to be read as one" * 20)
    (p / "folder.db").mkdir()
    urls = [f"sqlite:///{p}/{name}" for name in ("no/such/folder.db", "text.db", "folder.db")]
    urls += ["postgresql://nobody@127.0.0.1:1/x"]
    answers = set()
    for url in urls:
        env = {"ZKMARGIN_DATABASE_URL": url, "ZKMARGIN_STORAGE_KEYS": "ab" * 32}
        answers |= {said(*words, env=env) for words in (("ledger", "audit"), ("hub", "migrate"), ("hub", "reseal"))}
        init = ("hub", "init", "--name", "h", "--currency", "USD", "--decimals", "2", "--operator-key", w.hub_pub)
        answers.add(said(*init, env=env))
    [answer] = answers
    return answer


def missing(m: pytest.MonkeyPatch, *packages: str) -> None:
    real = builtins.__import__

    def load(name: str, *args: Any, **more: Any) -> Any:
        if name.partition(".")[0] in packages and (len(args) < 4 or args[3] == 0):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **more)

    for loaded in [name for name in sys.modules if name.partition(".")[0] in packages]:
        m.delitem(sys.modules, loaded)
    m.setattr(builtins, "__import__", load)


@case(14)
def no_matplotlib(w: World, p: Path, m: pytest.MonkeyPatch) -> tuple[int, str]:
    missing(m, "matplotlib")
    return said(*explained(w), "--plot", p / "a.png")


@case(14)
def no_numpy(w: World, p: Path, m: pytest.MonkeyPatch) -> tuple[int, str]:
    from zkmargin.service.oracle import black76

    (p / "feeds").mkdir()
    m.setattr("zkmargin.service.oracle.config.parse_config", lambda *_: black76.require_numpy())
    missing(m, "numpy")
    words = ("oracle", "build", "--config", w.snapshot, "--feeds", p / "feeds", "--out", p / "out")
    return said(*words, "--key", w.hub_key, env=ENV)


@case(14)
def no_package_that_nobody_thought_of(w: World, p: Path, m: pytest.MonkeyPatch) -> tuple[int, str]:
    m.setattr(
        "zkmargin.service.cli.proofs.read_snapshot", raising(ModuleNotFoundError("No module named 'x'", name="x.y"))
    )
    return said(*explained(w))


@case(15)
def nobody_agreed(w: World, p: Path, m: pytest.MonkeyPatch) -> tuple[int, str]:
    for module in ("options", "proofs"):
        m.setattr(f"zkmargin.service.cli.{module}.clock", lambda now: int(NOW))
    ask(w, p / "s.json", "7", "--for", "credit")
    words = ("account", "authorise", "--statement", p / "s.json", "--snapshot", w.snapshot, "--key", w.hub_key)
    return said(*words, "--out", p / "a.json", env=ENV)


@case(70)
def our_bug(w: World, p: Path, m: pytest.MonkeyPatch) -> tuple[int, str]:
    m.setattr("zkmargin.service.cli.proofs.read_snapshot", raising(ValueError("a secret")))
    return said(*explained(w))


@case(70)
def a_module_of_ours_is_missing(w: World, p: Path, m: pytest.MonkeyPatch) -> tuple[int, str]:
    m.setattr(
        "zkmargin.service.cli.proofs.read_snapshot",
        raising(ModuleNotFoundError("No module", name="zkmargin.gone")),
    )
    return said(*explained(w))


@case(130)
def interrupted(w: World, p: Path, m: pytest.MonkeyPatch) -> tuple[int, str]:
    m.setattr("zkmargin.service.cli.proofs.read_snapshot", raising(KeyboardInterrupt()))
    return said(*explained(w))


def test_every_row_of_the_document_has_a_case() -> None:
    assert set(CASES) == set(ROWS)


TABLE = [pytest.param(n, c, id=f"{n}-{c.__name__}") for n, cases in CASES.items() for c in cases]


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize(("number", "run"), TABLE)
def test_a_command_ends_as_documented(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, run: Case
) -> None:
    code, name = run(world, tmp_path, monkeypatch)
    assert code == number
    assert name in ROWS[number] if name else number in (0, 1, 2, 12, 130)


def kinds(base: type[ZkMarginError] = ZkMarginError) -> Iterator[type[ZkMarginError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from kinds(kind)


def test_every_error_has_the_exit_code_of_its_row() -> None:
    of_code = {name: number for number, names in ROWS.items() for name in names}
    assert of_code["missing-extra"] == errors.MissingExtra.exit_code
    for kind in kinds():
        if not kind.__module__.startswith("zkmargin.") or "code" not in vars(kind):
            continue
        if kind.__module__ == "zkmargin.service.vectors.engine":
            continue  # Its verdict on an engine, which the runner counts and nobody is told as an error.
        expected = of_code.get(kind.code, 12)
        assert kind.exit_code == expected or kind.__module__ == "zkmargin.service.errors", kind
    assert {Conflict, NotFound} <= set(kinds())
    assert HubProblem in set(kinds())


#: What the entry point imports first, next, and last.
EARLY = (
    "typer",
    "zkmargin.circuits.errors",
    "zkmargin.service.cli.proofs",
    "zkmargin.service.cli.console",
    "zkmargin.service.cli.root",
    "zkmargin.service.cli.venue",
)
INTERRUPT = """
import sys
module, sys.argv = sys.argv[1], ["zkmargin", "--version"]
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
from zkmargin.service.cli.entry import main
main()
"""


@pytest.mark.parametrize("module", EARLY)
def test_an_interrupt_while_importing_is_quiet(module: str) -> None:
    ended = subprocess.run([sys.executable, "-c", INTERRUPT, module], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_the_entry_point_imports_nothing_before_it_can_be_interrupted() -> None:
    code = "import sys, zkmargin.__main__; print({'typer', 'zkmargin.circuits.errors'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_version_and_short_help() -> None:
    assert re.fullmatch(r"zkmargin [0-9]+\.[0-9]+\.[0-9]+\S*\n", RUNNER.invoke(app, ["--version"]).stdout)
    assert "--json" in RUNNER.invoke(app, ["verify", "-h"]).stdout


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("command", ALL, ids=lambda c: " ".join(c.words))
def test_help_is_shown_as_it_is_written(command: Command) -> None:
    """As markup, what stands in brackets vanished: [reference], and INSTRUMENT=[...]."""
    shown = "".join(RUNNER.invoke(app, [*command.words, "-h"], env={"COLUMNS": "200"}).stdout.split())
    for name, parameter in command.options():
        for info in getattr(parameter.annotation, "__metadata__", ()):
            if isinstance(info, typer.models.ParameterInfo) and info.help:
                assert "".join(info.help.split()) in shown, name


def test_brackets_and_colons_in_tables_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    from zkmargin.service.cli.console import table

    table("a [bold] title", ["[red]x"], [["[/]"], [":fire:"], ["[reference]"]])
    shown = capsys.readouterr().out
    for text in ("[bold]", "[red]x", "[/]", ":fire:", "[reference]"):
        assert text in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0", "0"), ("-0.5", "-0.5"), ("1234567.890", "1,234,567.89"), ("-1000", "-1,000"), ("999", "999"),
        ("0.000000000000000001", "0.000000000000000001"), ("12345678901234567890.10", "12,345,678,901,234,567,890.1"),
    ],
)  # fmt: skip
def test_figures_are_grouped(text: str, shown: str) -> None:
    assert grouped(text) == shown


def test_money_is_rounded_against_the_account_for_people_and_exact_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    from fractions import Fraction

    assert money(Fraction(-10001, 10000), 2) == "-1.01"
    assert money(Fraction(10009, 10000), 2) == "1"
    assert money(Fraction(10001, 10000), 2, up=True) == "1.01"
    instruments = [
        line("USD", "quote", "1", ["1"], {}),
        line("BTC", "perpetual", "100", ["10"], {"table": "t"}, greeks={"delta": "0.1"}),
    ]
    rule = {
        "id": "tiered-margin/1",
        "parameters": {"tables": {"t": [{"lower": "0", "initial_ppm": 1, "maintenance_ppm": 1}]}},
    }
    snap = make(rule, instruments, ("mark",))
    answer = explain(snap, Terms("initial", Fraction(1), 60), [123_456, 100])
    show(answer, snap, multiplier="1")
    shown = capsys.readouterr().out
    assert "delta          10 USD for a relative price move of 1 (100 %)" in shown
    assert "124,455.9" in shown
    assert not re.search(r"[0-9]{4}", shown)


def test_an_absent_member_is_no_python_none(monkeypatch: pytest.MonkeyPatch) -> None:
    from zkmargin.service.cli.session import Session

    monkeypatch.setattr(Session, "run", lambda self, flow: {"account": "a", "jurisdiction": None})
    shown = RUNNER.invoke(app, ["account", "show", "a", "--hub", "https://hub"]).stdout
    assert "jurisdiction: none" in shown
    assert "None" not in shown


def test_the_demo_data_are_where_these_tests_take_them_from() -> None:
    assert importlib.import_module("zkmargin.service.demo_data")
    assert demo_file("snapshot.json")


def test_a_reader_who_has_seen_enough_is_no_bug(capfd: pytest.CaptureFixture[str]) -> None:
    from zkmargin.service.cli.console import reports_errors

    @reports_errors
    def command() -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):  # zkmargin.service.cli.root.main ends quietly on it
        command()
    assert "internal-error" not in capfd.readouterr().err
