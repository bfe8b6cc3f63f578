"""The settings that the host wrote for this application."""

import json
import os

_PATH = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "settings.json")


def load(path=_PATH):
    """Return the settings as a dict.

    ``uri``            MongoDB URI, appName included
    ``database``       name of the database to work in
    ``evidence``       a directory that this process can write to
    ``core_descriptor``  the open directory that Apache changes to when this process crashes, or
                       None
    ``secret``         a header with commands has to begin with it
    ``documents``      how many documents to read per request; 0: no connection at all
    ``batch_size``     documents per batch of the cursor
    ``prefix``         start of the name of each collection of the built-in workload
    ``app``            path of the user's own application, or None
    ``close``          whether to close the client when the interpreter ends
    ``fault``          name of a planted fault, or None
    ``fault_options``  its keyword arguments
    """
    with open(path) as file:
        return json.load(file)
