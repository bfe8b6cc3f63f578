"""Remembers where sockets are opened, to find out which code opens those that leak.

It is used only in phase ``diagnosis``, after a count that takes sockets was found to leak. Only
numbers and texts are kept, so that no socket lives longer than it would.
"""

from __future__ import absolute_import

import os
import socket
import sys
from collections import Counter

_MOST = 4
_FRAMES = 8
_SKIPPED = ("socket.py", "ssl.py", os.path.basename(__file__))

_opened = {}
_original = []


def begin():
    """Begin to remember where each socket is opened. Python 2.7 has no place for that."""
    kind = socket.socket
    if not _original and sys.version_info[0] > 2:
        _original.append(kind.__init__)
        kind.__init__ = _remembering(kind.__init__)
    _opened.clear()
    return {"opened": []}


def end():
    """Return where the sockets were opened that have been since :func:`begin` and still are open.

    The result has ``[stack, sockets]``, the most frequent first; a stack is one line, with the
    innermost call first.
    """
    if _original:
        socket.socket.__init__ = _original.pop()
    counts = Counter(
        stack for number, (inode, stack) in list(_opened.items()) if _inode(number) == inode
    )
    _opened.clear()
    return {"opened": [list(one) for one in counts.most_common(_MOST)]}


def _remembering(original):
    def __init__(self, *args, **kwargs):
        original(self, *args, **kwargs)
        number = self.fileno()
        inode = _inode(number)
        if inode is not None:
            _opened[number] = (inode, _stack())

    return __init__


def _inode(number):
    try:
        return os.fstat(number).st_ino
    except (OSError, ValueError):
        return None  # it is closed


def _stack():
    """Return the callers as ``connect (pool.py:1034) < checkout (pool.py:1171)``."""
    frame, calls = sys._getframe(1), []
    while frame is not None and len(calls) < _FRAMES:
        code = frame.f_code
        name = os.path.basename(code.co_filename)
        if name not in _SKIPPED:
            calls.append("%s (%s:%d)" % (code.co_name, name, frame.f_lineno))
        frame = frame.f_back
    return " < ".join(calls)
