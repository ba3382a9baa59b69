"""Tool, agent, run, history and export with the generated client; mypy checks each field."""

import json
import sys
from typing import TypeVar

from mini_agent_platform_client import AuthenticatedClient
from mini_agent_platform_client.api.agents import create_agent
from mini_agent_platform_client.api.history import export_executions, list_executions
from mini_agent_platform_client.api.runs import follow_run, run_agent
from mini_agent_platform_client.api.tools import create_tool, get_tool
from mini_agent_platform_client.models.agent import Agent
from mini_agent_platform_client.models.agent_create import AgentCreate
from mini_agent_platform_client.models.error_body import ErrorBody
from mini_agent_platform_client.models.execution import Execution
from mini_agent_platform_client.models.execution_page import ExecutionPage
from mini_agent_platform_client.models.run import Run
from mini_agent_platform_client.models.run_create import RunCreate
from mini_agent_platform_client.models.run_finished_event import RunFinishedEvent
from mini_agent_platform_client.models.tool import Tool
from mini_agent_platform_client.models.tool_create import ToolCreate

Model = TypeVar("Model")


def of(kind: type[Model], result: object) -> Model:
    """Return a result of this type; raises TypeError for any other, such as an error."""
    if not isinstance(result, kind):
        raise TypeError(f"not a {kind.__name__}: {result}")
    return result


def main(url: str, key: str) -> None:
    """Go through the workflow and print what was seen as JSON."""
    client = AuthenticatedClient(url, key, prefix="", auth_header_name="X-API-KEY")
    new_tool = ToolCreate(name="python_search", description="Search the web")
    tool = of(Tool, create_tool.sync(client=client, body=new_tool))
    new_agent = AgentCreate(
        name="Python agent",
        role="researcher",
        description="Runs from a generated client",
        tool_ids=[tool.id],
    )
    agent = of(Agent, create_agent.sync(client=client, body=new_agent))
    asked = RunCreate(prompt="What is new?", model="gpt-4o")
    run = of(Run, run_agent.sync(agent.id, client=client, body=asked))
    found = list_executions.sync(client=client, agent_id=agent.id, include_total=True)
    page = of(ExecutionPage, found)
    execution = page.items[0]
    stream = of(str, follow_run.sync(run.execution_id, client=client))
    names, data = (
        [line.removeprefix(f"{field}: ") for line in stream.splitlines() if line.startswith(field)]
        for field in ("event", "data")
    )
    last = {"id": 3, "event": names[-1], "data": json.loads(data[-1])}
    finished = RunFinishedEvent.from_dict(last)
    lines = of(str, export_executions.sync(client=client, agent_id=agent.id))
    exported = Execution.from_dict(json.loads(lines))
    refused = of(ErrorBody, get_tool.sync(agent.id, client=client))
    seen = {
        "tools": [each.name for each in agent.tools],
        "total": page.total,
        "steps": execution.steps,
        "stop_reason": execution.stop_reason,
        "same": {run.execution_id} == {execution.id, exported.id, finished.data.id},
        "error": refused.error_code,
    }
    print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
