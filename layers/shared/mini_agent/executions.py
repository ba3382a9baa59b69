"""A run as every room reads it, one row of `app.executions`, with its statuses and stop reasons.

Both are declared once: README lists them and the OpenAPI document names them; a test holds both
equal to this file.
"""

from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

FinishedStatus = Literal["completed", "failed", "cancelled"]
Status = Literal["queued", "running", "waiting_approval", FinishedStatus]
FINISHED_STATUSES: frozenset[str] = frozenset(get_args(FinishedStatus))

ProviderStopReason = Literal[
    "rate_limited", "provider_unavailable", "credentials_refused", "bad_answer", "request_refused"
]
"""The model's provider did not answer: the caller is told so with a 502."""
StopReason = Literal[
    "answered",
    "refusal",
    "max_steps",
    "max_tokens",
    "max_cost",
    "timeout",
    "output_too_large",
    ProviderStopReason,
    "approval_expired",
    "cancelled",
    "interrupted",
    "crashed",
    "budget_exceeded",
    "budget_unavailable",
]
PROVIDER_STOP_REASONS: frozenset[str] = frozenset(get_args(ProviderStopReason))


class Execution(BaseModel):
    """The current state of a run."""

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
                    "stop_reason": "answered",
                    "warning": None,
                    "input_tokens": 52,
                    "output_tokens": 40,
                    "cost_usd": 0.00053,
                    "steps": 1,
                    "created_at": "2024-01-15T10:35:00.123456Z",
                    "started_at": "2024-01-15T10:35:00.123456Z",
                    "finished_at": "2024-01-15T10:35:00.127456Z",
                    "duration_ms": 4,
                }
            ]
        }
    )

    id: UUID
    agent_id: UUID
    agent_name: str = Field(description="The agent's name when the run began")
    model: str
    prompt: str
    response: str | None = Field(description="null until the model has answered")
    status: Status
    stop_reason: str | None = Field(
        description="Why the run ended; null until it has",
        json_schema_extra={"x-extensible-enum": [*get_args(StopReason)]},
    )
    warning: str | None = Field(description="What the caller may not have meant; else null")
    input_tokens: int
    output_tokens: int
    cost_usd: float = Field(description="US dollars, by the model's list price")
    steps: int = Field(description="Steps so far")
    created_at: datetime
    started_at: datetime | None = Field(description="null while the run is queued")
    finished_at: datetime | None = Field(description="null until the run is over")
    duration_ms: int | None = Field(
        description="From `created_at` to `finished_at`, waiting included"
    )
