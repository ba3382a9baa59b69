"""What comes into the history room, and what goes out."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict

from mini_agent.fields import Name
from mini_agent.page import PageQuery


def _written_out(value: object) -> object:
    """Refuse a bare number, which pydantic would take for seconds since 1970."""
    if isinstance(value, str) and not value[:5].endswith("-"):
        raise ValueError("must be a time such as 2024-01-15T10:30:00Z")
    return value


Time = Annotated[AwareDatetime, BeforeValidator(_written_out)]
Status = Literal["completed", "failed"]


class HistoryQuery(PageQuery):
    """Which executions to list."""

    agent_id: UUID | None = None
    model: Name | None = None
    status: Status | None = None
    created_after: Time | None = None
    created_before: Time | None = None


class Execution(BaseModel):
    """A run, as it was."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "750e8400-e29b-41d4-a716-446655440000",
                    "agent_id": "650e8400-e29b-41d4-a716-446655440000",
                    "agent_name": "Research Assistant",
                    "model": "gpt-4o",
                    "prompt": "Find the latest trends in AI agent frameworks",
                    "response": "[Mock Response] Agent 'Research Assistant' (role: researcher) …",
                    "status": "completed",
                    "created_at": "2024-01-15T10:35:00.123456Z",
                }
            ]
        }
    )

    id: UUID
    agent_id: UUID
    agent_name: str
    model: str
    prompt: str
    response: str | None
    status: Status
    created_at: datetime
