"""PyMongo and its MongoDB deployments."""

COLLECTIONS = "wsgiproof_store_"
"""The start of the name of each collection of the built-in workload."""
