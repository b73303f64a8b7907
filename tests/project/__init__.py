"""Tests of the project itself: layers, locks, packages, documents."""
