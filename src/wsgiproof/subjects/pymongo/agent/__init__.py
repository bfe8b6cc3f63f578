"""PyMongo's part of the code that runs inside Apache, for PyMongo 2.5 and newer.

:mod:`wsgiproof.agent` says what it has to define, and where it runs.
"""
