"""Runs the phases of one cell: their load, their faults and their samples."""
