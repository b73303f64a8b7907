"""``python -m zkmargin``: the command line."""

from zkmargin.service.cli.entry import main

if __name__ == "__main__":
    main()
