"""Tests of service/vectors/."""
