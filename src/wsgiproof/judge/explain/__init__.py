"""What is known of lines, stacks and answers: what they mean, and what to do about them.

The knowledge is data: ``entries.toml``, and ``codes.toml`` for the codes of mod_wsgi 6.
"""
