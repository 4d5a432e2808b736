"""Real servers for the tests to talk to, and builders of valid things."""
