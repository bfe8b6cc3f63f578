"""Each request adds a reference to a new object that nothing takes away, as a C extension might."""

import ctypes

ADD = ctypes.pythonapi.Py_IncRef
ADD.argtypes = [ctypes.py_object]


def application(environ, start_response):
    row = {"path": environ.get("SCRIPT_NAME"), "cells": list(range(30))}
    ADD(row)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
