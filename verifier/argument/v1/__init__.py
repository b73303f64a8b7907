"""Version 1: ``zkmargin/argument/1``, proofs whose byte 0 is 1 (docs/SPEC.md)."""
