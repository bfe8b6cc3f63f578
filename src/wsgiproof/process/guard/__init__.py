"""The guard: a small process between wsgiproof and each child that it starts.

It uses only the standard library. :mod:`wsgiproof.process.guarded` starts it::

    python -I -S -X utf8 guard/__main__.py EVENTS COMMAND [ARGUMENT]...

It has two tasks.

*No process outlives wsgiproof.* Standard input is a pipe whose other end only wsgiproof (the owner)
holds. When that closes, wsgiproof has ended, however it died: the guard TERMs everything below it,
KILLs what is left 1.5 s later, removes the directories it was given, and ends. As a child subreaper
(``PR_SET_CHILD_SUBREAPER`` in prctl(2)) it becomes the parent of every orphan below it, so a
daemonised process cannot escape, and "no children left" means "no descendants left". The
command may also run in a control group of its own, which the kernel kills as a whole. A lock of the
run (flock(2)) is held until the guard has ended.

*Every death is seen.* If a mod_wsgi daemon process dies of SIGSEGV while Apache is stopping, no log
reports it, because Apache has deregistered it by then. The guard holds a pidfd of each descendant
(pidfd_open(2)), sleeps in poll(2), and reads the status of a process at the moment it ends.

The control pipe first carries the :class:`~wsgiproof.process.guard.settings.Settings`, then lines:
``signal N`` sends signal N to the command; ``kill`` KILLs every descendant, but removes nothing.

The events file gets JSON lines; ``t`` is in CLOCK_MONOTONIC seconds::

    {"t": 1.5, "event": "born", "pid": 7, "ppid": 6, "name": "httpd"}      the first: the command
    {"t": 2.5, "event": "died", "pid": 7, "name": "httpd",
     "exit": null, "signal": 11, "core": false}      exit and signal null: status unknown
    {"t": 2.1, "event": "paused", "pid": 7}          the command, not on the owner's order
    {"t": 1.4, "event": "confined", "network": "", "files": "..."}
                       of a confined command, before all these: what the kernel did not allow
    {"t": 1.4, "event": "private", "error": ""}      the same, of one with private places
    {"t": 2.6, "event": "end"}                       all processes have ended; the guard ends
    {"t": 1.5, "event": "failed", "error": "..."}    instead of all these: exec failed
"""
