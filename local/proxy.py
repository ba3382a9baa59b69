"""Lambda proxy integration: HTTP requests become events, functions' results become responses."""

from __future__ import annotations

import gzip
import json
import re
import secrets
import time
from base64 import b64decode
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl
from uuid import uuid4

from local import ACCOUNT, REGION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

API_ID = "local"
RESULT_FIELDS = {"statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"}
HOP_HEADERS = {"connection", "content-length", "transfer-encoding"}
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")


@dataclass
class Request:
    """An HTTP request. `path` is as sent: percent-encoded, with any trailing slash."""

    method: str = ""
    path: str = ""
    query: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    client: str = ""
    body: bytes = b""
    id: str = field(default_factory=lambda: str(uuid4()))
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    trace_id: str = field(
        default_factory=lambda: f"Root=1-{int(time.time()):x}-{secrets.token_hex(12)}"
    )
    resource: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    authorizer: dict[str, Any] = field(default_factory=dict)

    def values(self, name: str) -> tuple[str, ...]:
        """Return all values of a header; `name` is in lower case."""
        return tuple(value for key, value in self.headers if key.lower() == name)

    def arn(self, stage: str) -> str:
        """Return the ARN that a policy allows or denies."""
        path = self.path.strip("/")
        return f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{API_ID}/{stage}/{self.method}/{path}"

    def event(self, stage: str) -> dict[str, Any]:
        """Return the event for functions, without the body."""
        query = _group(parse_qsl(self.query, keep_blank_values=True), str)
        headers = _group(
            [
                *((n, v) for n, v in self.headers if n.lower() not in HOP_HEADERS),
                ("X-Amzn-Trace-Id", self.trace_id),
                ("X-Forwarded-For", self.client),
                ("X-Forwarded-Proto", "http"),
            ],
            str.lower,
        )
        return {
            "resource": self.resource,
            "path": self.path,
            "httpMethod": self.method,
            "headers": {name: values[-1] for name, values in headers.items()},
            "multiValueHeaders": headers,
            "queryStringParameters": {k: v[-1] for k, v in query.items()} or None,
            "multiValueQueryStringParameters": query or None,
            "pathParameters": self.parameters or None,
            "stageVariables": None,
            "requestContext": self._context(stage),
        }

    def _context(self, stage: str) -> dict[str, Any]:
        context: dict[str, Any] = {
            "accountId": ACCOUNT,
            "apiId": API_ID,
            "domainName": next(iter(self.values("host")), ""),
            "extendedRequestId": self.id,
            "httpMethod": self.method,
            "identity": {
                "sourceIp": self.client,
                "userAgent": next(iter(self.values("user-agent")), None),
            },
            "path": self.path,
            "protocol": "HTTP/1.1",
            "requestId": self.id,
            "requestTime": self.time.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "requestTimeEpoch": int(self.time.timestamp() * 1000),
            "resourceId": self.resource,
            "resourcePath": self.resource,
            "stage": stage,
        }
        return context | {"authorizer": self.authorizer} if self.authorizer else context

    def variables(self, stage: str) -> dict[str, str]:
        """Return the `$context` variables of gateway responses."""
        context = self._context(stage)
        flat = {name: str(value) for name, value in context.items() if isinstance(value, str)}
        return flat | {f"authorizer.{name}": str(v) for name, v in self.authorizer.items()}


@dataclass(frozen=True)
class Response:
    """An HTTP response."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def parse_response(payload: bytes, *, binary: bool) -> Response:
    """Return a function's result as an HTTP response; ValueError if it is malformed.

    With `binary`, a body that the function marks as base64 is decoded.
    """
    try:
        result = json.loads(payload)
        if not result.keys() <= RESULT_FIELDS:
            raise ValueError(f"unknown fields {result.keys() - RESULT_FIELDS}")
        status = int(result.get("statusCode") or 200)
        text: str = result.get("body") or ""
        encoded = binary and result.get("isBase64Encoded")
        body = b64decode(text, validate=True) if encoded else text.encode()
        headers = _merge(result.get("headers") or {}, result.get("multiValueHeaders") or {})
        return complete(status, headers, body)
    except (AttributeError, TypeError) as error:
        raise ValueError(str(error)) from error


def _merge(single: Mapping[str, Any], multiple: Mapping[str, list[Any]]) -> list[tuple[str, str]]:
    """Return both kinds of headers in one list, without duplicates."""
    pairs = [(name, as_text(value)) for name, value in single.items()]
    pairs += [(name, as_text(value)) for name, values in multiple.items() for value in values]
    return list(dict.fromkeys((name.lower(), value) for name, value in pairs))


def compress(response: Response, request: Request, min_bytes: int | None) -> Response:
    """Return a response of this size or larger in gzip, if the client accepts it."""
    headers = dict(response.headers)
    if min_bytes is None or len(response.body) < min_bytes or b"content-encoding" in headers:
        return response
    accepted = ",".join(request.values("accept-encoding")).split(",")
    if "gzip" not in {coding.partition(";")[0].strip() for coding in accepted}:
        return response
    body = gzip.compress(response.body, compresslevel=1, mtime=0)
    kept = [pair for pair in response.headers if pair[0] != b"content-length"]
    added = [(b"content-encoding", b"gzip"), (b"content-length", str(len(body)).encode())]
    return Response(response.status, kept + added, body)


def complete(status: int, headers: list[tuple[str, str]], body: bytes) -> Response:
    """Return a response with its length and type; ValueError if HTTP cannot carry it."""
    if not 200 <= status <= 599:
        raise ValueError(f"status {status}")
    for name, value in headers:
        if not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value):
            raise ValueError(f"header {name!r}: {value!r}")
    kept = [(n.lower(), v) for n, v in headers if n.lower() not in HOP_HEADERS]
    if status in (204, 304):
        body = b""
    else:
        kept.append(("content-length", str(len(body))))
        if not any(name == "content-type" for name, _ in kept):
            kept.append(("content-type", "application/json"))
    return Response(status, [(n.encode(), v.encode()) for n, v in kept], body)


def as_text(value: Any) -> str:
    """Return a string, number or boolean as a string; TypeError for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise TypeError(f"{type(value).__name__} instead of a string")


def _group(
    pairs: Iterable[tuple[str, str]], identity: Callable[[str], str]
) -> dict[str, list[str]]:
    """Return the values of each name; names with one identity count as the first of them."""
    spellings: dict[str, str] = {}
    groups: dict[str, list[str]] = {}
    for name, value in pairs:
        groups.setdefault(spellings.setdefault(identity(name), name), []).append(value)
    return groups
