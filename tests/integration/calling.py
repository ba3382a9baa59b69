"""HTTP calls of tools, and what goes out of them."""

from typing import Any

from functions.runs.definitions import ToolResult
from functions.runs.tools import egress, http_tool
from functions.runs.tools.egress import Reply
from tests.integration.web import Seen, Web


def get(url: str, **options: Any) -> Reply:
    defaults: dict[str, Any] = {"headers": {}, "body": None, "seconds": 5.0}
    return egress.fetch("GET", url, **defaults | options)


def call(
    url: str,
    arguments: dict[str, Any] | None = None,
    *,
    method: str = "GET",
    parameters: dict[str, Any] | None = None,
    secrets: dict[str, str] | None = None,
    seconds: float = 5.0,
    plain: bool = True,
    **fields: Any,
) -> ToolResult:
    endpoint = http_tool.Endpoint.model_validate({"method": method, "url": url, **fields})
    return http_tool.call(
        endpoint, parameters, arguments or {}, secrets or {}, seconds=seconds, plain=plain
    )


def only(web: Web) -> Seen:
    [seen] = web.seen
    return seen


def not_called(result: ToolResult, web: Web, why: str) -> None:
    assert not result.ok
    assert result.content.startswith("The tool was not called. ")
    assert why in result.content
    assert web.seen == []
