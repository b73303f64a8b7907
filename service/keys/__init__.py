"""Keys: where they are stored, what they sign, what is sealed under them."""
