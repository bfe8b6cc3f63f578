"""Jinja2 renders a template from its cache, and compiles a small one anew in each tenth request."""

import itertools

import jinja2

ENVIRONMENT = jinja2.Environment(
    loader=jinja2.DictLoader({"page": "<h1>{{ title|e }}</h1>"}), autoescape=True
)
COUNT = itertools.count(1)


def application(environ, start_response):
    page = ENVIRONMENT.get_template("page").render(title="Orders & more")
    if next(COUNT) % 10 == 0:
        page += ENVIRONMENT.from_string("{{ 6 * 7 }}").render()
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return [page.encode("utf-8")]
