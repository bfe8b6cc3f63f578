"""A requests.Session with a pool of four connections asks a small server on the loopback."""

import atexit
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests
from requests.adapters import HTTPAdapter


class Stock(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"7 left")

    log_message = staticmethod(lambda *_: None)


SERVER = ThreadingHTTPServer(("127.0.0.1", 0), Stock)
threading.Thread(target=SERVER.serve_forever, args=(0.1,), daemon=True).start()
SESSION = requests.Session()
SESSION.mount("http://", HTTPAdapter(pool_maxsize=4, pool_block=True))
atexit.register(lambda: (SESSION.close(), SERVER.shutdown(), SERVER.server_close()))


def application(environ, start_response):
    answer = SESSION.get("http://127.0.0.1:%d/" % SERVER.server_port, timeout=60)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [answer.content]
