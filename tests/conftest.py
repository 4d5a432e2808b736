"""Fixtures every folder may use; each starts a real server when it is first asked for."""

pytest_plugins = ("tests.harness.postgres", "tests.harness.redis")
