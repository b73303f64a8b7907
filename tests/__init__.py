"""Faults by name, each refused; completeness at the edges; hiding shown by construction."""
