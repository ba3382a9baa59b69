"""What a run's tools do when they are called."""

from typing import Any

from functions.runs.loop import Told
from functions.runs.models import ToolToRun

NO_ENDPOINT = "This tool is only described; it has no endpoint and cannot be called."


def call(tool: ToolToRun, arguments: dict[str, Any], seconds: float) -> Told:
    """Call a tool within so many seconds; whatever goes wrong is told, not raised."""
    del tool, arguments, seconds  # until tools have endpoints
    return Told(ok=False, content=NO_ENDPOINT)
