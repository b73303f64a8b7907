"""Cryptographic test vectors: frozen cases, engines that answer them, a driver for other implementations."""
