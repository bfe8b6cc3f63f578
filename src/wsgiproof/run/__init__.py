"""A run from its plan to its records: preflight, versions, jobs, cells, workers."""
