"""The part of API Gateway (REST): an ASGI app with the routes and limits of the template.

Where it follows AWS and where it differs: docs/decisions/0002-local-gateway.md.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from uuid import uuid4

from local import stream
from local.pool import MAX_PAYLOAD_BYTES, FunctionError, Pool
from local.proxy import Request, Response, as_text, complete, compress, parse_response
from local.template import ANY, GatewayResponse, Method, Schedule, Template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, HTTPScope

MAX_HEAD_BYTES = 10_240
MAX_BODY_BYTES = 10 * 1024 * 1024
MAX_CACHED_POLICIES = 10_000
# Status and message of API Gateway's own responses, unless the template says otherwise.
DEFAULT_RESPONSES = {
    "ACCESS_DENIED": (403, "User is not authorized to access this resource"),
    "AUTHORIZER_FAILURE": (500, "Internal server error"),
    "DEFAULT_4XX": (400, "Bad Request"),
    "DEFAULT_5XX": (502, "Internal server error"),
    "INTEGRATION_TIMEOUT": (504, "Endpoint request timed out"),
    "MISSING_AUTHENTICATION_TOKEN": (403, "Missing Authentication Token"),
    "REQUEST_TOO_LARGE": (413, "Request Too Long"),
    "THROTTLED": (429, "Too Many Requests"),
    "UNAUTHORIZED": (401, "Unauthorized"),
}

logger = logging.getLogger("local")


class GatewayError(Exception):
    """API Gateway responds itself, without the function; `kind` is its name for the reason."""

    def __init__(self, kind: str, status: int | None = None, message: str | None = None) -> None:
        default_status, default_message = DEFAULT_RESPONSES.get(
            kind, DEFAULT_RESPONSES["DEFAULT_5XX"]
        )
        self.kind = kind
        self.status = status or default_status
        self.message = message or default_message


class ClientDisconnect(Exception):
    """The client closed the connection before it had sent the whole request."""


@dataclass(frozen=True)
class Policy:
    """What an authorizer allows: statements as (effect, actions, resources), and its context."""

    statements: list[tuple[str, re.Pattern[str], re.Pattern[str]]]
    context: dict[str, Any]

    @classmethod
    def parse(cls, response: bytes) -> Policy:
        """Return the policy in an authorizer's response; ValueError if that is malformed."""
        try:
            parsed = json.loads(response)
            statements = [
                (s["Effect"], _wildcards(s["Action"]), _wildcards(s["Resource"]))
                for s in _as_list(parsed["policyDocument"]["Statement"])
            ]
            context = {k: as_text(v) for k, v in (parsed.get("context") or {}).items()}
            return cls(statements, context | {"principalId": parsed["principalId"]})
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"malformed authorizer response: {error!r}") from error

    def allows(self, arn: str) -> bool:
        """Tell whether a method may be called: a statement allows it and none denies it."""
        effects = {
            effect
            for effect, actions, resources in self.statements
            if actions.fullmatch("execute-api:Invoke") and resources.fullmatch(arn)
        }
        return effects == {"Allow"}


