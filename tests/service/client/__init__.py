"""Tests of service/client/."""
