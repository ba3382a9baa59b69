"""What comes into the agents room, and what goes out."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from mini_agent.fields import Description, Name
from mini_agent.page import PageQuery


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

    # Not Optional: null is refused, only absence means "as it is".
    name: Name = ""
    role: Name = ""
    description: Description = ""
    tool_ids: list[UUID] = Field(
        [], max_length=100, description="All tools that the agent has from now on"
    )


class AgentQuery(PageQuery):
    """Which agents to list."""

    name: Name | None = None
    role: Name | None = None
    tool_name: Name | None = None


class AgentTool(BaseModel):
    """A tool, as its agent shows it."""

    id: UUID
    name: str
    description: str
    created_at: datetime
    updated_at: datetime


class Agent(BaseModel):
    """An agent with its tools, oldest tool first."""

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
