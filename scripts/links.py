"""Put links in the place of text files, in a checkout that has no symbolic links.

    python scripts/links.py

``src/zkmargin`` links to the four layers. On Windows git writes such a link as a text file with the link's target,
unless the user may make links. Each of them becomes a directory junction here, which anybody may make (elsewhere a
symbolic link), and git is told to look away from it. Links that are there already stay. Needs nothing but Python. Exit
code 1 where something else is in the way.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

LAYERS = ("circuits", "verifier", "prover", "service")
ROOT = Path(__file__).resolve().parents[1]


class InTheWay(Exception):
    """What is at a link's place is neither the link nor a text file of it."""


def link(place: Path, target: Path) -> None:
    """Make ``place`` lead to the folder ``target``."""
    if sys.platform == "win32":
        import _winapi

        _winapi.CreateJunction(str(target), str(place))
    else:
        place.symlink_to(Path("..", "..", target.name), target_is_directory=True)


def mended(root: Path) -> list[str]:
    """The layers that had no link and now have one. InTheWay, before any change, if a place holds something else."""
    wanting = []
    for name in LAYERS:
        place, target = root / "src" / "zkmargin" / name, root / name
        if place.is_dir() and place.samefile(target):
            continue
        if place.exists() and not (place.is_file() and place.read_text().strip() == f"../../{name}"):
            raise InTheWay(f"{place} should lead to {target}; move away what is there")
        wanting.append(name)
    for name in wanting:
        place = root / "src" / "zkmargin" / name
        place.unlink(missing_ok=True)
        link(place, root / name)
    return wanting


def look_away(root: Path, names: list[str]) -> None:
    """Tell git that these links are as they should be, and that what is seen through them is nothing new."""
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return

    def run(*words: str) -> str:
        return subprocess.run([git, *words], cwd=root, check=True, capture_output=True, text=True).stdout.strip()

    places = [f"src/zkmargin/{name}" for name in names]
    run("update-index", "--skip-worktree", "--", *places)
    exclude = root / run("rev-parse", "--git-path", "info/exclude")
    exclude.parent.mkdir(parents=True, exist_ok=True)
    with exclude.open("a") as file:
        file.writelines(f"/{place}/\n" for place in places)


def main() -> int:
    """Mend this checkout; says so only if there was anything to do."""
    try:
        names = mended(ROOT)
    except InTheWay as err:
        print(err, file=sys.stderr)
        return 1
    if names:
        look_away(ROOT, names)
        print(f"linked in src/zkmargin: {', '.join(names)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
