"""The reference verifier agrees with the native one, on what holds and on what does not, and shares nothing with it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scripts import intermediate
from tests.project.test_docs import ROOT, block, proof_document
from tests.support.agreement import KINDS, MAKERS, answers, case, questions
from tests.support.cheating import CheatingProver, Lie
from tests.support.places import FROZEN
from tests.verifier.test_cheating_prover import insolvent, negative_slack_wrapped
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.documents.statement import statement_from_bytes
from zkmargin.circuits.errors import (
    CorruptData,
    InternalError,
    MalformedInput,
    MissingExtra,
    ProofRejected,
    SystemTooLarge,
)
from zkmargin.circuits.layout import DOMAINS
from zkmargin.circuits.system import LinearSystem, Row, Variable
from zkmargin.prover.documents import parse_proof
from zkmargin.service.cli.root import app
from zkmargin.verifier import reference
from zkmargin.verifier.argument.instance import Instance
from zkmargin.verifier.reference import (
    curve,
    digests,
    linearisation,
    proof_encoding,
    rounds,
    srs,
    systems,
    verification,
)
from zkmargin.verifier.srs import SRS_DIGEST

pytestmark = pytest.mark.slow

SPEC = (ROOT / "docs" / "SPEC.md").read_text()
#: All of the project that the reference may import, beside itself.
SHARED_WITH_IT = {
    "zkmargin.circuits.errors",
    "zkmargin.circuits.snapshot",
    "zkmargin.circuits.statement",
    "zkmargin.circuits.system",
}


@pytest.mark.parametrize("name", MAKERS)
def test_both_verifiers_accept(name: str) -> None:
    """Every shipped rule, overlays, elections, K = 1, 2, 3, n = 256, 512, 2048."""
    assert answers(case(name).question()) == (("holds", None), ("holds", None))


def test_the_cases_cover_every_layout_and_rule() -> None:
    cases = [case(name) for name in MAKERS]
    assert {c.layout.columns for c in cases} >= {1, 2, 3}
    assert {c.layout.n for c in cases} >= {256, 512, 2048}
    assert {c.snapshot.rule_id.split("/")[0] for c in cases} == {
        "cross-margin", "tiered-margin", "collateral-loan", "span-scan", "portfolio-margin",
    }  # fmt: skip
    assert {c.statement.terms.level for c in cases} == {"initial", "liquidation-end", "maintenance"}


@pytest.mark.parametrize("name", MAKERS)
def test_both_verifiers_say_the_same_about_mutations(name: str) -> None:
    """One of every kind for each case; ``make agree`` asks about a thousand."""
    for question in questions(KINDS, seed=sum(name.encode()), names=[name]):
        native, second = answers(question)
        assert native == second, question.kind


@pytest.mark.parametrize("lie", Lie)
def test_a_cheating_prover_is_refused(lie: Lie) -> None:
    """An insolvent account, its negative slack wrapped into words, the false claim hidden in each place."""
    setting = insolvent(1)
    proof = CheatingProver(negative_slack_wrapped(setting), lie).prove()
    with pytest.raises(ProofRejected):
        reference.verify(setting.statement, setting.account.snapshot, proof)


def test_it_imports_nothing_of_the_native_verifier() -> None:
    files = sorted((ROOT / "verifier" / "reference").rglob("*.py"))
    assert len(files) > 5
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.level < 2, f"{path.name} imports from its parent"
                names = {node.module or ""} if node.level == 0 else set()
            elif isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            else:
                continue
            own = "zkmargin.verifier.reference."
            ours = {name for name in names if name.split(".")[0] == "zkmargin" and not f"{name}.".startswith(own)}
            assert ours <= SHARED_WITH_IT, f"{path.name} imports {ours - SHARED_WITH_IT}"
            assert not {name for name in names if name.split(".")[0] in ("py_arkworks_bls12381", "flint")}, path.name


def test_the_specification_names_every_module_of_it() -> None:
    """The table at the head of the package names all modules and the sections that they follow."""
    for path in (ROOT / "verifier" / "reference").glob("[a-z]*.py"):
        assert f"``{path.stem}``" in (reference.__doc__ or "")
        assert (ast.get_docstring(ast.parse(path.read_text())) or "").startswith("SPEC.md, ")
    headings = set(re.findall(r"^## (.*)$", SPEC, re.M))
    named = re.findall(r"^``.*`` +(.*)$", reference.__doc__ or "", re.M)
    for section in {part.strip() for line in named for part in line.split(";")}:
        assert section.removesuffix(" in Transcript").removeprefix("the order of messages") in {*headings, ""}


def test_its_constants_are_those_of_the_specification() -> None:
    assert f"0x{curve.P:x}" in SPEC
    assert f"0x{curve.R:x}" in SPEC
    for n in DOMAINS:
        omega = curve.root_of_unity(n)
        assert f"`{curve.encode_scalar(omega).hex()}`" in SPEC
        assert omega**n == 1
        assert omega ** (n // 2) == curve.R - 1
    assert srs.key().digest == SRS_DIGEST
    assert srs.key().digest.hex() in SPEC


def test_every_intermediate_value_is_in_the_specification() -> None:
    snap = snapshot_from_bytes(block("snapshot.json"))
    stated = statement_from_bytes(block("statement.json"))
    proof = parse_proof(proof_document(), stated)
    reference.verify(stated, snap, proof, now=1_700_000_060)
    printed = dict(intermediate.values(stated, snap, proof))
    assert len(printed) > 20
    shown = dict(re.findall(r"^    (\S.*?) +([0-9a-f]{64,96})(?: .*)?$", SPEC, re.M))
    assert {name: shown.get(name) for name in printed} == printed


def test_its_closed_forms_are_values_on_the_domain() -> None:
    """t(zeta), and the Lagrange polynomials' sum, at a point outside H."""
    n, zeta = 256, curve.F(0xC0FFEE << 200)
    at_zeta = linearisation.lagrange(n, zeta)
    assert at_zeta.sum() == 1
    omega = curve.root_of_unity(n)
    one = curve.F(1)
    terms = [zeta**k / (omega ** (n - k) - one) for k in range(1, n)]
    closed = curve.F(n - 1) / curve.F(2)
    for term in terms:
        closed = closed + term
    assert (at_zeta * curve.F(list(range(n)))).sum() == closed


