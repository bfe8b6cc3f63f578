"""PyMongo and its MongoDB deployments."""
