"""The transparency log: the tree that the hub builds and ``verifier.transparency`` checks."""