@pytest.mark.parametrize("name", ["zeta", "beta"])
@pytest.mark.parametrize("value", [1, curve.R - 1])
def test_a_degenerate_challenge_is_refused(name: str, value: int) -> None:
    given = {key: curve.F(7) for key in ("gamma", "beta", "eta", "alpha", "zeta", "nu", "mu")} | {"zeta": curve.F(5)}
    linearisation.refuse_degenerate(256, rounds.Challenges(**given))
    for bad in (given | {name: curve.F(value)}, given | {"zeta": given["beta"]}, given | {"zeta": curve.F(0)}):
        with pytest.raises(ProofRejected):
            linearisation.refuse_degenerate(256, rounds.Challenges(**bad))


def test_a_changed_reference_string_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    srs.key.cache_clear()
    monkeypatch.setitem(srs.DIGESTS, "powers_g1.bin", "00" * 32)
    with pytest.raises(CorruptData):
        srs.key()
    monkeypatch.undo()
    assert srs.key().digest == SRS_DIGEST


def test_its_own_checks_of_a_system() -> None:
    tie = Row("tie", {0: 1}, {0: -1, 1: 1})
    words = (Variable("p", 100), Variable("n", 100))
    good = LinearSystem(1, words, (tie,))
    geometry = systems.fit(good, 256)
    systems.check_ties(good)
    systems.check_bounds(good, geometry)
    assert systems.system_digest(good) == good.digest
    with pytest.raises(InternalError):
        systems.check_ties(LinearSystem(1, words, (Row("tie", {}, {0: 1}),)))
    for row in (
        Row("wide", {0: 1 << 200}, {}),
        Row("wide", {}, {}, constant=1 << 254),
        Row("wide", {}, {}, 0, 1 << 127),
    ):
        wide = LinearSystem(1, words, (tie, row))
        with pytest.raises(SystemTooLarge):
            systems.check_bounds(wide, geometry)
        with pytest.raises(SystemTooLarge):
            wide.layout(256)
    with pytest.raises(SystemTooLarge):
        systems.fit(LinearSystem(1, words * 513, (tie,)), 256)
    assert systems.fit(LinearSystem(1, words * 512, (tie,)), 256).columns == proof_encoding.MAX_COLUMNS


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        ({"b": 1, "a": [True, None, "x"], "": -2}, '{"":-2,"a":[true,null,"x"],"b":1}'),
        ({"\ufb33": 1, "\U0001f600": 2, "\r": 3}, '{"\\r":3,"\U0001f600":2,"\ufb33":1}'),
        ('\u20ac$\u000f\nA\'B"\\"/', '"\u20ac$\\u000f\\nA\'B\\"\\\\\\"/"'),
    ],
)
def test_its_canonical_form_is_that_of_rfc_8785(tree: object, text: str) -> None:
    """The examples of the RFC: members by UTF-16 code units, and the escapes."""
    assert digests.canonical(tree) == text


