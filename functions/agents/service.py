"""Creating, reading, changing and deleting a tenant's agents."""

from typing import Any
from uuid import UUID

from functions.agents.models import Agent, AgentCreate, AgentQuery, AgentUpdate, UnknownTool
from mini_agent.data import db
from mini_agent.errors import AgentNotFound, CrossTenantTool, DuplicateAgentName
from mini_agent.http import pagination
from mini_agent.identity.callers import Caller


def create(caller: Caller, agent: AgentCreate) -> Agent:
    """Return the new agent; raises DuplicateAgentName, CrossTenantTool."""
    fields = agent.model_dump()
    [created] = _save(caller, fields, db.Query("agents/create", fields, Agent))
    return created


def get(caller: Caller, agent_id: UUID) -> Agent:
    """Return an agent; raises AgentNotFound."""
    found = db.read(caller, db.Query("agents/get", {"id": agent_id}, Agent))
    return db.first(found, AgentNotFound(agent_id=agent_id))


def list_page(caller: Caller, query: AgentQuery) -> pagination.Page[Agent]:
    """Return a page of agents, oldest first."""
    return pagination.fetch(caller, "agents", query, Agent)


def update(caller: Caller, agent_id: UUID, agent: AgentUpdate) -> Agent:
    """Return the changed agent; raises AgentNotFound, DuplicateAgentName, CrossTenantTool."""
    unchanged = dict.fromkeys(AgentUpdate.model_fields)
    fields = {"id": agent_id} | unchanged | agent.model_dump(exclude_unset=True)
    names = ("agents/update", "agents/replace_tools", "agents/get")
    saved = _save(caller, fields, *(db.Query(name, fields, Agent) for name in names))
    return db.first(saved, AgentNotFound(agent_id=agent_id))


def delete(caller: Caller, agent_id: UUID) -> None:
    """Delete an agent, not its runs; raises AgentNotFound."""
    deleted = db.write(caller, db.Query("agents/delete", {"id": agent_id}, Agent))
    db.first(deleted, AgentNotFound(agent_id=agent_id))


def _save(caller: Caller, fields: dict[str, Any], *queries: db.Query[Agent]) -> list[Agent]:
    try:
        return db.write(
            caller,
            *queries,
            refusals={
                "agents_name_unique": DuplicateAgentName(name=fields["name"]),
                "agent_tools_tool_known": CrossTenantTool(),
            },
        )
    except CrossTenantTool:
        tool_ids = {"tool_ids": fields["tool_ids"]}
        foreign = db.read(caller, db.Query("agents/list_unknown_tools", tool_ids, UnknownTool))
        raise CrossTenantTool(tool_ids=[tool.id for tool in foreign]) from None
