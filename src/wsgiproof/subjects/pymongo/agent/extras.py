"""Which extras PyMongo uses in this interpreter.

It does without one that can't be imported, and mostly does not say so. An interpreter may lack one
that others have: many extension modules refuse to be loaded in a second interpreter.
"""

from __future__ import absolute_import

from functools import partial

import pymongo  # noqa: F401


def usable(asked):
    """Return the names of those that can be used here, with commas.

    PyMongo has tried ``ocsp`` when it was imported. The others are tried only if they are in
    ``asked``: an application that uses them would import them, too.
    """
    found = ["ocsp"] if _ocsp() else []
    found += [name for name in asked if name in _TRIED and _TRIED[name]()]
    return ",".join(sorted(found))


def _encryption():
    try:
        # All of pymongocrypt, and what it needs: encryption_options imports only a part.
        from pymongo.synchronous import encryption
    except ImportError:  # before 4.9
        try:
            from pymongo import encryption
        except ImportError:  # before 3.9
            return False
    return bool(encryption._HAVE_PYMONGOCRYPT)


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


_TRIED = {
    "encryption": _encryption,
    "snappy": partial(_compressor, "snappy"),
    "zstd": partial(_compressor, "zstd"),
}
