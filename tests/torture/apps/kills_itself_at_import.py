"""Ends its process by SIGKILL as it is loaded."""

import os
import signal

EXPECT = {"fail"}


def application(environ, start_response):
    return []


os.kill(os.getpid(), signal.SIGKILL)