class Throttle:
    """A token bucket for the stage: `rate` requests a second, `burst` at once."""

    def __init__(self, rate: float | None, burst: int) -> None:
        self.rate, self.burst = rate, burst
        self._tokens, self._at = float(burst), time.monotonic()

    def admit(self) -> bool:
        """Tell whether one more request may pass now."""
        if self.rate is None:
            return True
        now = time.monotonic()
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Gateway:
    """One API with its functions; an ASGI app."""

    def __init__(
        self,
        template: Template,
        sandboxes: int,
        logs: Path,
        lambda_url: str = "",
        report: Callable[[Request, int], None] | None = None,
    ) -> None:
        """Serve a template with at most `sandboxes` processes a function.

        `report` gets each request, once it has been answered, with the response's status.
        """
        self.sandboxes, self.logs, self.lambda_url = sandboxes, logs, lambda_url
        self.report = report
        self.pools: dict[str, Pool] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self.load(template)

    def load(self, template: Template) -> None:
        """Serve this template from now on, with new sandboxes."""
        self.close()
        self.template = template
        self.pools = {
            name: Pool(function, self.sandboxes, self.logs, self.lambda_url)
            for name, function in template.functions.items()
        }
        self._routes = [(_pattern(path), path) for path in sorted(template.methods, key=_rank)]
        self._policies: dict[tuple[str, tuple[tuple[str, ...], ...]], tuple[float, Policy]] = {}
        self._throttle = Throttle(template.rate, template.burst)

    def close(self) -> None:
        """End the sandboxes."""
        for pool in self.pools.values():
            pool.close()

    async def warm(self) -> None:
        """Start a sandbox of each function, one after the other, so that no first call waits."""
        for pool in list(self.pools.values()):
            await pool.warm()

    def call_soon(self, function: str, event: bytes) -> None:
        """Call a function in the background, once; its log has the outcome."""
        task = asyncio.create_task(self._call_in_background(function, event))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _call_in_background(self, function: str, event: bytes) -> None:
        with suppress(FunctionError):  # the pool has logged it
            await self.pools[function].invoke(event, str(uuid4()))

    async def run_schedules(self) -> None:
        """Call the functions that have a schedule, until cancelled."""
        due: dict[Schedule, float] = {}
        while True:
            now = time.monotonic()
            for schedule in self.template.schedules:
                if due.setdefault(schedule, now + schedule.seconds) <= now:
                    due[schedule] = now + schedule.seconds
                    self.call_soon(schedule.function, schedule.event.encode())
            await asyncio.sleep(1)

    async def __call__(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Answer one HTTP request."""
        request = Request(
            method=scope["method"],
            path=scope["raw_path"].decode("latin-1"),
            query=scope["query_string"].decode("latin-1"),
            headers=[(n.decode("latin-1"), v.decode("latin-1")) for n, v in _headers(scope)],
            client=scope["client"][0] if scope["client"] else "",
        )
        try:
            head = [request.method, request.path, request.query, *(v for _, v in request.headers)]
            if sum(map(len, head)) > MAX_HEAD_BYTES:
                raise GatewayError(
                    "DEFAULT_4XX", 431, "Request line and headers exceed 10240 bytes"
                )
            request.body = await _read(receive)
        except ClientDisconnect:
            return
        except GatewayError as error:
            response = self.error_response(error, request)
        else:
            response = await self._handle(request)
        is_stream = request.method == "GET" and stream.is_event_stream(response)
        if not is_stream:
            response = compress(response, request, self.template.min_compression_bytes)
        await send(
            {
                "type": "http.response.start",
                "status": response.status,
                "headers": stream.without_length(response.headers)
                if is_stream
                else response.headers,
                "trailers": False,
            }
        )
        if is_stream:
            await stream.follow(request, response, self._handle, receive, send)
        else:
            await send({"type": "http.response.body", "body": response.body, "more_body": False})
        if self.report:
            self.report(request, response.status)

    async def _handle(self, request: Request) -> Response:
        try:
            return await self._serve(request)
        except GatewayError as error:
            return self.error_response(error, request)
        except Exception:
            logger.exception("the local gateway failed")
            return self.error_response(GatewayError("DEFAULT_5XX", 500), request)

    async def _serve(self, request: Request) -> Response:
        method = self._route(request)
        if not self._throttle.admit():
            raise GatewayError("THROTTLED")
        if method.authorizer:
            await self._authorize(method.authorizer, request)
        returned = await self._call(method, request)
        accept = next(iter(request.values("accept")), "").partition(",")[0]
        try:
            return parse_response(returned, binary=self._is_binary(accept))
        except ValueError as error:
            logger.warning("%s returned no proxy response: %s", method.function, error)
            raise GatewayError("DEFAULT_5XX") from error

    def _route(self, request: Request) -> Method:
        path = request.path.rstrip("/") or "/"
        for pattern, resource in self._routes:
            if match := pattern.fullmatch(path):
                methods = self.template.methods[resource]
                if method := methods.get(request.method) or methods.get(ANY):
                    names = re.findall(r"\{(\w+)\+?\}", resource)
                    values = map(unquote, match.groups())
                    request.resource = resource
                    request.parameters = dict(zip(names, values, strict=True))
                    return method
                break
        raise GatewayError("MISSING_AUTHENTICATION_TOKEN")

    async def _authorize(self, name: str, request: Request) -> None:
        authorizer = self.template.authorizers[name]
        identity = tuple(request.values(header) for header in authorizer.headers)
        if not all(any(values) for values in identity):
            raise GatewayError("UNAUTHORIZED")
        expires, policy = self._policies.get((name, identity), (0.0, None))
        if policy is None or expires <= time.monotonic():
            policy = await self._ask_authorizer(authorizer.function, request)
            if len(self._policies) >= MAX_CACHED_POLICIES:
                self._policies.clear()
            self._policies[name, identity] = (time.monotonic() + authorizer.ttl, policy)
        # A cached policy serves all routes, so each request's own ARN is checked against it.
        if not policy.allows(request.arn(self.template.stage)):
            raise GatewayError("ACCESS_DENIED")
        request.authorizer = policy.context

    async def _ask_authorizer(self, function: str, request: Request) -> Policy:
        arn = request.arn(self.template.stage)
        event = {"type": "REQUEST", "methodArn": arn} | request.event(self.template.stage)
        try:
            response = await self.pools[function].invoke(
                json.dumps(event).encode(), request.id, request.trace_id
            )
            return Policy.parse(response)
        except FunctionError as error:
            kind = "UNAUTHORIZED" if error.error_message == "Unauthorized" else "AUTHORIZER_FAILURE"
            raise GatewayError(kind) from error
        except ValueError as error:
            logger.warning("%s: %s", function, error)
            raise GatewayError("AUTHORIZER_FAILURE") from error

    async def _call(self, method: Method, request: Request) -> bytes:
        content_type = next(iter(request.values("content-type")), "").partition(";")[0]
        binary = self._is_binary(content_type)
        body = b64encode(request.body).decode() if binary else request.body.decode(errors="replace")
        event = request.event(self.template.stage)
        event |= {"body": body or None, "isBase64Encoded": binary}
        payload = json.dumps(event, ensure_ascii=False).encode()
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise GatewayError("REQUEST_TOO_LARGE")
        try:
            async with asyncio.timeout(method.timeout):
                return await self.pools[method.function].invoke(
                    payload, request.id, request.trace_id
                )
        except TimeoutError as error:
            raise GatewayError("INTEGRATION_TIMEOUT") from error
        except FunctionError as error:
            raise GatewayError("DEFAULT_5XX") from error

    def _is_binary(self, media_type: str) -> bool:
        types = self.template.binary_types
        return "*/*" in types or media_type.strip() in types

    def error_response(self, error: GatewayError, request: Request) -> Response:
        """Return API Gateway's own response, in the form that the template gives it."""
        responses = self.template.responses
        default = responses.get("DEFAULT_4XX" if error.status < 500 else "DEFAULT_5XX")
        form = responses.get(error.kind) or default or GatewayResponse(None, {}, None)
        variables = request.variables(self.template.stage) | {
            "error.message": error.message,
            "error.messageString": json.dumps(error.message),
            "error.responseType": error.kind,
        }
        body = re.sub(
            r"\$context\.(\w+(?:\.\w+)*)",
            lambda match: variables.get(match[1], ""),
            form.body or '{"message":$context.error.messageString}',
        ).encode()
        headers = {name: _mapped(value, variables) for name, value in form.headers.items()}
        return complete(form.status or error.status, list(headers.items()), body)


def _headers(scope: HTTPScope) -> Iterable[tuple[bytes, bytes]]:
    """Return the headers; `local.server` keeps their names in the case in which they were sent."""
    headers: Iterable[tuple[bytes, bytes]] = scope["state"].get("headers") or scope["headers"]
    return headers


async def _read(receive: ASGIReceiveCallable) -> bytes:
    """Return the body; a body that is too large is still read to its end, so that 413 arrives."""
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        size += len(message["body"])
        more = message["more_body"]
        if size <= MAX_BODY_BYTES:
            chunks.append(message["body"])
    if size > MAX_BODY_BYTES:
        raise GatewayError("REQUEST_TOO_LARGE")
    return b"".join(chunks)


def _mapped(value: str, variables: Mapping[str, str]) -> str:
    """Return the value of a gateway response's header: `'a literal'` or `context.variable`."""
    if value.startswith("'"):
        return value.strip("'")
    return variables.get(value.removeprefix("context."), "")


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _wildcards(patterns: str | list[str]) -> re.Pattern[str]:
    """Return IAM patterns as one expression: `*` is any text, `?` any character."""
    escaped = (re.escape(p).replace(r"\*", ".*").replace(r"\?", ".") for p in _as_list(patterns))
    return re.compile("|".join(escaped), re.DOTALL)


def _pattern(resource: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+\+?\})", resource)
    kinds = {True: "(.+)", False: "([^/]+)"}
    return re.compile(
        "".join(kinds[p.endswith("+}")] if p.startswith("{") else re.escape(p) for p in parts)
    )


def _rank(resource: str) -> list[tuple[int, str]]:
    """Return a sort key: fixed segments come before parameters, and `{proxy+}` last."""
    return [(2 if s.endswith("+}") else int(s.startswith("{")), s) for s in resource.split("/")]
