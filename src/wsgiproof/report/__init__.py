"""Showing records to people."""
