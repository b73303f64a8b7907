"""The hub's side: attestation signing and the root of the command line."""
