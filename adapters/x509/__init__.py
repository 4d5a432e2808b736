"""X.509 certificates and revocation lists, read and verified by `cryptography`."""
