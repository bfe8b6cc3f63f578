"""PyMongo and its MongoDB deployments."""

COLLECTIONS = "wsgiproof_store_"
"""The start of the name of each collection of the built-in workload. They are not counted: a worker
that crashes can't drop its own."""
