"""What Lambda's API is on AWS, as far as functions call it: Invoke, and durable executions."""

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
from local.pool import LARGEST_PAYLOAD, FunctionError

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
    """Lambda's API refuses a request."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


@dataclass(frozen=True)
class Answer:
    """What the API answers."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = (("content-type", JSON),)


class LambdaApi:
    """An ASGI app; `runner` is the path of the socket of `local.durable`."""

    def __init__(self, gateway: Gateway, runner: str = "") -> None:
        self.gateway, self.runner = gateway, runner
        self._starts = asyncio.Lock()

    async def __call__(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Answer one HTTP request; nothing else is served."""
        headers = {n.decode("latin-1"): v.decode("latin-1") for n, v in scope["headers"]}
        path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
        try:
            body = await _read(receive)
            _from_a_function(headers)
            if match := INVOKE.fullmatch(path):
                answer = await self._invoke(unquote(match[1]), query, headers, body)
            elif path.startswith(DURABLE):
                answer = await self._ask(scope["method"], f"{path}?{query}", body)
            else:
                raise LambdaError(404, "ResourceNotFoundException", f"nothing is at {path}")
        except LambdaError as error:
            told = {"Type": "User", "message": str(error), "Message": str(error)}
            answer = Answer(
                error.status,
                json.dumps(told).encode(),
                (("content-type", JSON), ("x-amzn-errortype", error.kind)),
            )
        answered = [*answer.headers, ("x-amzn-requestid", str(uuid4()))]
        answered.append(("content-length", str(len(answer.body))))
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": [(n.encode(), v.encode()) for n, v in answered],
                "trailers": False,
            }
        )
        await send({"type": "http.response.body", "body": answer.body, "more_body": False})

    async def _invoke(
        self, name: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
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
                raise _invalid("a durable function runs here with InvocationType Event alone")
            return await self._start(function, qualifier, headers, event)
        if kind == "Event":
            self.gateway.call_soon(function.id, event)
            return Answer(202)
        if kind != "RequestResponse":
            raise _invalid(f"no invocation type {kind} here")
        try:
            result = await self.gateway.pools[function.id].invoke(event, str(uuid4()))
        except FunctionError as error:
            told = {"errorMessage": error.told or str(error), "errorType": "FunctionError"}
            unhandled = (("content-type", JSON), ("x-amz-function-error", "Unhandled"))
            return Answer(200, json.dumps(told).encode(), unhandled)
        return Answer(200, result)

    def _function(self, name: str) -> tuple[Function, str]:
        """Return a function and the qualifier that its name, or ARN, may end with."""
        if match := NAME.fullmatch(name):
            for function in self.gateway.template.functions.values():
                if match[1] in (function.name, function.id):
                    return function, match[2] or ""
        raise LambdaError(404, "ResourceNotFoundException", f"Function not found: {name}")

    async def _start(
        self, function: Function, qualifier: str, headers: Mapping[str, str], event: bytes
    ) -> Answer:
        """Start a durable execution, unless one of its name is there."""
        if not qualifier:
            raise _invalid("a durable function is called by its version, alias or $LATEST")
        name = headers.get("x-amz-durable-execution-name") or str(uuid4())
        async with self._starts:  # the runner itself would start a second one
            arn = await self._started(function, name, event)
            if not arn:
                told = await self._ask_json(
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
                arn = told["ExecutionArn"]
        return Answer(202, headers=(("x-amz-durable-execution-arn", arn),))

    async def _started(self, function: Function, name: str, event: bytes) -> str:
        """Return the ARN of the execution of this name, or nothing; LambdaError for other input."""
        query = urlencode({"DurableExecutionName": name})
        path = f"{DURABLE}functions/{function.name}/durable-executions?{query}"
        for execution in (await self._ask_json("GET", path))["DurableExecutions"]:
            arn: str = execution["DurableExecutionArn"]
            known = await self._ask_json("GET", f"{DURABLE}durable-executions/{quote(arn, '')}")
            if json.loads(known["InputPayload"]) != json.loads(event):
                raise LambdaError(
                    409, "DurableExecutionAlreadyStartedException", f"{name} is there already"
                )
            return arn
        return ""

    async def _ask_json(self, method: str, target: str, told: object = None) -> dict[str, Any]:
        body = b"" if told is None else json.dumps(told).encode()
        answer = await self._ask(method, target, body)
        if answer.status >= 300:
            raise LambdaError(502, "ServiceException", answer.body.decode(errors="replace"))
        result: dict[str, Any] = json.loads(answer.body)
        return result

    async def _ask(self, method: str, target: str, body: bytes) -> Answer:
        """Return the runner's answer; it speaks HTTP/1.0, a connection for each request."""
        head = f"{method} {target} HTTP/1.0\r\nContent-Type: {JSON}\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        try:
            reader, writer = await asyncio.open_unix_connection(self.runner)
            writer.write(head.encode() + body)
            answered = await reader.read()
            writer.close()
            response = HTTPResponse(cast("socket.socket", _Answered(answered)))
            response.begin()
        except (OSError, EOFError) as error:
            raise LambdaError(503, "ServiceException", f"no durable executions: {error}") from error
        kept = tuple(
            (n.lower(), v)
            for n, v in response.getheaders()
            if n.lower() in ("content-type", "x-amzn-errortype")
        )
        return Answer(response.status, response.read(), kept)


class _Answered(io.BytesIO):
    """Bytes that the standard library reads an answer from."""

    def makefile(self, *_: object) -> io.BytesIO:
        """Return what there is to read."""
        return self


def _from_a_function(headers: Mapping[str, str]) -> None:
    """Refuse what a page in a browser sends, by its own name or by one that leads here."""
    if "origin" in headers or not headers.get("host", "").startswith("127.0.0.1:"):
        raise LambdaError(403, "AccessDeniedException", "only for this platform's functions")


async def _read(receive: ASGIReceiveCallable) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise LambdaError(400, "InvalidRequestContentException", "the request is cut off")
        body += message["body"]
        more = message["more_body"]
        if len(body) > LARGEST_PAYLOAD:
            raise LambdaError(413, "RequestTooLargeException", f"more than {LARGEST_PAYLOAD} bytes")
    return body


def _invalid(message: str) -> LambdaError:
    return LambdaError(400, "InvalidParameterValueException", message)
