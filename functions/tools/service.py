"""Creating, reading, changing and deleting a tenant's tools."""

from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from functions.tools.models import DependentAgent, Tool, ToolCreate, ToolQuery, ToolUpdate
from mini_agent.data import db
from mini_agent.errors import DuplicateToolName, ToolInUse, ToolNotFound
from mini_agent.http import pagination
from mini_agent.identity.callers import Caller


def create(caller: Caller, tool: ToolCreate) -> Tool:
    """Return the new tool; raises DuplicateToolName."""
    [created] = db.write(
        caller,
        db.Query("tools/create", _columns(tool.model_dump()), Tool),
        refusals={"tools_name_unique": DuplicateToolName(name=tool.name)},
    )
    return created


def get(caller: Caller, tool_id: UUID) -> Tool:
    """Return a tool; raises ToolNotFound."""
    found = db.read(caller, db.Query("tools/get", {"id": tool_id}, Tool))
    return db.first(found, ToolNotFound(tool_id=tool_id))


def list_page(caller: Caller, query: ToolQuery) -> pagination.Page[Tool]:
    """Return a page of tools, oldest first."""
    return pagination.fetch(caller, "tools", query, Tool)


def update(caller: Caller, tool_id: UUID, tool: ToolUpdate) -> Tool:
    """Return the changed tool; raises ToolNotFound, DuplicateToolName."""
    sent = tool.model_fields_set
    fields = dict.fromkeys(ToolUpdate.model_fields) | _columns(tool.model_dump(include=sent))
    fields |= {f"new_{name}": name in sent for name in ("parameters", "endpoint")}
    changed = db.write(
        caller,
        db.Query("tools/update", {"id": tool_id} | fields, Tool),
        refusals={"tools_name_unique": DuplicateToolName(name=fields["name"])},
    )
    return db.first(changed, ToolNotFound(tool_id=tool_id))


def delete(caller: Caller, tool_id: UUID) -> None:
    """Delete a tool; raises ToolNotFound, or ToolInUse with the agents that use it."""
    try:
        deleted = db.write(
            caller,
            db.Query("tools/delete", {"id": tool_id}, Tool),
            refusals={"agent_tools_tool_known": ToolInUse()},
        )
    except ToolInUse:
        dependents = db.read(caller, db.Query("tools/list_agents", {"id": tool_id}, DependentAgent))
        raise ToolInUse(dependent_agents=[agent.model_dump() for agent in dependents]) from None
    db.first(deleted, ToolNotFound(tool_id=tool_id))


def _columns(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: Jsonb(v) if isinstance(v, dict) else v for name, v in fields.items()}
