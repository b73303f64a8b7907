"""The command line: every command of ``zkmargin``, one module for each group."""
