"""State in PostgreSQL: any server of version 15 or later, or one embedded for a single machine."""
