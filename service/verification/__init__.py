"""Verification in processes of its own: jobs there, verdicts back."""
