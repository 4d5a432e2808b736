"""OAuth as an authorization server speaks it, sans-I/O: clients, grants, and what is refused."""
