"""Tests of service/keys/."""
