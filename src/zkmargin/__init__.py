"""Zero-knowledge portfolio margin: prove that a committed portfolio is solvent under a public rule, without showing it.

The four layers, each of which imports only those before it: ``circuits``, ``verifier``, ``prover``, ``service``.
docs/ARCHITECTURE.md has the map.
"""

__version__ = "0.2.0"
