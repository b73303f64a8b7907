"""The hub's state on disk: tables, transactions, encryption at rest."""
