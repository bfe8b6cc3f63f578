"""The code that runs in the target interpreter, inside Apache.

It is copied, as a package named ``wsgiproof_agent``, next to a ``settings.json``; the host side of
wsgiproof never imports it and it imports nothing of the host side. Standard library and the subject
only, valid on Python 2.7 and on 3.6 and newer, with PyMongo 2.5 and newer.
"""
