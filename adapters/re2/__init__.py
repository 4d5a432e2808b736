"""Detectors' patterns, matched by RE2 in linear time."""