def test_a_missing_extra_has_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("zkmargin.verifier.reference.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delattr(reference, "verification")
    monkeypatch.setitem(sys.modules, "galois", None)
    c = case("cross-1")
    with pytest.raises(MissingExtra) as caught:
        reference.verify(c.statement, c.snapshot, c.proof)
    assert "zkmargin[reference]" in str(caught.value)


def test_it_leaves_the_recursion_limit_alone() -> None:
    """py_ecc raises it on import, and deep JSON would then kill the process."""
    run = "import sys; a = sys.getrecursionlimit(); from zkmargin.verifier.reference import verification, bls"
    run += "; assert sys.getrecursionlimit() == a, sys.getrecursionlimit()"
    assert subprocess.run([sys.executable, "-c", run], cwd=ROOT, check=False, capture_output=True).returncode == 0
    for path in (ROOT / "verifier" / "reference").glob("*.py"):
        assert path.name == "bls.py" or not re.search(r"^(from|import) py_ecc", path.read_text(), re.M)


def test_loading_the_package_loads_no_heavy_library() -> None:
    tree = ast.parse((ROOT / "verifier" / "reference" / "__init__.py").read_text())
    at_import = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert {node.module for node in at_import if isinstance(node, ast.ImportFrom)} == {
        "__future__", "typing", "zkmargin.circuits.errors",
    }  # fmt: skip


def test_the_command_line_asks_either_engine(tmp_path: Path) -> None:
    frozen = FROZEN / "v1"
    files = {"snapshot": frozen / "snapshot.json", "statement": frozen / "a.statement.json"}
    proof = (frozen / "a.proof.json").read_text()
    for good in (True, False):
        text = proof if good else proof.replace('"proof":"010a', '"proof":"0109')
        assert good or text != proof
        (tmp_path / "a.proof.json").write_text(text)
        (tmp_path / "a.statement.json").write_bytes(files["statement"].read_bytes())
        answers_ = []
        for engine in ("native", "reference"):
            options = ["--now", "1777917454", "--engine", engine, "--json"]
            one = ["verify", "--snapshot", files["snapshot"], "--statement", files["statement"]]
            one += ["--proof", tmp_path / "a.proof.json", *options]
            batch = ["verify-batch", "--snapshot", files["snapshot"], tmp_path, *options]
            done = [CliRunner().invoke(app, [str(part) for part in line]) for line in (one, batch)]
            assert all(f'"engine":"{engine}"' in run.output.replace(" ", "") for run in done[1:])
            answers_.append([(run.exit_code, run.output.replace(engine, "")) for run in done])
        assert [code for code, _ in answers_[0]] == ([0, 0] if good else [3, 6])
        assert [code for code, _ in answers_[0]] == [code for code, _ in answers_[1]]


def test_the_two_instances_are_of_different_kinds() -> None:
    """A control: nothing here compares the native verifier with itself."""
    assert Instance.__module__ != rounds.Instance.__module__
    c = case("cross-1")
    instance = verification.instance_of(c.statement, c.snapshot)
    assert type(instance.constants[0]) is int
    with pytest.raises(MalformedInput):
        curve.decode_g1(bytes(48), MalformedInput, "point")
