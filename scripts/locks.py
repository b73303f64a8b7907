"""Read the lock files, and say where what an installer resolves is not what they pin.

An installer follows the requirements of every pinned package. What is wanted with an extra and pinned without it, pip
before 23.3 looks for again: once a newer version is out, it finds one that the lock does not hold, and stops.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
#: Each lock and the extras that it is made for; the Makefile's `lock` makes them so.
LOCKS = {
    "requirements.lock": ("build", "service"),
    "requirements-dev.lock": ("build", "service", "dev"),
    "requirements-fuzz.lock": ("fuzz",),
}
INSTALLER_LOCK = "requirements-pip.lock"
CONSTRAINTS = "constraints.txt"
#: The extras that a user may ask for; constraints.txt pins what they bring.
USER_EXTRAS = ("client", "service", "oracle", "plot", "reference", "fuzz")


@dataclass(frozen=True)
class Pin:
    """One line of a lock: a package, its version, the extras it is pinned with, where it applies, SHA-256 digests."""

    name: str
    version: str
    extras: frozenset[str]
    marker: Marker | None
    hashes: frozenset[str]

    def applies(self, environment: dict[str, str]) -> bool:
        """Is it installed there?"""
        return self.marker is None or self.marker.evaluate(environment)


@dataclass(frozen=True)
class Followed:
    """What following the requirements showed: faults in words; all packages met, and those not known here."""

    faults: tuple[str, ...]
    reached: frozenset[str]
    unknown: frozenset[str]


def pins(text: str) -> tuple[Pin, ...]:
    """The pins of a lock file or of constraints.txt; ValueError for a line that pins nothing exactly."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words, *hashes = line.split("--hash=sha256:")
        requirement = Requirement(words.strip())
        exact = [s for s in requirement.specifier if s.operator == "==" and "*" not in s.version]
        if len(exact) != 1 or len(requirement.specifier) != 1:
            raise ValueError(f"not pinned: {words.strip()}")
        found.append(
            Pin(
                canonicalize_name(requirement.name),
                exact[0].version,
                frozenset(requirement.extras),
                requirement.marker,
                frozenset(digest.strip() for digest in hashes),
            )
        )
    return tuple(found)


def environment(python: str, system: str = "linux", machine: str = "x86_64") -> dict[str, str]:
    """The markers' variables for CPython `python` (like "3.12") on a system named as `sys.platform` names it."""
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": "nt" if system == "win32" else "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}[system],
        "platform_version": "",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": system,
        "extra": "",
    }


def wanted(extras: Iterable[str], project: Path = ROOT / "pyproject.toml") -> tuple[Requirement, ...]:
    """What pyproject.toml asks for with these extras, its own extras followed."""
    table = tomllib.loads(project.read_text())["project"]
    lines: list[str] = list(table["dependencies"])
    queue = list(extras)
    for extra in queue:
        for line in table["optional-dependencies"][extra]:
            requirement = Requirement(line)
            if canonicalize_name(requirement.name) == table["name"]:
                queue += sorted(requirement.extras - set(queue))
            else:
                lines.append(line)
    return tuple(Requirement(line) for line in lines)


@cache
def requires(name: str) -> tuple[Requirement, ...] | None:
    """What the installed package of that name requires, or None if it is not installed."""
    try:
        lines = metadata.requires(name)
    except metadata.PackageNotFoundError:
        return None
    return tuple(Requirement(line) for line in lines or ())


def follow(
    locked: Sequence[Pin],
    roots: Iterable[Requirement],
    where: dict[str, str],
    ask: Callable[[str], tuple[Requirement, ...] | None] = requires,
) -> Followed:
    """Follow all requirements from the roots through the pins that apply in an environment.

    A fault is a requirement that no pin meets by name, extra and version; a package pinned twice; a pin that nothing
    wants.
    """
    faults: list[str] = []
    here: dict[str, Pin] = {}
    for pin in locked:
        if pin.applies(where):
            if pin.name in here:
                faults.append(f"{pin.name} is pinned twice")
            here[pin.name] = pin
    unknown: set[str] = set()
    done: set[tuple[str, str]] = set()
    queue = [("the project", requirement, "") for requirement in roots]
    for by, requirement, extra in queue:
        if requirement.marker is not None and not requirement.marker.evaluate({**where, "extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        if name not in here:
            faults.append(f"{by} wants {requirement}, which is not pinned")
            continue
        pin = here[name]
        if not requirement.specifier.contains(pin.version, prereleases=True):
            faults.append(f"{by} wants {requirement}, but {name} is pinned to {pin.version}")
        if missing := requirement.extras - pin.extras:
            faults.append(f"{by} wants {requirement}, but {name} is pinned without [{','.join(sorted(missing))}]")
        for each in {"", *requirement.extras}:
            if (name, each) in done:
                continue
            done.add((name, each))
            answer = ask(name)
            if answer is None:
                unknown.add(name)
            queue += [(name, further, each) for further in answer or ()]
    reached = frozenset(name for name, _ in done)
    faults += [f"nothing wants {name}" for name in sorted(set(here) - reached)]
    return Followed(tuple(faults), reached, frozenset(unknown))
