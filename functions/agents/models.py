"""What comes into the agents room, and what goes out."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from mini_agent.http.fields import Description, Name
from mini_agent.http.pagination import PageQuery


class AgentIn(BaseModel):
    """An agent to be made."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "Research Assistant",
                    "role": "researcher",
                    "description": "An AI agent specialized in research tasks",
                    "tool_ids": [],
                }
            ]
        },
    )

    name: Name
    role: Name
    description: Description
    tool_ids: list[UUID] = Field(
        [], max_length=100, description="Tools of this tenant; one given twice counts once"
    )


class AgentChange(BaseModel):
    """What to change; fields left out stay as they are."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"role": "senior researcher"}]}
    )

    # Not Optional: null is refused, only absence means "as it is" (a factory shows no default).
    name: Name = Field(default_factory=str)
    role: Name = Field(default_factory=str)
    description: Description = Field(default_factory=str)
    tool_ids: list[UUID] = Field(
        default_factory=list,
        max_length=100,
        description="All tools that the agent has from now on",
    )


class AgentQuery(PageQuery):
    """Which agents to list."""

    name: Name | None = None
    role: Name | None = None
    tool_name: Name | None = None


class AgentTool(BaseModel):
    """A tool, as its agent shows it: as the tools room does."""

    id: UUID
    name: str
    description: str
    parameters: dict[str, Any] | None
    endpoint: dict[str, Any] | None
    idempotent: bool
    requires_approval: bool
    created_at: datetime
    updated_at: datetime


class Agent(BaseModel):
    """An agent with its tools, oldest tool first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "650e8400-e29b-41d4-a716-446655440000",
                    "name": "Research Assistant",
                    "role": "researcher",
                    "description": "An AI agent specialized in research tasks",
                    "tools": [
                        {
                            "id": "550e8400-e29b-41d4-a716-446655440000",
                            "name": "web_search",
                            "description": "Search the web for real-time information",
                            "parameters": None,
                            "endpoint": None,
                            "idempotent": False,
                            "requires_approval": False,
                            "created_at": "2024-01-15T10:30:00.123456Z",
                            "updated_at": "2024-01-15T10:30:00.123456Z",
                        }
                    ],
                    "created_at": "2024-01-15T10:32:00.123456Z",
                    "updated_at": "2024-01-15T10:32:00.123456Z",
                }
            ]
        }
    )

    id: UUID
    name: str
    role: str
    description: str
    tools: list[AgentTool]
    created_at: datetime
    updated_at: datetime


class ForeignTool(BaseModel):
    """An id that is no tool of this tenant."""

    id: UUID
