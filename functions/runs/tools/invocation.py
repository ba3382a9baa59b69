"""What happens when a run calls a tool of its agent."""

from typing import Any

from functions.runs import tenant_secrets
from functions.runs.definitions import ToolDefinition, ToolResult
from functions.runs.tools import http_tool
from mini_agent.data.encryption import DecryptionError
from mini_agent.errors import ServiceUnavailable
from mini_agent.identity.callers import RunCaller
from mini_agent.settings import settings

NO_ENDPOINT = "This tool is only described; it has no endpoint and cannot be called."
NO_SECRETS = "The tool was not called. The secrets that it needs cannot be read now."


def call(
    caller: RunCaller, tool: ToolDefinition, arguments: dict[str, Any], seconds: float
) -> ToolResult:
    """Call a tool within so many seconds; a failure is a result, not an exception."""
    if tool.endpoint is None:
        return ToolResult(ok=False, content=NO_ENDPOINT)
    endpoint = http_tool.Endpoint.model_validate(tool.endpoint)
    try:
        secrets = tenant_secrets.load(caller, http_tool.secrets_named(endpoint))
    except (DecryptionError, ServiceUnavailable):
        return ToolResult(ok=False, content=NO_SECRETS)
    return http_tool.call(
        endpoint,
        tool.parameters,
        arguments,
        secrets,
        seconds=seconds,
        plain=settings().plain_http,
    )
