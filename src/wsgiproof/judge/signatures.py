"""Lines in an error log that mean something, as data: each with its meaning and its mend."""

from __future__ import annotations

import re

import msgspec


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """A known failure line."""

    pattern: re.Pattern[str]
    meaning: str
    action: str
    source: str
    """Where this is documented or was reported."""


SIGNATURES = (
    Signature(
        pattern=re.compile(r"Truncated or oversized response headers received from daemon process"),
        meaning="the daemon process crashed while it served the request",
        action="look for the signal of the daemon process, and for its stacks",
        source="mod_wsgi issue 494",
    ),
    Signature(
        pattern=re.compile(r"Timeout when reading response headers from daemon process"),
        meaning="a request hung in the daemon process, often in an import or on the GIL",
        action="take the stacks of the daemon process while it hangs",
        source="mod_wsgi issue 128",
    ),
    Signature(
        pattern=re.compile(r"PyO3 modules (do not yet support subinterpreters|may only be init)"),
        meaning="an extension written with PyO3 refuses a second interpreter",
        action="serve it from the main interpreter: WSGIApplicationGroup %{GLOBAL}",
        source="mod_wsgi issue 940",
    ),
    Signature(
        pattern=re.compile(r"Interpreter change detected - this module can only be loaded into"),
        meaning="an extension written with Cython refuses a second interpreter",
        action="serve it from the main interpreter: WSGIApplicationGroup %{GLOBAL}",
        source="cython issue 1715",
    ),
    Signature(
        pattern=re.compile(r"module \S+ does not support loading in subinterpreters"),
        meaning="an extension refuses an interpreter that has its own GIL",
        action="use interpreters that share the GIL",
        source="PEP 684; numpy issue 24755",
    ),
    Signature(
        pattern=re.compile(r"double free or corruption|munmap_chunk\(\)|malloc\(\): |free\(\): "),
        meaning="memory of the process is corrupt, as glibc's allocator noticed",
        action="look for the process that aborted next to this line",
        source="glibc, malloc/malloc.c",
    ),
    Signature(
        pattern=re.compile(r"Fatal Python error: "),
        meaning="the interpreter gave up",
        action="read the lines after it: the stacks of all threads",
        source="Python C API, Py_FatalError",
    ),
    Signature(
        pattern=re.compile(r"MongoClient opened before fork"),
        meaning="a MongoClient was made before the process forked, and may deadlock in the child",
        action="make the client in the process that uses it",
        source="PyMongo documentation, FAQ, 'Is PyMongo fork-safe?'",
    ),
    Signature(
        pattern=re.compile(r"RuntimeError: log object has expired"),
        meaning=(
            "Python flushes wsgi.errors of a request that is over, and this mod_wsgi refuses: two "
            "lines for each request, and nothing else in the log can be found among them"
        ),
        action="use mod_wsgi 5.0 or newer with Python 3.13",
        source="docs/findings.md, 11",
    ),
)
