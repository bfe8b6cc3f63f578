"""Run a Python package inside real Apache + mod_wsgi and say, with evidence, whether it holds."""

__version__ = "0.1.0"
