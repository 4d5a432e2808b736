"""In memory: for tests, and for one process on one machine."""
