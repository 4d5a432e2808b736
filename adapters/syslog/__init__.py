"""Receivers of syslog."""
