"""Load a server with HTTP requests from one thread, and account for every response."""
