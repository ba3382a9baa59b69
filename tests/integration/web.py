"""A web server that says what a test tells it to, and the network as a test wants it to be."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import parse_headers
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any, Self

import pytest

PUBLIC = "93.184.216.34"
"""An address that is nobody's private one; nothing ever leaves for it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A request; names of headers in lower case, values of the same name joined by commas."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Answers = Callable[[Seen], Iterable[bytes]]


def reply(body: bytes | str = b"", status: int = 200, **headers: str) -> list[bytes]:
    """Return an answer; `_` in a header's name stands for `-`."""
    body = body if isinstance(body, bytes) else body.encode()
    fields = {"Content-Length": str(len(body)), "Content-Type": "text/plain"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return [f"HTTP/1.1 {status} Said\r\n{head}\r\n".encode(), body]


class _Server(ThreadingTCPServer):
    daemon_threads = True
    web: "Web"

    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that hang up, or do not trust us."""


class _Handler(BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, _Server)
        with suppress(OSError):
            self.server.web.serve(self.request)


@dataclass
class Web:
    """Listens at 127.0.0.1, with TLS if it has a context."""

    answers: Answers = lambda _: reply("hello")
    tls: ssl.SSLContext | None = None
    seen: list[Seen] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    hung_up: threading.Event = field(default_factory=threading.Event)

    def serve(self, sock: socket.socket) -> None:
        if self.tls:
            sock = self.tls.wrap_socket(sock, server_side=True)
        with sock, sock.makefile("rb") as received:
            method, path, _ = received.readline().decode().split()
            fields = parse_headers(received)
            headers = {name.lower(): ", ".join(fields.get_all(name, [])) for name in fields}
            body = received.read(int(headers.get("content-length", 0)))
            seen = Seen(method, path, headers, body)
            self.seen.append(seen)
            try:
                for chunk in self.answers(seen):
                    sock.sendall(chunk)
            except OSError:
                self.hung_up.set()

    def dripping(self, data: Iterable[bytes], pause: float = 0.05) -> Iterator[bytes]:
        """Yield an answer byte after byte, until somebody has had enough."""
        for chunk in data:
            for byte in chunk:
                yield bytes([byte])
                if self.closing.wait(pause):
                    return

    @property
    def port(self) -> int:
        port: int = self._server.server_address[1]
        return port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.web = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@dataclass
class Network:
    """Names and their addresses, one answer after the other, and what was connected to.

    Addresses of 127.0.0.1 are real. Others lead to a port of it if `routes` says so, else nowhere.
    """

    names: dict[str, list[list[str]]] = field(default_factory=dict)
    routes: dict[str, int] = field(default_factory=dict)
    resolved: list[str] = field(default_factory=list)
    connected: list[tuple[str, int]] = field(default_factory=list)

    def getaddrinfo(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        self.resolved.append(host)
        answers = self.names.get(host)
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (address, port),
            )
            for address in addresses
        ]


@contextmanager
def watched() -> Iterator[Network]:
    """Put names and connections of this process under a test's control."""
    network = Network()
    connect = socket.socket.connect

    def reroute(self: socket.socket, address: Any) -> None:
        if self.family == socket.AF_UNIX:
            return connect(self, address)
        network.connected.append(address)
        if address[0] == "127.0.0.1":
            return connect(self, address)
        if address[0] not in network.routes:
            raise ConnectionRefusedError
        return connect(self, ("127.0.0.1", network.routes[address[0]]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", network.getaddrinfo)
        patch.setattr(socket.socket, "connect", reroute)
        yield network
