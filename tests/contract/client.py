"""Clients over HTTP: one that minds its manners, and one that sends bytes as they are."""

import socket
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPResponse
from typing import Self
from urllib.parse import urlsplit

import httpx

from tests.events import Answer
from tests.integration.client import Client, check


class HttpClient(Client):
    """Calls over HTTP, with a key or without."""

    def __init__(self, url: str, key: str | None = None) -> None:
        super().__init__()
        headers = {"X-API-KEY": key} if key else {}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def send(
        self, method: str, path: str, body: object, headers: Mapping[str, str] | None
    ) -> Answer:
        """Send a request; a body that is no text goes as JSON."""
        json = None if isinstance(body, str) else body
        content = body if isinstance(body, str) else None
        answer = self.http.request(
            method, path, json=json, content=content, headers=dict(headers or {})
        )
        return Answer(answer.status_code, answer.headers, answer.text)


def raw(url: str, request: bytes) -> Answer:
    """Send bytes as they are and return the answer, held against what all answers promise."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port or 80), timeout=30) as sock:
        with suppress(BrokenPipeError, ConnectionResetError):  # answered before all was read
            sock.sendall(request)
        response = HTTPResponse(sock)
        response.begin()
        text = response.read().decode()
    headers = {name.lower(): value for name, value in response.getheaders()}
    answer = Answer(response.status, headers, text)
    check(answer)
    return answer
