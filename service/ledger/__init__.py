"""The credit ledger: what is promised against each account, and to whom. Pure functions of a database transaction.

Locks are taken in one order everywhere, so that nothing deadlocks: idempotency key, account, credit, zone, venue, log.
"""
