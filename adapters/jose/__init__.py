"""JSON Web Signatures, verified by PyJWT over `cryptography`."""
