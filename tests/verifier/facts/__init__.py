"""Tests of verifier/facts/."""
