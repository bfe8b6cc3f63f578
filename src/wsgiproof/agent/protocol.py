"""What the host and the code inside Apache say to each other. Both sides read this module.

It is valid on the oldest target Python, and imports only the standard library.

    host to inside   ``settings.json``, and commands in the header COMMANDS of a request
    inside to host   a report in the header REPORT of a response, and files of evidence

A report that lacks one of these fields, or has another one, is an error that names the field. So is
a command that the other side does not know.
"""

from __future__ import absolute_import

import re

COMMANDS = "X-Wsgiproof"
"""The request header with commands: ``SECRET together=15 occupy=0.1 memory=2``."""
REPORT = "X-Wsgiproof-Report"
"""The response header with a report, as JSON."""

SETTINGS = (
    "evidence",  # a directory that the server's processes can write to
    "core_descriptor",  # the open directory that Apache changes to at a crash, or None
    "secret",  # a header with commands has to begin with it
    "app",  # path of the user's own application, or None
    "server",  # program whose interpreters the probe attaches to, as in /proc/PID/exe, or None
    "environ",  # what connects that application to its backend, in the environ of each request
    "variables",  # the same, in environment variables
    "fault",  # name of a planted fault, or None
    "fault_options",  # its keyword arguments
    "subject",  # what the subject's own code reads
)

INTERPRETER = (
    "pid",
    "token",  # a string that only this interpreter has
    "interpreter_id",  # its number; None if this Python can't report it
    "gil",  # 'own', 'shared' or 'none'; None if this Python can't report it
    "application_group",  # None outside mod_wsgi, like the next two
    "process_group",  # empty in embedded mode
    "mod_wsgi",
    "mpm",
    "python",
    "prefix",
)
"""The fields of a report that stay the same for the life of an interpreter."""
SUBJECT = "subject"
"""The field with what the subject says of itself: a mapping, whose fields its host side names."""
REQUEST = (
    "request",  # its number in this interpreter; 0 before the first one
    "thread_id",
    "gil_enabled",
    "problems",  # what the built-in workload found to be wrong
)
"""The fields of one request."""
MEASURED = ("memory", "object_growth", "socket_origins")
"""The fields that a report has only if the command of this name was given."""
REFUSED = "refused"
"""The only field of a report on a request whose commands are not known."""

IDENTITY = "identity"
"""Evidence: the report of an interpreter as it loads the application, a line for each."""
FATAL = "fatal"
"""Evidence: the stacks of all threads at a fatal signal, as text."""
LEFTOVER = "leftover"
"""Evidence: the threads that an interpreter left running, a line of JSON for each."""
REQUESTS = "requests"
"""Evidence: the requests in flight, in slots of a fixed size, a file for each interpreter."""
CLOSE = "close"
"""Evidence: why the built-in workload could not be closed."""
CORE = "core"
"""Evidence: a directory for the core file of a process."""

_LONGEST_OCCUPY = 5.0  # seconds
_LARGEST_BURST = 10000

_NAME = re.compile(r"[a-z0-9]{1,16}$")


def note_file(kind, pid):
    # type: (str, int) -> str
    """Return the name of the file with the notes of one kind that a process left."""
    return "%s-%d.txt" % (kind, pid)


def slots_file(pid, token):
    # type: (int, str) -> str
    """Return the name of the file with the requests in flight of one interpreter."""
    return "%s-%d-%s" % (REQUESTS, pid, token)


def core_directory(pid):
    # type: (int) -> str
    """Return the name of the directory for the core file of a process."""
    return "%s-%d" % (CORE, pid)


def evidence_of(kind):
    # type: (str) -> re.Pattern[str]
    """Return a pattern that matches the names of the files of a kind; its group is the pid."""
    return re.compile(r"%s-([1-9][0-9]{0,9})(?:\.txt|-[0-9A-Za-z]{1,64})\Z" % kind)


def _seconds(most):
    def read(value):
        seconds = float(value)
        if not 0 <= seconds <= most:  # false for NaN
            raise ValueError
        return seconds

    return read


def _size(value):
    size = int(value)
    if not 1 <= size <= _LARGEST_BURST:
        raise ValueError
    return size


def _one_of(*choices):
    def read(value):
        if value not in choices:
            raise ValueError
        return value

    return read


def _name(value):
    if not _NAME.match(value):
        raise ValueError
    return value


READERS = {
    "name": _name,  # the host's name for the request
    "until": _seconds(1e12),  # CLOCK_MONOTONIC: wait for that instant (probe.hold limits it)
    "gather": _size,  # or until so many requests of all processes wait for it (barrier.py)
    "together": _size,  # wait until so many requests are in this interpreter (barrier.py)
    "occupy": _seconds(_LONGEST_OCCUPY),  # keep what the subject pools busy
    "memory": _one_of("1", "2"),  # read memory; 2: collect garbage first
    "object_growth": _one_of("begin", "end"),
    "socket_origins": _one_of("begin", "end"),  # where those were opened that are open at the end
}
"""Every command, with the function that reads its value and raises ValueError for a wrong one."""
