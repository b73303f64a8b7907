"""Signed facts: what a hub, an oracle or an account's key said and signed, read and checked. No proof is checked
here."""
