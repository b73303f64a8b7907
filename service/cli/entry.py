"""Entry point of the console script: quiet when it is interrupted, also while the rest is still being imported."""

from __future__ import annotations

import signal
import sys

#: What shells report of a process that SIGINT ended.
INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    try:
        from zkmargin.service.cli.root import main as run

        run()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would interrupt the end
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
