"""Start and supervise child processes; nothing that they start outlives the run."""
