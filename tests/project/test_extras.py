"""Each extra brings all that its part of the package imports: run with every other package hidden."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from scripts.locks import CONSTRAINTS, ROOT, environment, follow, pins, wanted

#: Hides the packages named in the first argument from every import, then runs the second.
HIDE = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

HIDDEN = set(sys.argv[1].split(","))
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
exec(sys.argv[2])
"""
#: Imports every module of a package, but those that alembic runs by itself and the one about the extra `reference`.
EVERY = """
import importlib, pkgutil, {0}
for found in pkgutil.walk_packages({0}.__path__, "{0}."):
    if ".migrations" not in found.name and found.name != "zkmargin.service.vectors.curves_reference":
        importlib.import_module(found.name)
"""
#: What must work with one extra alone.
PARTS = {
    "client": EVERY.format("zkmargin.service.client"),
    "service": EVERY.format("zkmargin.service"),
    "oracle": "from zkmargin.service.oracle.black76 import normal_cdf; import numpy; normal_cdf(numpy.array([0.0]))",
    "plot": "import matplotlib; matplotlib.use('svg'); import matplotlib.pyplot, zkmargin.prover.plot",
    "reference": EVERY.format("zkmargin.verifier.reference") + "import zkmargin.service.vectors.curves_reference",
}
BARE = "import sys; sys.argv = ['zkmargin', 'demo']; from zkmargin.service.cli.root import main; main()"


def hidden(*extras: str) -> str:
    """Import names of all installed packages that these extras do not bring."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    constraints = pins((ROOT / CONSTRAINTS).read_text())
    brought = follow(constraints, wanted(extras), environment(version)).reached | {"zkmargin"}
    owners = metadata.packages_distributions()
    return ",".join(top for top, names in owners.items() if not {canonicalize_name(name) for name in names} & brought)


def run(code: str, *extras: str, where: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", HIDE, hidden(*extras), code]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=where, env={"PYTHONPATH": str(ROOT)}
    )


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("extra", PARTS)
def test_an_extra_alone_is_enough(extra: str, tmp_path: Path) -> None:
    done = run(PARTS[extra], extra, where=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("extra", PARTS)
def test_and_without_it_the_part_is_not_there(extra: str, tmp_path: Path) -> None:
    assert "ModuleNotFoundError" in run(PARTS[extra], where=tmp_path).stderr


@pytest.mark.slow
@pytest.mark.slow
def test_the_demo_needs_no_extra(tmp_path: Path) -> None:
    done = run(BARE, where=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "not-solvent" in done.stdout
