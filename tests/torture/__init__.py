"""A fault injector for wsgiproof itself, of real parts only: ``python -m tests.torture --help``.

Each injection is a run of the real command in a sandbox, with one fault or two, drawn from a seed.
``draw`` says which, ``one`` carries it out in a process of its own, ``kinds`` has the faults, and
``sandbox`` what is held against the command afterwards. See docs/reliability.md.
"""
