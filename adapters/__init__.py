"""Technologies behind the ports of `core`, one folder each."""
