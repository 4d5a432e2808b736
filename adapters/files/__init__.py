"""Snapshots from a folder and records to a file: a gateway with no control plane to talk to."""
