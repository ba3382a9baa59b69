"""A small API on the local gateway, in this process."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from local import template
from local.gateway import Gateway
from local.server import Server, listen

TEMPLATE = (Path(__file__).parent / "tiny.yaml").read_text()
MakeApi = Callable[..., "Api"]


class Api:
    """A gateway on a free port, in a thread of this process."""

    def __init__(self, folder: Path, text: str = TEMPLATE, sandboxes: int = 2) -> None:
        (folder / "template.yaml").write_text(text)
        self.gateway = Gateway(template.load(folder / "template.yaml", {}), sandboxes, folder)
        self.server = Server(self.gateway)
        self.listener = listen(0)
        self.address = self.listener.getsockname()
        self.http = httpx.Client(base_url="http://{}:{}".format(*self.address), timeout=30)
        self.thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.thread.start()

    async def _serve(self) -> None:
        await self.server.serve([self.listener])
        self.gateway.close()

    def raw(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send bytes as they are; return status, headers and body of the answer."""
        with socket.create_connection(self.address, timeout=10) as client:
            client.sendall(data)
            with client.makefile("rb") as answer:
                status = int(answer.readline().split()[1])
                headers = {}
                while line := answer.readline().strip().decode():
                    name, _, value = line.partition(": ")
                    headers[name.lower()] = value
                return status, headers, answer.read(int(headers["content-length"]))

    def close(self) -> None:
        self.http.close()
        self.server.should_exit = True
        self.thread.join()
        self.listener.close()

    def event(self, *request: Any, **options: Any) -> dict[str, Any]:
        """Return the event that the echo function got for a request."""
        options.setdefault("headers", {"X-API-KEY": "k"})
        event: dict[str, Any] = self.http.request(*request, **options).json()["event"]
        return event

    def obey(self, **query: object) -> httpx.Response:
        return self.http.get("/obey", params={k: str(v) for k, v in query.items()})

    def answer(self, **told: object) -> httpx.Response:
        """Let a function answer this."""
        return self.obey(answer=json.dumps(told))

    def pid(self) -> int:
        return int(self.obey(sleep=0).json()["pid"])
