"""The trusted base: field, curve, SRS, transcript, proof encoding, verification. Holds no secret."""
