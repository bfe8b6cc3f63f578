"""Reads what a running server does: its answers, processes, connections, events and log."""
