"""A Falcon application with a resource and a sink for all other paths."""

import falcon


class Orders:
    def on_get(self, request, response):
        response.media = {"orders": [1, 2, 3]}


def front(request, response, **parameters):
    response.text = "front page"


application = falcon.App()
application.add_route("/", Orders())
application.add_sink(front, "/")
