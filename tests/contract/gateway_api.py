"""A small API on the local gateway, served by a thread of this process.

Its functions are in handlers.py. Tests reach the gateway's state through it, and set its clock.
"""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from local import template
from local.gateway import Gateway
from local.server import Server, listen

TEMPLATE = Path(__file__).with_suffix(".yaml").read_text()
MakeApi = Callable[..., "GatewayApi"]


class Clock:
    """Stands in for the module `time`, and stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = time.monotonic()
        self._readings = 0

    def monotonic(self) -> float:
        self._readings += 1
        return self.now

    def advance(self, seconds: float) -> None:
        """Move on; `was_read` is about this new time only."""
        self.now += seconds
        self._readings = 0

    def was_read(self) -> bool:
        """Tell whether anybody has looked at the clock since it was last moved."""
        return self._readings > 0


class GatewayApi:
    """A gateway on a free port, and an HTTP client of it."""

    def __init__(self, folder: Path, text: str = TEMPLATE, sandboxes: int = 2) -> None:
        (folder / "template.yaml").write_text(text)
        self.gateway = Gateway(template.load(folder / "template.yaml", {}), sandboxes, folder)
        self.server = Server(self.gateway)
        self.listener = listen(0)
        self.address = self.listener.getsockname()
        self.http = httpx.Client(base_url="http://{}:{}".format(*self.address), timeout=60)
        self.thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.thread.start()

    async def _serve(self) -> None:
        await self.server.serve([self.listener])
        self.gateway.close()

    @property
    def is_idle(self) -> bool:
        """Whether the gateway has finished every request that it was sent."""
        return not self.server.server_state.tasks

    def raw(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send bytes as they are; return status, headers and body of the response."""
        with socket.create_connection(self.address, timeout=60) as client:
            client.sendall(data)
            with client.makefile("rb") as response:
                status = int(response.readline().split()[1])
                headers = {}
                while line := response.readline().strip().decode():
                    name, _, value = line.partition(": ")
                    headers[name.lower()] = value
                return status, headers, response.read(int(headers["content-length"]))

    def close(self) -> None:
        self.http.close()
        self.server.should_exit = True
        self.thread.join()
        self.listener.close()

    def event(self, *request: Any, **options: Any) -> dict[str, Any]:
        """Return the event that the function `Echo` received for a request."""
        options.setdefault("headers", {"X-API-KEY": "k"})
        event: dict[str, Any] = self.http.request(*request, **options).json()["event"]
        return event

    def obey(self, path: str = "/obey", **query: object) -> httpx.Response:
        """Call the function that does what the query says; see `handlers.obey`."""
        return self.http.get(path, params={k: str(v) for k, v in query.items()})

    def respond(self, **fields: object) -> httpx.Response:
        """Let a function return a proxy response with these fields."""
        return self.obey(answer=json.dumps(fields))

    def pid(self) -> int:
        """Return the process id of the sandbox that serves the next request."""
        return int(self.obey(pid=1).text)
