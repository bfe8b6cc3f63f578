"""The code that runs in the target interpreter, inside Apache, for every subject.

It is copied, as a package named ``wsgiproof_agent``, next to a ``settings.json``; the host side of
wsgiproof imports :mod:`.protocol` alone, and it imports nothing of the host side. Standard library
only, valid on Python 2.7 and on 3.6 and newer.

The subject's own code is copied as its subpackage ``wsgiproof_agent.subject``. It may import the
subject, and from here with ``from .. import probe``. It has to define, in ``subject/workload.py``:

``identity()``
    What the subject says of itself: a dict with the fields that ``Subject.identity`` of the host
    side names, each a string, an integer, a bool, or None for what is unknown.
``fill_pools(seconds, together)``
    Keep what the subject pools busy for ``seconds``. All request threads call it at once, and each
    of them can wait for all others with ``together()``. That returns a number that they all get,
    or None if one of them did not come.
``Workload(settings)``
    The built-in workload of one interpreter, made from what ``Subject.settings`` of the host side
    returned. Its ``work()`` does the work of one request and returns a list of texts, each of them
    something that came out wrong. Its ``close()`` is called when the interpreter ends.

``operations()``
    Optional: pairs of a name, such as ``encode regex``, and a function that does this once. If
    memory leaks, each is measured alone.

and, if it has planted faults of its own, in ``subject/faults.py``:

``faults()``
    The class of each by its name. They derive from :class:`.faults_base.NoFault`, and get the
    workload. This module imports the subject only in the faults that are used.
"""
