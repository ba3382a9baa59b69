"""Lambda proxy integration: an HTTP request becomes an event, an answer an HTTP response."""

from __future__ import annotations

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
ANSWER_FIELDS = {"statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"}
OWN_HEADERS = {"connection", "content-length", "transfer-encoding"}
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")


@dataclass
class Request:
    """What came in; `path` is as sent, encoded and with any trailing slash."""

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
        """Return what a policy allows or denies."""
        path = self.path.strip("/")
        return f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{API_ID}/{stage}/{self.method}/{path}"

    def event(self, stage: str) -> dict[str, Any]:
        """Return the event that functions get, without its body."""
        query = _grouped(parse_qsl(self.query, keep_blank_values=True), str)
        headers = _grouped(
            [
                *((n, v) for n, v in self.headers if n.lower() not in OWN_HEADERS),
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
    """What goes out."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def parse_answer(payload: bytes, *, binary: bool) -> Response:
    """Return a function's answer as HTTP; ValueError where it has not the form it must have."""
    try:
        answer = json.loads(payload)
        if not answer.keys() <= ANSWER_FIELDS:
            raise ValueError(f"unknown fields {answer.keys() - ANSWER_FIELDS}")
        status = int(answer.get("statusCode") or 200)
        text: str = answer.get("body") or ""
        encoded = binary and answer.get("isBase64Encoded")
        body = b64decode(text, validate=True) if encoded else text.encode()
        headers = _merged(answer.get("headers") or {}, answer.get("multiValueHeaders") or {})
        return complete(status, headers, body)
    except (AttributeError, TypeError) as error:
        raise ValueError(str(error)) from error


def _merged(single: Mapping[str, Any], multiple: Mapping[str, list[Any]]) -> list[tuple[str, str]]:
    """Return both kinds of headers as one list; a pair that is in both counts once."""
    pairs = [(name, as_text(value)) for name, value in single.items()]
    pairs += [(name, as_text(value)) for name, values in multiple.items() for value in values]
    return list(dict.fromkeys((name.lower(), value) for name, value in pairs))


def complete(status: int, headers: list[tuple[str, str]], body: bytes) -> Response:
    """Return a response that HTTP can carry; ValueError where it cannot."""
    if not 200 <= status <= 599:
        raise ValueError(f"status {status}")
    for name, value in headers:
        if not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value):
            raise ValueError(f"header {name!r}: {value!r}")
    kept = [(n.lower(), v) for n, v in headers if n.lower() not in OWN_HEADERS]
    if status in (204, 304):
        body = b""
    else:
        kept.append(("content-length", str(len(body))))
        if not any(name == "content-type" for name, _ in kept):
            kept.append(("content-type", "application/json"))
    return Response(status, [(n.encode(), v.encode()) for n, v in kept], body)


def as_text(value: Any) -> str:
    """Return a text, number or boolean as a text; TypeError for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise TypeError(f"{type(value).__name__} where a text is needed")


def _grouped(
    pairs: Iterable[tuple[str, str]], identity: Callable[[str], str]
) -> dict[str, list[str]]:
    """Return all values by name, of names that are one the first."""
    spellings: dict[str, str] = {}
    groups: dict[str, list[str]] = {}
    for name, value in pairs:
        groups.setdefault(spellings.setdefault(identity(name), name), []).append(value)
    return groups
