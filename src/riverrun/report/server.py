"""The page over HTTP, for browsers of this machine alone: two addresses, to read and nothing else."""

from __future__ import annotations

from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer

from riverrun.report.latest import Latest

LOOPBACK = "127.0.0.1"
_SECONDS_FOR_A_REQUEST = 30
# No page but this one may load anything from here, and this one loads nothing from elsewhere.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class PageServer(ThreadingHTTPServer):
    """Answers ``/`` and ``/facts.json`` on the loopback interface; port 0 takes one that is free.

    No path of the file system comes from a request: what it can get was put together before it came. A Host header
    must name this machine, or else a web page elsewhere could have its own name point here and read along.

    Raises:
        OSError: the port is taken, or not allowed.
    """

    daemon_threads = True

    def __init__(self, port: int, latest: Latest):
        self.latest = latest
        super().__init__((LOOPBACK, port), _Answer)
        self.hosts = [f"{name}:{self.server_port}" for name in (LOOPBACK, "localhost", "[::1]")]

    def server_bind(self) -> None:
        """Bind without asking the name service what the machine is called, as the base class does."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = LOOPBACK, self.socket.getsockname()[1]

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://{LOOPBACK}:{self.server_port}/"


class _Answer(BaseHTTPRequestHandler):
    server: PageServer
    timeout = _SECONDS_FOR_A_REQUEST

    def do_GET(self) -> None:
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0] not in self.server.hosts:
            self.send_error(HTTPStatus.FORBIDDEN)
        elif self.path == "/":
            self._send(HTTPStatus.OK, "text/html", self.server.latest.content().page)
        elif self.path == "/facts.json":
            self._send(HTTPStatus.OK, "application/json", self.server.latest.content().facts)
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    do_HEAD = do_GET

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """A refusal in plain words that repeats nothing of the request, from here or the base class."""
        if (
            code == HTTPStatus.NOT_IMPLEMENTED
        ):  # what the base class says of a method that there is no do_... for
            code = HTTPStatus.METHOD_NOT_ALLOWED
        ways = {
            HTTPStatus.FORBIDDEN: (
                f"This page answers to {' and '.join(self.server.hosts)} alone. Through ssh -L, take the same port "
                "at both ends."
            ),
            HTTPStatus.NOT_FOUND: "There is / and /facts.json.",
            HTTPStatus.METHOD_NOT_ALLOWED: "This page can be read, by GET or HEAD, and nothing else.",
        }
        status = HTTPStatus(code)
        self.close_connection = True
        self._send(status, "text/plain", f"{ways.get(status, status.phrase)}\n".encode())

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "riverrun"

    def log_message(self, format: str, *arguments: object) -> None:
        """Requests are not worth a line."""
