"""Password hashes, with argon2-cffi."""
