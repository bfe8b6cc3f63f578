"""The canonical address is computed wrongly, so each request is redirected to its own URL."""


def application(environ, start_response):
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    wanted = "http://%s%s" % (environ["HTTP_HOST"], path)
    asked = "https://%s%s" % (environ["HTTP_HOST"], path)
    if asked != wanted:
        start_response("301 Moved Permanently", [("Location", wanted), ("Content-Length", "0")])
        return []
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"here"]
