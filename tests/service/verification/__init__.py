"""Tests of service/verification/."""
