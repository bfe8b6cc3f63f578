"""A fault injector for wsgiproof itself, with real parts only: ``python -m tests.torture --help``.

Each injection is a run of the real command in a sandbox, with one or two faults, drawn from a seed.
``draw`` chooses them, ``one`` carries out an injection in its own process, ``kinds`` contains the
faults, and ``sandbox`` checks the command afterwards. See docs/reliability.md.
"""
