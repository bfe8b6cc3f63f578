"""The WSGI script that Apache loads: ``<appdir>/wsgiproof_agent/script.wsgi``."""

import os
import sys

_APP_DIRECTORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# mod_wsgi runs this file once per interpreter, and again when it is touched.
if _APP_DIRECTORY not in sys.path:
    sys.path.insert(0, _APP_DIRECTORY)

from wsgiproof_agent.app import make  # noqa: E402

application = make()
