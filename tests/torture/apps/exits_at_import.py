"""Calls sys.exit as it is loaded."""

import sys

EXPECT = {"fail"}


def application(environ, start_response):
    return []


sys.exit(0)
