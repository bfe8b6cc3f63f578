"""A catalog of log lines, stacks and answers: what they mean, and what to do about them.

The catalog is data: ``entries.toml``, and ``codes.toml`` for the codes of mod_wsgi 6.
"""
