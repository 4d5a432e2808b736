"""Requests to web servers, with the standard library's client on threads."""
