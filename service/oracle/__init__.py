"""The risk oracle: signed feeds in, signed snapshots out (docs/ORACLE.md)."""
