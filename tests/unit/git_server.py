"""A git server on loopback, with TLS: git's own, behind a small HTTP server."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme

GIT, PATH = shutil.which("git") or "git", os.environ["PATH"]
"""Not those of a test that puts another git on its PATH."""


class Handler(BaseHTTPRequestHandler):
    """Serves repositories by the CGI program git-http-backend, and some paths that misbehave."""

    repositories: Path
    waiting = threading.Event()

    def do_GET(self) -> None:
        if self.path.startswith("/secret"):
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="it"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path.startswith("/elsewhere"):
            self.send_response(302)
            plain = f"http://{self.headers['Host']}"
            self.send_header("Location", plain + self.path.removeprefix("/elsewhere"))
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path.startswith("/never"):
            self.waiting.wait(60)
        else:
            self._backend()

    do_POST = do_GET

    def _backend(self) -> None:
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        done = subprocess.run(  # it fails for an object that there is not
            [GIT, "http-backend"],
            input=body,
            capture_output=True,
            env={
                "PATH": PATH,
                "GIT_PROJECT_ROOT": str(self.repositories),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            },
        ).stdout
        head, _, content = done.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def git_server(repositories: Path, certificates: Path) -> Iterator[str]:
    """Serve ``repositories`` in the context; write the certificate of the authority, and return the
    URL."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(certificates)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    waiting = threading.Event()
    handler = type("Handler", (Handler,), {"repositories": repositories, "waiting": waiting})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"https://localhost:{server.server_address[1]}"
        finally:
            waiting.set()
            server.shutdown()
            thread.join()
