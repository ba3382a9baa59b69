"""The bodies, query parameters and rows of the agents room."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from mini_agent.http.fields import Description, Name
from mini_agent.http.pagination import PageQuery


class AgentCreate(BaseModel):
    """The body that creates an agent."""

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
        [], max_length=100, description="Tools of this tenant; duplicates are ignored"
    )


class AgentUpdate(BaseModel):
    """The body that changes an agent; absent fields keep their values."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"role": "senior researcher"}]}
    )

    # A factory, since the document would show a default. null is refused.
    name: Name = Field(default_factory=str)
    role: Name = Field(default_factory=str)
    description: Description = Field(default_factory=str)
    tool_ids: list[UUID] = Field(
        default_factory=list,
        max_length=100,
        description="Replaces all of the agent's tools",
    )


class AgentQuery(PageQuery):
    """The query parameters of the list of agents."""

    name: Name | None = None
    role: Name | None = None
    tool_name: Name | None = None


class AgentTool(BaseModel):
    """A tool of an agent, with the fields that the tools room answers with."""

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


class UnknownTool(BaseModel):
    """An id of no tool that this tenant has."""

    id: UUID
