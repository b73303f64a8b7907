"""What resolves is pinned, with its extras, for every Python and every extra that pyproject.toml names."""

from __future__ import annotations

import platform
import re
import sys
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from scripts.check_setup import OLDEST
from scripts.locks import (
    CONSTRAINTS,
    INSTALLER_LOCK,
    LOCKS,
    ROOT,
    USER_EXTRAS,
    Pin,
    environment,
    follow,
    pins,
    requires,
    wanted,
)

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"))
#: Not in every development environment, so that its own requirements may be unknown.
ELSEWHERE = {"atheris"}


def locked(name: str) -> tuple[Pin, ...]:
    return pins((ROOT / name).read_text())


def without_extras(name: str) -> tuple[Pin, ...]:
    """The lock as it was made before: `name[extra]==1` became `name==1`."""
    return pins(re.sub(r"(?m)^([a-z0-9-]+)\[[a-z,]+\]==", r"\1==", (ROOT / name).read_text()))


@pytest.mark.parametrize("where", PLATFORMS, ids="-".join)
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", LOCKS)
def test_all_that_resolves_is_pinned_with_its_extras(name: str, python: str, where: tuple[str, str]) -> None:
    followed = follow(locked(name), wanted(LOCKS[name]), environment(python, *where))
    assert followed.faults == ()
    assert followed.unknown <= ELSEWHERE


def test_a_lock_without_its_extras_is_found_out() -> None:
    faults = {name: follow(without_extras(name), wanted(LOCKS[name]), environment("3.11")).faults for name in LOCKS}
    assert any("coverage[toml]" in fault and "without [toml]" in fault for fault in faults["requirements-dev.lock"])
    for name in ("requirements.lock", "requirements-dev.lock"):
        assert any("psycopg is pinned without [binary]" in fault for fault in faults[name])


def test_each_pin_is_needed() -> None:
    """A control of the walk: take away any one pin and it says so, put in one more and it says so."""
    name = "requirements.lock"
    full, where = locked(name), environment("3.11", sys.platform, platform.machine())
    for pin in full:
        if pin.applies(where):
            faults = follow([p for p in full if p != pin], wanted(LOCKS[name]), where).faults
            assert any(pin.name in re.sub(r"[-_.]+", "-", fault.lower()) for fault in faults), pin.name
    more = Pin("one-more", "1", frozenset(), None, frozenset())
    assert follow([*full, more], wanted(LOCKS[name]), where).faults == ("nothing wants one-more",)


def test_the_walk_sees_versions_and_pins_given_twice() -> None:
    a = Pin("a", "1", frozenset(), None, frozenset())
    b = Pin("b", "1", frozenset({"x"}), None, frozenset())
    needs = {"a": ("b[x]>=2",), "b": ("c; extra == 'x'", "d; extra == 'y'", "e; python_version < '3'")}

    def ask(name: str) -> tuple[Requirement, ...]:
        return tuple(Requirement(line) for line in needs.get(name, ()))

    faults = follow([a, b, b], [Requirement("a")], environment("3.11"), ask).faults
    assert faults == (
        "b is pinned twice",
        "a wants b[x]>=2, but b is pinned to 1",
        'b wants c; extra == "x", which is not pinned',
    )


@pytest.mark.parametrize("line", ["a", "a>=1", "a==1.*", "a @ https://example.org/a.whl", "a==1,!=2"])
def test_a_line_that_pins_nothing_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not pinned"):
        pins(line)


@pytest.mark.parametrize("name", [*LOCKS, INSTALLER_LOCK])
def test_locks_hold_hashes_and_no_address(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search("://|--index|--extra-index|--find-links", text)
    for pin in locked(name):
        assert pin.hashes, pin.name
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in pin.hashes), pin.name


def test_constraints_pin_what_the_locks_pin_for_every_extra_of_a_user() -> None:
    text = (ROOT / CONSTRAINTS).read_text()
    assert not re.search(r"\[|--hash|://", text)  # pip refuses extras, a checkout has no hash
    extras = set(PROJECT["project"]["optional-dependencies"])
    assert set(USER_EXTRAS) == extras - {"dev", "build"}
    same = {(pin.name, pin.version) for name in LOCKS for pin in locked(name)}
    assert {(pin.name, pin.version) for pin in pins(text)} <= same
    for python in PYTHONS:
        faults = follow(pins(text), wanted(USER_EXTRAS), environment(python)).faults
        assert [fault for fault in faults if "pinned without" not in fault] == []


def test_locks_agree_with_each_other() -> None:
    dev = {(pin.name, pin.version): pin.hashes for pin in locked("requirements-dev.lock")}
    for name in ("requirements.lock", "requirements-fuzz.lock"):
        for pin in locked(name):
            if pin.name not in ELSEWHERE:
                assert dev[pin.name, pin.version] == pin.hashes, f"{name}: {pin.name}"


def test_the_tests_run_with_what_is_pinned() -> None:
    """Otherwise the requirements followed above are another version's; `make test` brings all up to date."""
    where = environment(f"{sys.version_info[0]}.{sys.version_info[1]}", sys.platform, platform.machine())
    apply = [pin for pin in locked("requirements-dev.lock") if pin.applies(where)]
    assert {pin.name: metadata.version(pin.name) for pin in apply} == {pin.name: pin.version for pin in apply}


def test_every_python_that_is_named_has_an_oldest_pip() -> None:
    named = {line.rpartition(" ")[2] for line in PROJECT["project"]["classifiers"] if "Python :: 3." in line}
    assert named == set(PYTHONS) == set(OLDEST)
    assert f"PYTHONS = {' '.join(PYTHONS)}" in (ROOT / "Makefile").read_text()
    assert requires("no-such-package") is None
