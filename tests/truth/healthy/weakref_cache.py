"""A weak cache gets a new object from each request, and forgets it as the request ends."""

import itertools
import weakref

COUNT = itertools.count(1)


class Page:
    def __init__(self, number):
        self.text = "page %d" % number


PAGES = weakref.WeakValueDictionary()


def application(environ, start_response):
    number = next(COUNT)
    page = PAGES.setdefault(number, Page(number))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [page.text.encode()]
