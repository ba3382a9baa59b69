"""The part of Lambda's API that functions call: Invoke and durable executions.

It listens on a port of its own, since AWS SDKs speak HTTP. `local.durable` keeps the executions.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, quote, unquote, urlencode
from uuid import uuid4

from local import ACCOUNT
from local.pool import MAX_PAYLOAD_BYTES, FunctionError

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, HTTPScope

    from local.gateway import Gateway
    from local.template import Function

INVOKE = re.compile(r"/2015-03-31/functions/([^/]+)/invocations")
DURABLE = "/2025-12-01/"
NAME = re.compile(r"(?:arn:aws:lambda:[\w-]+:\d+:function:)?([\w-]+)(?::([\w$-]+))?")
JSON = "application/json"

logger = logging.getLogger("local")


class LambdaError(Exception):
    """A request that Lambda's API refuses; `kind` is the error type on AWS."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


@dataclass(frozen=True)
class Response:
    """What the API returns."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = (("content-type", JSON),)


class LambdaApi:
    """An ASGI app. `runner` is the path of the Unix socket of `local.durable`."""

    def __init__(self, gateway: Gateway, runner: str = "") -> None:
        self.gateway, self.runner = gateway, runner
        self._start_lock = asyncio.Lock()

    async def __call__(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Answer one HTTP request."""
        headers = {n.decode("latin-1"): v.decode("latin-1") for n, v in scope["headers"]}
        path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
        try:
            sent = await _read(receive)
            _refuse_browsers(headers)
            if match := INVOKE.fullmatch(path):
                response = await self._invoke(unquote(match[1]), query, headers, sent)
            elif path.startswith(DURABLE):
                response = await self._ask_runner(scope["method"], f"{path}?{query}", sent)
            else:
                raise LambdaError(404, "ResourceNotFoundException", f"there is nothing at {path}")
        except LambdaError as error:
            body = json.dumps({"Type": "User", "message": str(error), "Message": str(error)})
            response = Response(
                error.status,
                body.encode(),
                (("content-type", JSON), ("x-amzn-errortype", error.kind)),
            )
        all_headers = [
            *response.headers,
            ("x-amzn-requestid", str(uuid4())),
            ("content-length", str(len(response.body))),
        ]
        await send(
            {
                "type": "http.response.start",
                "status": response.status,
                "headers": [(n.encode(), v.encode()) for n, v in all_headers],
                "trailers": False,
            }
        )
        await send({"type": "http.response.body", "body": response.body, "more_body": False})

    async def _invoke(
        self, name: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> Response:
        function, qualifier = self._function(name)
        qualifier = qualifier or parse_qs(query).get("Qualifier", [""])[0]
        event = body or b"{}"
        try:
            json.loads(event)
        except ValueError as error:
            raise LambdaError(400, "InvalidRequestContentException", str(error)) from error
        kind = headers.get("x-amz-invocation-type", "RequestResponse")
        if function.durable and "x-dex-handler-invoke" not in headers:
            if kind != "Event":
                raise _invalid("locally, a durable function takes no InvocationType but Event")
            return await self._start(function, qualifier, headers, event)
        if kind == "Event":
            self.gateway.call_soon(function.id, event)
            return Response(202)
        if kind != "RequestResponse":
            raise _invalid(f"locally there is no InvocationType {kind}")
        try:
            result = await self.gateway.pools[function.id].invoke(event, str(uuid4()))
        except FunctionError as error:
            raised = {
                "errorMessage": error.error_message or str(error),
                "errorType": error.error_type or "FunctionError",
            }
            unhandled = (("content-type", JSON), ("x-amz-function-error", "Unhandled"))
            return Response(200, json.dumps(raised).encode(), unhandled)
        return Response(200, result)

    def _function(self, name: str) -> tuple[Function, str]:
        """Return the function of a name or an ARN, and the qualifier at its end or ""."""
        if match := NAME.fullmatch(name):
            for function in self.gateway.template.functions.values():
                if match[1] in (function.name, function.id):
                    return function, match[2] or ""
        raise LambdaError(404, "ResourceNotFoundException", f"Function not found: {name}")

    async def _start(
        self, function: Function, qualifier: str, headers: Mapping[str, str], event: bytes
    ) -> Response:
        """Start a durable execution, unless there is one of this name."""
        if not qualifier:
            raise _invalid("a durable function is called by its version, alias or $LATEST")
        name = headers.get("x-amz-durable-execution-name") or str(uuid4())
        async with self._start_lock:  # the runner itself would start a second one
            arn = await self._find_execution(function, name, event)
            if not arn:
                started = await self._ask_json(
                    "POST",
                    "/start-durable-execution",
                    {
                        "AccountId": ACCOUNT,
                        "FunctionName": function.name,
                        "FunctionQualifier": qualifier,
                        "ExecutionName": name,
                        "ExecutionTimeoutSeconds": function.durable,
                        "ExecutionRetentionPeriodDays": 1,
                        "Input": event.decode(),
                    },
                )
                arn = started["ExecutionArn"]
        return Response(202, headers=(("x-amz-durable-execution-arn", arn),))

    async def _find_execution(self, function: Function, name: str, event: bytes) -> str:
        """Return the ARN of an execution by its name or ""; LambdaError if its input differs."""
        query = urlencode({"DurableExecutionName": name})
        path = f"{DURABLE}functions/{function.name}/durable-executions?{query}"
        for execution in (await self._ask_json("GET", path))["DurableExecutions"]:
            arn: str = execution["DurableExecutionArn"]
            known = await self._ask_json("GET", f"{DURABLE}durable-executions/{quote(arn, '')}")
            if json.loads(known["InputPayload"]) != json.loads(event):
                raise LambdaError(
                    409, "DurableExecutionAlreadyStartedException", f"{name} exists already"
                )
            return arn
        return ""

    async def _ask_json(self, method: str, target: str, sent: object = None) -> dict[str, Any]:
        body = b"" if sent is None else json.dumps(sent).encode()
        response = await self._ask_runner(method, target, body)
        if response.status >= 300:
            raise LambdaError(502, "ServiceException", response.body.decode(errors="replace"))
        result: dict[str, Any] = json.loads(response.body)
        return result

    async def _ask_runner(self, method: str, target: str, body: bytes) -> Response:
        """Return the runner's response; it speaks HTTP/1.0, with a connection for each request."""
        head = f"{method} {target} HTTP/1.0\r\nContent-Type: {JSON}\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        try:
            reader, writer = await asyncio.open_unix_connection(self.runner)
            writer.write(head.encode() + body)
            received = _ResponseBytes(await reader.read())
            writer.close()
            response = HTTPResponse(cast("socket.socket", received))
            response.begin()
        except (OSError, EOFError) as error:
            raise LambdaError(
                503,
                "ServiceException",
                f"the runner of durable executions does not respond: {error}",
            ) from error
        kept = tuple(
            (n.lower(), v)
            for n, v in response.getheaders()
            if n.lower() in ("content-type", "x-amzn-errortype")
        )
        return Response(response.status, response.read(), kept)


class _ResponseBytes(io.BytesIO):
    """Bytes that HTTPResponse takes for a socket."""

    def makefile(self, *_: object) -> io.BytesIO:
        """Return the bytes as a file."""
        return self


def _refuse_browsers(headers: Mapping[str, str]) -> None:
    """Refuse a page in a browser: it sends an Origin, or the Host of a name that resolves to us."""
    if "origin" in headers or not headers.get("host", "").startswith("127.0.0.1:"):
        raise LambdaError(403, "AccessDeniedException", "only for this platform's functions")


async def _read(receive: ASGIReceiveCallable) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise LambdaError(400, "InvalidRequestContentException", "the request ended early")
        body += message["body"]
        more = message["more_body"]
        if len(body) > MAX_PAYLOAD_BYTES:
            raise LambdaError(
                413, "RequestTooLargeException", f"more than {MAX_PAYLOAD_BYTES} bytes"
            )
    return body


def _invalid(message: str) -> LambdaError:
    return LambdaError(400, "InvalidParameterValueException", message)
