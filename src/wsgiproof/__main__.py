"""``python -m wsgiproof``, and the command ``wsgiproof``: a process that is wsgiproof alone."""

import os
import sys


def main() -> None:
    """Take over the process, load the command line, which takes a while, and run it."""
    _open_streams()
    try:
        from wsgiproof.cli import main
        from wsgiproof.process.leftovers import become_reaper
        from wsgiproof.process.signals import install_handlers

        install_handlers()
    except KeyboardInterrupt:
        sys.stderr.write("wsgiproof: interrupted\n")
        raise SystemExit(130) from None
    become_reaper()
    # Nothing that we or a build make is for others to write; and a server and what it serves have
    # the usual one, not that of a shell that happens to have started us.
    os.umask(0o022)
    main()


def _open_streams() -> None:
    """Open what is closed of the standard streams: the next file to be opened, or one of a child,
    would take its place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free


if __name__ == "__main__":  # not where a worker process imports it
    main()
