"""What comes into the history room, and what goes out."""

from datetime import date, datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from mini_agent.http.fields import Name, Time
from mini_agent.http.pagination import PageQuery

Status = Literal["queued", "running", "waiting_approval", "completed", "failed", "cancelled"]


class Filters(BaseModel):
    """Which executions are meant."""

    model_config = ConfigDict(extra="forbid")

    agent_id: UUID | None = None
    model: Name | None = None
    status: Status | None = None
    created_after: Time | None = None
    created_before: Time | None = None
    stop_reason: Name | None = None
    min_cost_usd: float | None = Field(
        None, ge=0, le=1_000_000, description="Runs that cost so much or more"
    )
    min_duration_ms: int | None = Field(
        None, ge=0, le=10**10, description="Runs that took so long or longer"
    )


class HistoryQuery(Filters, PageQuery):
    """Which executions to list."""


class ExportQuery(Filters):
    """Which executions to export."""

    limit: int = Field(100, ge=1, le=1000, description="Executions in a page, at most")
    cursor: str | None = Field(
        None, description="The `X-Next-Cursor` of the page before, with the same filters"
    )

    def part(self, limit: int, cursor: str | None) -> HistoryQuery:
        """Return the query of a list with the same filters."""
        filters = self.model_dump(include=set(Filters.model_fields))
        return HistoryQuery(limit=limit, cursor=cursor, **filters)


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
                    "stop_reason": "answered",
                    "input_tokens": 52,
                    "output_tokens": 40,
                    "cost_usd": 0.00053,
                    "steps": 1,
                    "duration_ms": 4,
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
    stop_reason: str | None = Field(description="Why it is over; null while it is not")
    input_tokens: int
    output_tokens: int
    cost_usd: float = Field(description="US dollars, by the list price of the model")
    steps: int
    duration_ms: int | None = Field(description="From the request to the end, waiting included")


class UsageQuery(BaseModel):
    """Which days to add up, each as a whole (UTC)."""

    model_config = ConfigDict(extra="forbid")

    created_after: Time | None = Field(None, description="By default 30 days ago")
    created_before: Time | None = Field(None, description="By default now")
    agent_id: UUID | None = None
    model: Name | None = None


class UsageOfDay(BaseModel):
    """What one agent's runs with one model used on one day (UTC)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "day": "2024-01-15",
                    "model": "gpt-4o",
                    "agent_id": "650e8400-e29b-41d4-a716-446655440000",
                    "agent_name": "Research Assistant",
                    "runs": 12,
                    "input_tokens": 624,
                    "output_tokens": 480,
                    "cost_usd": 0.00636,
                }
            ]
        }
    )

    day: date
    model: str
    agent_id: UUID
    agent_name: str
    runs: int
    input_tokens: int
    output_tokens: int
    cost_usd: float


class UsageReport(BaseModel):
    """Usage by day, model and agent: the newest day first, then the dearest first."""

    items: list[UsageOfDay]
