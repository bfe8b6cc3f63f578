"""The program of a guard. ``-I`` leaves its own directory out of the path, and ``-S`` everything
that is installed."""

import os
import sys

# At the end, so that nothing there can hide a module of the standard library.
sys.path.append(os.path.abspath(f"{__file__}/../../../.."))  # noqa: PTH100 - pathlib is slow to import

from wsgiproof.process.guard.main import main

main(sys.argv[1:])
