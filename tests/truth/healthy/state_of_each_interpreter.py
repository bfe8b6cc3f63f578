"""Each interpreter keeps a counter and a decimal context of its own, and shares neither."""

import decimal
import itertools

COUNT = itertools.count(1)
CONTEXT = decimal.Context(prec=6)


def application(environ, start_response):
    number = next(COUNT)
    share = CONTEXT.divide(decimal.Decimal(1), decimal.Decimal(7))
    with decimal.localcontext(decimal.Context(prec=3)):
        short = +share
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Number", str(number))])
    return [str(short).encode()]
