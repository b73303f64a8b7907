"""Fuzzing of every decoder: only typed errors may come out."""
