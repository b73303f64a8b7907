"""Public suites by path, on the primitives of both engines. They stand beside the repository, never in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.places import SHARED
from zkmargin.circuits.errors import MalformedInput
from zkmargin.service.cli.root import app
from zkmargin.service.vectors import native, reference
from zkmargin.service.vectors.case import VALID
from zkmargin.service.vectors.runner import run
from zkmargin.service.vectors.suites import SUITES, load_suite, read_flat_yaml

FOLDER = SHARED / "vectors"
needs_vectors = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no public vectors in {FOLDER}")
#: Cases of each suite, and how many of them must be refused or do not hold.
COUNTS = {"kzg": (122, 68), "eip2537": (114, 48), "rfc9380": (20, 0)}


@needs_vectors
@pytest.mark.parametrize("name", SUITES)
def test_the_native_engine_answers_a_whole_public_suite(name: str) -> None:
    suite = load_suite(name, FOLDER / name)
    report = run([suite], [native.engine()])
    invalid = sum(case.result != VALID for case in suite.cases)
    assert report.failures == []
    assert (report.ran, invalid) == COUNTS[name]


@needs_vectors
@pytest.mark.parametrize(("name", "step"), [("kzg", 20), ("eip2537", 9), ("rfc9380", 1)])
def test_the_reference_engine_answers_a_part_of_it(name: str, step: int) -> None:
    """All of it takes minutes: ``zkmargin vectors run --engine reference --suite kzg=FOLDER``."""
    suite = load_suite(name, FOLDER / name)
    # Pairings of many points are the slow ones; the whole suite has them.
    cases = tuple(case for case in suite.cases[::step] if len(str(case.input)) < 3000)
    report = run([replace(suite, cases=cases)], [reference.engine()])
    assert report.failures == []
    assert report.ran == len(cases) > 0


@needs_vectors
def test_the_command_prints_how_many_cases_ran() -> None:
    args = [part for name in SUITES for part in ("--suite", f"{name}={FOLDER / name}")]
    result = CliRunner().invoke(app, ["vectors", "run", *args])
    assert result.exit_code == 0
    assert "256 answers: 256 right, 0 wrong; 0 cases not covered" in result.output


def command(*args: object, code: int) -> str:
    result = CliRunner().invoke(app, ["vectors", "run", *map(str, args)])
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.parametrize("name", [*SUITES, "wycheproof"])
def test_a_missing_folder_an_empty_one_and_an_unknown_suite_are_errors(name: str, tmp_path: Path) -> None:
    command("--suite", f"{name}={tmp_path / 'none'}", code=3)
    command("--suite", f"{name}={tmp_path}", code=3)


def kzg_case(tmp_path: Path, text: str, name: str = "verify_kzg_proof_case_x") -> Path:
    folder = tmp_path / "verify_kzg_proof" / "kzg-mainnet" / name
    folder.mkdir(parents=True)
    (folder / "data.yaml").write_text(text)
    return tmp_path


YAML = "input:\n  commitment: '0xc0{0}'\n  z: '0x{1}'\n  y: '0x{1}'\n  proof: '0xc0{0}'\noutput: {2}\n"


@pytest.mark.parametrize(("output", "right"), [("true", 1), ("false", 0), ("null", 0)])
def test_a_wrong_expectation_shows(tmp_path: Path, output: str, right: int) -> None:
    """The zero polynomial is 0 at 0."""
    folder = kzg_case(tmp_path, YAML.format("00" * 47, "00" * 32, output))
    report = run([load_suite("kzg", folder)], [native.engine()])
    assert (report.tallies[0].passed, report.tallies[0].failed) == (right, 1 - right)


def test_a_function_that_nobody_has_is_counted_as_not_covered(tmp_path: Path) -> None:
    folder = kzg_case(tmp_path, "input: {blob: '0x'}\noutput: null\n", "compute_challenge_case_x")
    report = run([load_suite("kzg", folder)], [native.engine()])
    assert (report.tallies[0].not_covered, report.ran, report.ok) == (1, 0, False)
    (tmp_path / "map_fp_to_G1_bls.json").write_text('[{"Input": "00", "Expected": "00", "Name": "x"}]')
    report = run([load_suite("eip2537", tmp_path)], [native.engine()])
    assert (report.tallies[0].not_covered, report.ran) == (1, 0)


@pytest.mark.parametrize(
    "text",
    [
        "input:\n  z: '0x00'\n",
        "output: true\n",
        "input:\n  z: '0x00'\noutput: maybe\n",
        "input:\n  z: 0x00\noutput: true\n",
        "input:\n  z: '0x00'\noutput: '0x00'\n",
        "input:\n  z: [1]\noutput: true\n",
        "input:\n  z: '0x00'\n  z: '0x01'\noutput: true\n",
        "input:\n    z: '0x00'\noutput: true\n",
        "  z: '0x00'\n",
        "- 1\n",
        "input: &a\n",
    ],
)
def test_yaml_of_another_form_is_refused_not_misread(tmp_path: Path, text: str) -> None:
    with pytest.raises(MalformedInput):
        load_suite("kzg", kzg_case(tmp_path, text))


def test_the_yaml_of_the_suite_is_read() -> None:
    tree = read_flat_yaml("input:\n  z: '0x00'\n  y: \"0x01\"\n\noutput: null\n", field="x")
    assert tree == {"input": {"z": "0x00", "y": "0x01"}, "output": None}


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '[{"Name": "x"}]', '[{"Input": 1, "Name": "x"}]'])
def test_json_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "add_G1_bls.json").write_text(text)
    for name in ("eip2537", "rfc9380"):
        with pytest.raises(MalformedInput):
            load_suite(name, tmp_path)
