"""HTTP calls, one module for each domain: its models, its calls, and a ``DOMAIN`` that says what the role adds."""
