"""The frozen values that a run records, by who makes them, and the directory that holds them."""
