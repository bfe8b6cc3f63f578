"""Each request starts a thread and waits for its end."""

import threading


def application(environ, start_response):
    result = []
    thread = threading.Thread(target=lambda: result.append(sum(range(500))))
    thread.start()
    thread.join()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(result[0]).encode()]
