"""Never comes to its end as it is loaded."""

import time

EXPECT = {"fail", "inconclusive"}


def application(environ, start_response):
    return []


time.sleep(600)
