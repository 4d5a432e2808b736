"""Sealing and signing with the `cryptography` library."""
