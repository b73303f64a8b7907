"""Data files: powers of tau of the Ethereum KZG ceremony and Lagrange bases made from them (scripts/convert_srs.py)."""
