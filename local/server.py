"""The HTTP server around the gateway: uvicorn, which responds to bad HTTP as API Gateway does."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from local.gateway import Gateway, GatewayError
from local.proxy import Request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.lambda_api import LambdaApi


HOST = "127.0.0.1"


def listen(port: int) -> socket.socket:
    """Return a listening socket on 127.0.0.1; port 0 is any free one. Raises OSError."""
    listener = socket.create_server((HOST, port), backlog=1024)
    # Each connection inherits it; without it a small response waits 40 ms for the next packet.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class Protocol(HttpToolsProtocol):
    """Keeps the case of header names, and responds to bad HTTP in the gateway's form."""

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope["state"]["headers"] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header under its name as sent."""
        super().on_header(name, value)
        self.scope["state"]["headers"].append((name, value))

    def send_400_response(self, msg: str) -> None:
        """Respond to a request that the parser refused, and close the connection."""
        gateway = cast("Gateway", self.config.app)
        request = Request(method="-", path=f"({msg})")
        response = gateway.error_response(GatewayError("DEFAULT_4XX", message=msg), request)
        if gateway.report:
            gateway.report(request, response.status)
        lines = [STATUS_LINE[response.status]]
        lines += [b"%s: %s\r\n" % header for header in response.headers]
        self.transport.write(b"".join([*lines, b"connection: close\r\n\r\n", response.body]))
        self.transport.close()


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: the caller says when to stop."""

    def __init__(self, app: Gateway | LambdaApi) -> None:
        config = uvicorn.Config(
            app,
            http=Protocol if isinstance(app, Gateway) else HttpToolsProtocol,
            ws="none",
            lifespan="off",
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=5,
        )
        super().__init__(config)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield
