"""``python -m wsgiproof``, and the command ``wsgiproof``: a process that is wsgiproof alone."""

import os
import sys


def main() -> None:
    """Take over the process, load the command line, which takes a while, and run it."""
    try:
        from wsgiproof.cli import main
        from wsgiproof.leftovers import become_reaper
        from wsgiproof.signals import take_over

        take_over()
    except KeyboardInterrupt:
        sys.stderr.write("wsgiproof: interrupted\n")
        raise SystemExit(130) from None
    become_reaper()
    os.umask(os.umask(0o077) | 0o022)  # nothing that we or a build make is for others to write
    main()


if __name__ == "__main__":  # not where a worker process imports it
    main()
