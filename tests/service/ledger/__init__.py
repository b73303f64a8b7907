"""Tests of service/ledger/."""
