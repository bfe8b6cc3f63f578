"""Reports of records for people and for other programs."""
