"""A header repeats the request's id from an attribute that all requests share."""

import time


class Application:
    def __call__(self, environ, start_response):
        self.request_id = environ.get("HTTP_X_REQUEST_ID", "none")
        body = self.render()
        headers = [("Content-Type", "text/plain"), ("X-Request-ID", self.request_id)]
        start_response("200 OK", headers)
        return [body]

    def render(self):
        time.sleep(0.001)
        return b"the same for all"


application = Application()
