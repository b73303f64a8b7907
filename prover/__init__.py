"""What the account holder runs: commitment, witness, polynomials, the rounds, and the local command line."""
