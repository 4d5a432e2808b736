"""The fleet stream: every gateway is told what it lacks, and says what came of it. Read `hub.py`, then `session.py`."""
