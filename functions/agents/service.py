"""The rules of agents."""

from typing import Any
from uuid import UUID

from functions.agents.models import Agent, AgentChange, AgentIn, AgentQuery, ForeignTool
from mini_agent.data import db
from mini_agent.errors import AgentNotFound, CrossTenantTool, DuplicateAgentName
from mini_agent.http import pagination
from mini_agent.identity.callers import Caller


def create(caller: Caller, agent: AgentIn) -> Agent:
    """Return the new agent; raises DuplicateAgentName, CrossTenantTool."""
    fields = agent.model_dump()
    [created] = _save(caller, fields, db.Query("agents/create", fields, Agent))
    return created


def get(caller: Caller, agent_id: UUID) -> Agent:
    """Return an agent; raises AgentNotFound."""
    return _one(db.read(caller, db.Query("agents/get", {"id": agent_id}, Agent)), agent_id)


def list_page(caller: Caller, query: AgentQuery) -> pagination.Page[Agent]:
    """Return a page of agents, oldest first."""
    return pagination.fetch(caller, "agents", query, Agent)


def update(caller: Caller, agent_id: UUID, change: AgentChange) -> Agent:
    """Return the agent as saved; raises AgentNotFound, DuplicateAgentName, CrossTenantTool."""
    unchanged = dict.fromkeys(AgentChange.model_fields)
    fields = {"id": agent_id} | unchanged | change.model_dump(exclude_unset=True)
    steps = ["agents/update", "agents/replace_tools", "agents/get"]
    return _one(_save(caller, fields, *(db.Query(step, fields, Agent) for step in steps)), agent_id)


def delete(caller: Caller, agent_id: UUID) -> None:
    """Delete an agent; its history stays. Raises AgentNotFound."""
    _one(db.write(caller, db.Query("agents/delete", {"id": agent_id}, Agent)), agent_id)


def _save(caller: Caller, fields: dict[str, Any], *steps: db.Query[Agent]) -> list[Agent]:
    try:
        return db.write(
            caller,
            *steps,
            refusals={
                "agents_name_unique": DuplicateAgentName(name=fields["name"]),
                "agent_tools_tool_known": CrossTenantTool(),
            },
        )
    except CrossTenantTool:
        asked = {"tool_ids": fields["tool_ids"]}
        foreign = db.read(caller, db.Query("agents/foreign_tools", asked, ForeignTool))
        raise CrossTenantTool(tool_ids=[tool.id for tool in foreign]) from None


def _one(found: list[Agent], agent_id: UUID) -> Agent:
    if not found:
        raise AgentNotFound(agent_id=agent_id)
    return found[0]
