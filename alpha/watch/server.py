"""The HTTP side: ``/`` the page, ``/status.json``, ``/metrics``. Floor 7.

GET and HEAD only, loopback by default, no CORS, nothing from elsewhere. A name in the Host header that nobody declared is
refused, so that a foreign page cannot reach this one by a name that it points here (DNS rebinding).
"""

from __future__ import annotations

import errno
import ipaddress
import json
import socket
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import numpy.typing as npt

from alpha.documents import plain
from alpha.errors import AlphaError, AlphaWarning, MissingExtraError
from alpha.runtime import Runtime
from alpha.watch.look import Looker, offer_gil
from alpha.watch.metrics import exposition

PORT = 9464
_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
_HEADERS = [
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
    ("Alpha-Watch", "1"),  # a client knows by it whose words an error's are
]
Answer = tuple[HTTPStatus, str, bytes]


class Server:
    """What :func:`serve` started. ``url``: where the page is. A context manager; :meth:`close` ends it."""

    def __init__(self, looker: Looker, host: str, port: int, names: Iterable[str]) -> None:
        check_place(port, host)
        self.looker = looker
        self._app = Application(looker, names)
        try:
            self._http = _Http((host, port), _Handler, family=_family(host))
        except OSError as exc:
            todo = {
                errno.EADDRINUSE: "choose another port, or 0 for a free one",
                errno.EACCES: "choose a port above 1023, or 0 for a free one",
            }.get(exc.errno or 0, "choose an address of this machine, e.g. 127.0.0.1")
            why = (exc.strerror or str(exc)).lower()
            raise AlphaError(f"{host}:{port} cannot be watched from: {why}: {todo}") from None
        self._http.set_app(self._app)
        shown = f"[{host}]" if ":" in host else host
        self.port = int(self._http.server_address[1])
        self.url = f"http://{shown}:{self.port}/"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.1,), name="alpha-watch", daemon=True)
        self._thread.start()

    def note(self, signals: npt.NDArray[Any]) -> None:
        """Hand over Signals that ``rt.run`` or ``worker.poll_many`` gave (SIGNAL_DTYPE): then the page shows the last ones
        of each instrument as they were made, not as it happened to see them."""
        self.looker.history.note(signals)

    def say(self, text: str) -> None:
        """One sentence at the top of the page, e.g. that the data ended; empty: none."""
        self.looker.note = text

    def close(self) -> None:
        """Stop answering. May be called twice."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_place(port: int, host: str) -> None:
    """AlphaError for a port that cannot exist, or a host that nobody knows: before any data are read."""
    if not 0 <= port <= 65535:
        raise AlphaError(f"there is no port {port} to watch at: choose one from 1 to 65535, or 0 for a free one")
    try:
        socket.getaddrinfo(host, port, _family(host), socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        why = (getattr(exc, "strerror", None) or str(exc)).lower()
        raise AlphaError(
            f"{host!r} cannot be watched at: {why}: name an address of this machine, e.g. 127.0.0.1, or 0.0.0.0 for all of them"
        ) from None


def serve(
    rt: Runtime,
    port: int = PORT,
    host: str = "127.0.0.1",
    *,
    names: Iterable[str] = (),
    registry: str | Path | None = None,
    keep: int = 20,
    instruments: int = 64,
) -> Server:
    """Let this Runtime be watched at ``http://host:port/``; daemon threads answer, and only while somebody asks.

    ``port=0``: a free one, see ``Server.url``. ``host``: anything but loopback is seen by others, without a password: an
    AlphaWarning says so. ``names``: Host names by which it may be asked beside IP addresses and ``localhost``.
    ``registry``: the file whose word on the served models is shown. ``keep``: last Signals of each instrument;
    ``instruments``: how many are shown, the first of the table. AlphaError if the port cannot be had.
    """
    if not _is_loopback(host):
        warnings.warn(
            f"{host} is reachable from other machines, and nobody is asked for a password: "
            "put a proxy that asks in front of it, or watch on 127.0.0.1",
            AlphaWarning,
            stacklevel=2,
        )
    return Server(Looker(rt, keep=keep, instruments=instruments, registry=registry), host, port, names)


class Application:
    """The WSGI application behind :class:`Server`."""

    def __init__(self, looker: Looker, names: Iterable[str] = ()) -> None:
        self._looker = looker
        self._names = {"localhost", *(n.lower() for n in names)}
        self._files = {
            path: (kind, (Path(__file__).parent / name).read_bytes()) for path, (name, kind) in _FILES.items()
        }
        self._metrics = _metrics_of(looker)

    def __call__(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        method = environ["REQUEST_METHOD"]
        status, kind, body = self._answer(method, environ)
        headers = [("Content-Type", kind), ("Content-Length", str(len(body))), *_HEADERS]
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append(("Allow", "GET, HEAD"))
        start_response(f"{status.value} {status.phrase}", headers)
        return [] if method == "HEAD" else [body]

    def _answer(self, method: str, environ: Mapping[str, Any]) -> Answer:
        if method not in ("GET", "HEAD"):
            return _text(HTTPStatus.METHOD_NOT_ALLOWED, "this only shows: GET or HEAD")
        if not self._is_known(environ.get("HTTP_HOST", "")):
            return _text(
                HTTPStatus.MISDIRECTED_REQUEST,
                "this Host name was not declared: ask by IP address or localhost, or serve with names=[...]",
            )
        path = environ.get("PATH_INFO", "")
        if path in self._files:
            kind, body = self._files[path]
            return HTTPStatus.OK, kind, body
        if path == "/metrics":
            return self._metrics(environ.get("HTTP_ACCEPT", ""))
        if path != "/status.json":
            return _text(HTTPStatus.NOT_FOUND, "there is /, /status.json and /metrics")
        asked = parse_qs(environ.get("QUERY_STRING", "")).get("instrument", [None])[-1]
        try:
            told = self._looker.look(asked)
        except AlphaError as exc:
            return _text(HTTPStatus.NOT_FOUND, str(exc))
        offer_gil()
        values = plain(told)
        offer_gil()
        return HTTPStatus.OK, "application/json", json.dumps(values, allow_nan=False).encode()

    def _is_known(self, host: str) -> bool:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        name = name.strip("[]").lower()
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _metrics_of(looker: Looker) -> Callable[[str], Answer]:
    """What answers /metrics; without prometheus_client a sentence."""
    try:
        encoded = exposition(looker)
    except MissingExtraError as exc:
        missing = _text(HTTPStatus.NOT_IMPLEMENTED, f"metrics: {exc}")
        return lambda accept: missing

    def answer(accept: str) -> Answer:
        kind, body = encoded(accept)
        return HTTPStatus.OK, kind, body

    return answer


def _text(status: HTTPStatus, text: str) -> Answer:
    return status, "text/plain; charset=utf-8", (text + "\n").encode()


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class _Http(ThreadingMixIn, WSGIServer):
    """A thread for each request; they end with the process."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 16

    def __init__(
        self, address: tuple[str, int], handler: type[WSGIRequestHandler], family: socket.AddressFamily
    ) -> None:
        self.address_family = family
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Without the look-up of a name that HTTPServer does, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


class _Handler(WSGIRequestHandler):
    timeout = 10.0  # of a client that says nothing

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal of a trading loop."""
