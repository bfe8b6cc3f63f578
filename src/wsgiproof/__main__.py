"""``python -m wsgiproof``, and the command ``wsgiproof``."""

import sys


def main() -> None:
    """Load the command line, which takes a while, and run it."""
    try:
        from wsgiproof.cli import main
    except KeyboardInterrupt:
        sys.stderr.write("wsgiproof: interrupted\n")
        raise SystemExit(130) from None
    main()


if __name__ == "__main__":  # not where a worker process imports it
    main()
