"""What a run's tools do when they are called."""

from typing import Any

from functions.runs import calls, credentials
from functions.runs.loop import Told
from functions.runs.models import ToolToRun
from mini_agent.errors import ServiceUnavailable
from mini_agent.sealing import NotSealedForThis
from mini_agent.settings import settings
from mini_agent.tenant import RunCaller

NO_ENDPOINT = "This tool is only described; it has no endpoint and cannot be called."
NO_SECRETS = "The tool was not called. The secrets that it needs cannot be read now."


def call(caller: RunCaller, tool: ToolToRun, arguments: dict[str, Any], seconds: float) -> Told:
    """Call a tool within so many seconds; whatever goes wrong is told, not raised."""
    if tool.endpoint is None:
        return Told(ok=False, content=NO_ENDPOINT)
    endpoint = calls.Endpoint.model_validate(tool.endpoint)
    try:
        secrets = credentials.secrets(caller, calls.secrets_named(endpoint))
    except (NotSealedForThis, ServiceUnavailable):
        return Told(ok=False, content=NO_SECRETS)
    return calls.call(
        endpoint,
        tool.parameters,
        arguments,
        secrets,
        seconds=seconds,
        plain=settings().plain_http,
    )
