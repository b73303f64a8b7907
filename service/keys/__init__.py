"""Keys: where each one is stored, what it signs, and what is sealed under it.

- The storage keys (a hub's keyring): in ``storage_keys`` or ``storage_keys_file`` of its configuration, never in the
  database. ``vault``.
- A hub's signing keys: in the ledger's table ``signing_keys``, the private half sealed under the keyring. ``vault``.
- Public keys of operators, oracles, venues and accounts: in the ledger's table ``keys``.
- Their private keys: PEM files on their owners' machines; a hub never has one. ``signing_keys``.
- A holder's key for openings (X25519): the private half a PEM file of the holder, the public one with the account.
  ``sealing``.

What is done with them: ``signing`` writes everything that a hub, an oracle or a holder signs, ``request_signatures``
checks signed requests (RFC 9421), ``sealing`` encrypts openings to their holder (HPKE), ``vault`` seals what is at
rest.
"""
