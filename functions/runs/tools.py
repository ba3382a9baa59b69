"""What a run's tools do when they are called."""

from typing import Any

from functions.runs import credentials
from functions.runs.loop import Told
from functions.runs.models import ToolToRun
from mini_agent.settings import settings
from mini_agent.tenant import RunCaller

NO_ENDPOINT = "This tool is only described; it has no endpoint and cannot be called."


class Tools:
    """Calls the tools of one run, as its tenant."""

    def __init__(self, caller: RunCaller) -> None:
        self._caller = caller

    def __call__(self, tool: ToolToRun, arguments: dict[str, Any], seconds: float) -> Told:
        """Call a tool within so many seconds; whatever goes wrong is told, not raised."""
        if tool.endpoint is None:
            return Told(ok=False, content=NO_ENDPOINT)
        from functions.runs import calls  # noqa: PLC0415 - of use where tools are called alone

        endpoint = calls.Endpoint.model_validate(tool.endpoint)
        result = calls.call(
            endpoint,
            tool.parameters,
            arguments,
            credentials.secrets(self._caller, calls.secret_names(endpoint)),
            seconds=seconds,
            plain=settings().plain_http,
        )
        return Told(result.ok, result.content)
