"""Attaches the probe to each interpreter of a server, in whose environment ``PYTHONPATH`` names the
directory of this file. Python imports it as it makes an interpreter (docs of ``site``)."""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


def _run_hidden():
    """Run the file of this name that this one hides."""
    for directory in sys.path:
        path = os.path.join(directory, "sitecustomize.py")
        if os.path.abspath(directory) != _HERE and os.path.isfile(path):
            with open(path, "rb") as file:
                exec(compile(file.read(), path, "exec", 0, True), {"__name__": __name__})
            return


try:
    from wsgiproof_agent import attached

    attached.attach()
finally:
    _run_hidden()
