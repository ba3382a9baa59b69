"""The rules of a run."""

from uuid import UUID

from functions.runs import adapter
from functions.runs.models import SUPPORTED_MODELS, AgentToRun, Recorded, Run, RunIn
from mini_agent import db
from mini_agent.errors import TenantIsolationViolation, UnsupportedModel
from mini_agent.telemetry import count
from mini_agent.tenant import Caller

NO_TOOLS = "This agent has no tools; it answered from the model alone"


def run(caller: Caller, agent_id: UUID, asked: RunIn) -> Run:
    """Ask an agent, record the execution, and return both.

    Raises UnsupportedModel, and TenantIsolationViolation for an agent that is not the tenant's. No
    transaction is open while the model thinks.
    """
    if asked.model not in SUPPORTED_MODELS:
        raise UnsupportedModel(model=asked.model, supported_models=SUPPORTED_MODELS)
    found = db.read(caller, db.Query("runs/agent", {"id": agent_id}, AgentToRun))
    if not found:
        raise TenantIsolationViolation(resource_type="agent", resource_id=agent_id)
    [agent] = found
    response = adapter.complete(agent, asked.prompt, asked.model)
    execution = asked.model_dump() | {
        "agent_id": agent.id,
        "agent_name": agent.name,
        "response": response,
        "status": "completed",
    }
    [recorded] = db.write(caller, db.Query("runs/record", execution, Recorded))
    count("RunsCompleted")
    return Run(
        execution_id=recorded.id,
        agent_id=agent.id,
        agent_name=agent.name,
        model=asked.model,
        prompt=asked.prompt,
        response=response,
        tools_available=agent.tool_names,
        warning=None if agent.tool_names else NO_TOOLS,
        executed_at=recorded.created_at,
    )
