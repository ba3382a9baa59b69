"""Server-sent events: where a function can only answer piece by piece, the client sees one stream.

On AWS a client that follows something connects again after each piece, with the last id that it has
seen. Here the gateway does that for it, and the connection stays open.
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
PAUSE = b"3000"  # milliseconds, as browsers have it where the stream says nothing else


def goes_on(response: Response) -> bool:
    """Tell whether a client would come back for more."""
    kind = dict(response.headers).get(b"content-type", b"")
    return response.status == 200 and kind.startswith(b"text/event-stream")


def endless(headers: list[Header]) -> list[Header]:
    """Return the headers of an answer whose length nobody knows."""
    return [(name, value) for name, value in headers if name != b"content-length"]


async def follow(
    request: Request,
    response: Response,
    ask: Callable[[Request], Awaitable[Response]],
    receive: ASGIReceiveCallable,
    send: ASGISendCallable,
) -> None:
    """Send an answer, and those that come after it, until there are no more or the client goes."""
    sending = asyncio.create_task(_send(request, response, ask, send))
    leaving = asyncio.create_task(_leave(receive))
    try:
        await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
    finally:
        sending.cancel()
        leaving.cancel()


async def _send(
    request: Request,
    response: Response,
    ask: Callable[[Request], Awaitable[Response]],
    send: ASGISendCallable,
) -> None:
    pause = PAUSE
    while goes_on(response):
        body = response.body
        await send({"type": "http.response.body", "body": body, "more_body": True})
        pause = next(iter(RETRY.findall(body)[-1:]), pause)
        await asyncio.sleep(int(pause) / 1000)
        headers = request.headers
        if seen := ID.findall(body):
            headers = [(n, v) for n, v in headers if n.lower() != LAST_ID.lower()]
            headers.append((LAST_ID, seen[-1].decode(errors="replace")))
        request = replace(request, headers=headers, id=str(uuid4()))
        response = await ask(request)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _leave(receive: ASGIReceiveCallable) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
