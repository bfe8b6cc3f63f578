"""Applications whose truth is known, and what ``wsgiproof run`` says of each.

``bugs/`` has applications with one planted bug each, ``healthy/`` applications without one that
look as if they had. ``cases.toml`` says what has to come of each. ``python -m tests.truth`` runs
them through the real command and counts what was caught, missed and alarmed.
"""
