"""Switches garbage collection and faulthandler off."""

import faulthandler
import gc

EXPECT = {"pass", "fail", "inconclusive", "error"}

gc.disable()
gc.freeze()
faulthandler.disable()


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
