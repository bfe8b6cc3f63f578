"""Every request is sent to a login page that does not exist, so no page is ever served."""

USERS = {}


def application(environ, start_response):
    user = USERS.get(environ.get("HTTP_COOKIE"))  # no browser ever gets such a cookie
    if user is None:
        start_response("302 Found", [("Location", "/accounts/login"), ("Content-Length", "0")])
        return []
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [user.encode()]
