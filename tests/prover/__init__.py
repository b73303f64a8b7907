"""Tests of prover/."""
