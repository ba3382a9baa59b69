"""What comes into the tools room, and what goes out."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from mini_agent.fields import Description, Name
from mini_agent.page import PageQuery


class ToolIn(BaseModel):
    """A tool to be made."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "web_search",
                    "description": "Search the web for real-time information",
                }
            ]
        },
    )

    name: Name
    description: Description


class ToolChange(BaseModel):
    """What to change; fields left out stay as they are."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"description": "Search the web, news included"}]},
    )

    # Not Optional: null is refused, only absence means "as it is" (a factory shows no default).
    name: Name = Field(default_factory=str)
    description: Description = Field(default_factory=str)


class ToolQuery(PageQuery):
    """Which tools to list."""

    name: Name | None = None
    agent_name: Name | None = None


class Tool(BaseModel):
    """A tool."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "550e8400-e29b-41d4-a716-446655440000",
                    "name": "web_search",
                    "description": "Search the web for real-time information",
                    "created_at": "2024-01-15T10:30:00.123456Z",
                    "updated_at": "2024-01-15T10:30:00.123456Z",
                }
            ]
        }
    )

    id: UUID
    name: str
    description: str
    created_at: datetime
    updated_at: datetime


class AgentName(BaseModel):
    """An agent, as far as a refusal to delete its tool names it."""

    id: UUID
    name: str
