"""API Gateway events as Lambda gets them, and responses as a client sees them."""

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

from aws_lambda_powertools.utilities.typing import LambdaContext

from mini_agent.identity.callers import Caller

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]
_numbers = itertools.count(1)


class Context(LambdaContext):
    """The Lambda context."""

    _function_name = "test"
    _function_version = "$LATEST"
    _invoked_function_arn = "arn:aws:lambda:eu-west-1:000000000000:function:test"
    _memory_limit_in_mb = 512
    _aws_request_id = "00000000-0000-0000-0000-000000000000"
    _log_group_name = "/aws/lambda/test"
    _log_stream_name = "test"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 10_000


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; `json` is None for an empty body."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text) if self.text else None

    @property
    def error_code(self) -> str:
        return str(self.json["error_code"])


def event(
    method: str,
    path: str,
    body: object = None,
    caller: Caller | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return a proxy event; a `body` that is no str is sent as JSON; `path` may have a query."""
    path, _, query = path.partition("?")
    parameters: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        parameters.setdefault(name, []).append(value)
    sent = {"Content-Type": "application/json"} if body is not None else {}
    sent |= headers or {}
    return {
        "resource": path,
        "path": path,
        "httpMethod": method,
        "headers": sent,
        "multiValueHeaders": {name: [value] for name, value in sent.items()},
        "queryStringParameters": {name: values[-1] for name, values in parameters.items()} or None,
        "multiValueQueryStringParameters": parameters or None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "test",
            "stage": "live",
            "httpMethod": method,
            "path": f"/live{path}",
            "resourcePath": path,
            "requestId": f"request-{next(_numbers)}",
            "identity": {"sourceIp": "192.0.2.1", "userAgent": "test"},
            "authorizer": caller.context() if caller else None,
        },
        "body": body if body is None or isinstance(body, str) else json.dumps(body),
        "isBase64Encoded": False,
    }


def invoke(
    handler: Handler,
    method: str,
    path: str,
    body: object = None,
    caller: Caller | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Call a handler as API Gateway would and return its response."""
    answer = handler(event(method, path, body, caller, headers), Context())
    together = {name: ", ".join(v) for name, v in (answer.get("multiValueHeaders") or {}).items()}
    sent = {**together, **(answer.get("headers") or {})}
    return Answer(
        answer["statusCode"], {name.lower(): value for name, value in sent.items()}, answer["body"]
    )


def uuid(number: int) -> UUID:
    """Return an id that no row has by chance."""
    return UUID(int=number)
