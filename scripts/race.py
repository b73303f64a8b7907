"""The double-spend race, long form: many client processes race for one account's credit while servers and database
connections are killed; prints what happened, and exits with 1 if anything is wrong.

``--database postgresql`` makes a database next to the one that ZKMARGIN_TEST_POSTGRES names, and drops it afterwards.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def show(report: dict[str, Any], database: str) -> None:
    """A table for people."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"race on {database}")
    table.add_column("what")
    table.add_column("count", justify="right")
    for name, value in report.items():
        if isinstance(value, dict):
            for code, count in value.items():
                table.add_row(f"refused: {code}", str(count))
        elif name != "findings":
            table.add_row(name, str(value))
    table.add_row("audit and comparison", "clean" if not report["findings"] else f"{len(report['findings'])} findings")
    console = Console()
    console.print(table)
    for finding in report["findings"]:
        console.print(finding, style="red")


def main() -> int:
    """Race on the databases asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--attempts", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=64)
    parser.add_argument("--servers", type=int, help="2 by default on PostgreSQL, 1 on SQLite")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    from tests.support import hubs, race

    failed, printed = False, {}
    for database in ["sqlite", "postgresql"] if arguments.database == "both" else [arguments.database]:
        with tempfile.TemporaryDirectory() as directory:
            place = Path(directory)
            urls = [hubs.sqlite_url(place)] if database == "sqlite" else hubs.postgres_url()
            for url in urls:
                report = race.run(
                    url, place, attempts=arguments.attempts, processes=arguments.processes, seed=arguments.seed,
                    servers=arguments.servers, pause=3.0, join=0.1, seconds=3000,
                    progress=lambda step: print(f"{step} ...", file=sys.stderr),
                )  # fmt: skip
                printed[database] = report.to_json()
                failed = failed or bool(report.findings)
        if not arguments.json:
            show(printed[database], database)
    if arguments.json:
        print(json.dumps(printed, indent=1))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
