"""HTTP calls, one module for each domain, with what they take and give. Each has a ``router``."""
