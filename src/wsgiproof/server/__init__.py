"""A running Apache: its configuration, its directories, its port."""
