"""Loads a server with HTTP requests, from one thread, and accounts for every answer."""
