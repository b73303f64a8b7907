"""Tests of service/oracle/."""
