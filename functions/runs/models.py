"""What comes into the runs room, and what goes out."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from mini_agent.fields import Name, Prompt

SUPPORTED_MODELS = ("gpt-4o", "gpt-4", "gpt-3.5-turbo", "claude-3-opus", "claude-3-sonnet")


class RunIn(BaseModel):
    """What to ask an agent, and which model it thinks with."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "prompt": "Find the latest trends in AI agent frameworks",
                    "model": "gpt-4o",
                }
            ]
        },
    )

    prompt: Prompt
    # Documented as an enum; checked by the service, whose error lists what is offered.
    model: Name = Field(json_schema_extra={"enum": list(SUPPORTED_MODELS)})


class Run(BaseModel):
    """A finished run."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "execution_id": "750e8400-e29b-41d4-a716-446655440000",
                    "agent_id": "650e8400-e29b-41d4-a716-446655440000",
                    "agent_name": "Research Assistant",
                    "model": "gpt-4o",
                    "prompt": "Find the latest trends in AI agent frameworks",
                    "response": "[Mock Response] Agent 'Research Assistant' (role: researcher) …",
                    "tools_available": ["web_search"],
                    "warning": None,
                    "executed_at": "2024-01-15T10:35:00.123456Z",
                }
            ]
        }
    )

    execution_id: UUID
    agent_id: UUID
    agent_name: str
    model: str
    prompt: str
    response: str
    tools_available: list[str]
    warning: str | None = Field(description="What the caller may not have meant; else null")
    executed_at: datetime


class AgentToRun(BaseModel):
    """An agent, as far as a run needs it."""

    id: UUID
    name: str
    role: str
    tool_names: list[str]


class Recorded(BaseModel):
    """What the database adds to an execution."""

    id: UUID
    created_at: datetime
