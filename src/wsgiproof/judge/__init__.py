"""Judges records and returns findings. Pure: no I/O and no clock."""
