"""Server-sent events: joins the parts that a function returns into one stream.

A Lambda function cannot stream. On AWS a client connects again after each part, with the last id
that it has seen. Here the gateway does that for it, so that `curl -N` shows a whole run.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from uvicorn._types import ASGIReceiveCallable, ASGISendCallable

    from local.proxy import Request, Response

    Header = tuple[bytes, bytes]

LAST_ID = "Last-Event-ID"
ID = re.compile(rb"^id: ?(.*?)\r?$", re.MULTILINE)
RETRY = re.compile(rb"^retry: ?(\d+)\r?$", re.MULTILINE)
RETRY_MS = b"3000"  # what browsers wait unless the stream says otherwise


def is_event_stream(response: Response) -> bool:
    """Tell whether a client would connect again for the next part."""
    kind = dict(response.headers).get(b"content-type", b"")
    return response.status == 200 and kind.startswith(b"text/event-stream")


def without_length(headers: list[Header]) -> list[Header]:
    """Return a response's headers without its length, which a stream does not know."""
    return [(name, value) for name, value in headers if name != b"content-length"]


async def follow(
    request: Request,
    response: Response,
    handle: Callable[[Request], Awaitable[Response]],
    receive: ASGIReceiveCallable,
    send: ASGISendCallable,
) -> None:
    """Send a response and the parts after it, until the last or until the client disconnects."""
    sending = asyncio.create_task(_send_parts(request, response, handle, send))
    disconnect = asyncio.create_task(_wait_for_disconnect(receive))
    try:
        await asyncio.wait((sending, disconnect), return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
    finally:
        sending.cancel()
        disconnect.cancel()


async def _send_parts(
    request: Request,
    response: Response,
    handle: Callable[[Request], Awaitable[Response]],
    send: ASGISendCallable,
) -> None:
    retry_ms = RETRY_MS
    while is_event_stream(response):
        body = response.body
        await send({"type": "http.response.body", "body": body, "more_body": True})
        retry_ms = next(iter(RETRY.findall(body)[-1:]), retry_ms)
        await asyncio.sleep(int(retry_ms) / 1000)
        headers = request.headers
        if seen := ID.findall(body):
            headers = [(n, v) for n, v in headers if n.lower() != LAST_ID.lower()]
            headers.append((LAST_ID, seen[-1].decode(errors="replace")))
        request = replace(request, headers=headers, id=str(uuid4()))
        response = await handle(request)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _wait_for_disconnect(receive: ASGIReceiveCallable) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
