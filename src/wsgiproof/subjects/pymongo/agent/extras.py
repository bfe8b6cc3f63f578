"""Which extras PyMongo uses in this interpreter.

It does without one that can't be imported, and mostly does not say so. An interpreter may lack one
that others have: many extension modules refuse to be loaded in a second interpreter.
"""

from __future__ import absolute_import

import pymongo  # noqa: F401


def usable(asked):
    """Return the names of those that can be used here, with commas.

    PyMongo has tried ``ocsp`` and ``encryption`` when it was imported. Compressors are tried only
    if they are in ``asked``: a client that uses them would import them, too.
    """
    found = [name for name, has in (("encryption", _encryption), ("ocsp", _ocsp)) if has()]
    found += [name for name in asked if name in ("snappy", "zstd") and _compressor(name)]
    return ",".join(sorted(found))


def _encryption():
    try:
        from pymongo import encryption_options
    except ImportError:  # before 3.9
        return False
    return bool(getattr(encryption_options, "_HAVE_PYMONGOCRYPT", False))


def _ocsp():
    try:
        from pymongo import ssl_support
    except ImportError:  # before 2.9
        return False
    return bool(getattr(ssl_support, "HAVE_PYSSL", False))  # 3.11


def _compressor(name):
    try:
        from pymongo import compression_support
    except ImportError:  # before 3.7
        return False
    have = getattr(compression_support, "_have_" + name, None)
    if have is not None:
        return bool(have())
    return bool(getattr(compression_support, "_HAVE_" + name.upper(), False))
