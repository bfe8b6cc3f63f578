"""Compare records, judge them again, merge them, and follow them over time."""
