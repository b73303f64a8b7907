"""Tests of circuits/."""
