"""What comes into the executions room, and what goes out."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Status = Literal["queued", "running", "waiting_approval", "completed", "failed", "cancelled"]


class Execution(BaseModel):
    """A run, as far as it is."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "750e8400-e29b-41d4-a716-446655440000",
                    "agent_id": "650e8400-e29b-41d4-a716-446655440000",
                    "agent_name": "Research Assistant",
                    "model": "gpt-4o",
                    "prompt": "Find the latest trends in AI agent frameworks",
                    "response": None,
                    "status": "running",
                    "stop_reason": None,
                    "warning": None,
                    "input_tokens": 52,
                    "output_tokens": 40,
                    "cost_usd": 0.00053,
                    "steps": 2,
                    "created_at": "2024-01-15T10:35:00.123456Z",
                    "started_at": "2024-01-15T10:35:00.223456Z",
                    "finished_at": None,
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
    stop_reason: str | None = Field(description="Why it is over; null while it is not")
    warning: str | None
    input_tokens: int
    output_tokens: int
    cost_usd: float = Field(description="US dollars, by the list price of the model")
    steps: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Step(BaseModel):
    """What a run did: it asked its model, called a tool, or waited for an approval."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "number": 2,
                    "kind": "tool",
                    "status": "completed",
                    "tool": "web_search",
                    "arguments": {"query": "agent frameworks"},
                    "result": {"content": "…"},
                    "input_tokens": 0,
                    "output_tokens": 0,
                    "cost_usd": 0,
                    "decision": None,
                    "comment": None,
                    "expires_at": None,
                    "started_at": "2024-01-15T10:35:01.123456Z",
                    "finished_at": "2024-01-15T10:35:02.123456Z",
                    "duration_ms": 1000,
                }
            ]
        }
    )

    number: int
    kind: Literal["model", "tool", "approval"]
    status: Literal["running", "waiting", "completed", "failed", "refused", "interrupted"]
    tool: str | None
    arguments: Any
    result: Any
    input_tokens: int
    output_tokens: int
    cost_usd: float
    decision: Literal["approve", "reject"] | None
    comment: str | None
    expires_at: datetime | None = Field(description="Until when an approval waits")
    started_at: datetime
    finished_at: datetime | None
    duration_ms: int | None


class StepList(BaseModel):
    """The steps of a run, in order."""

    items: list[Step]


class ApprovalIn(BaseModel):
    """What a person decides about a tool call that waits."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"decision": "approve", "comment": "Go ahead"}]},
    )

    decision: Literal["approve", "reject"]
    comment: Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00]*$")] = ""


class Approval(BaseModel):
    """A decision, as it stands."""

    execution_id: UUID
    step: int
    decision: Literal["approve", "reject"]


class Decided(BaseModel):
    """An approval's state, and who waits for it."""

    decision: Literal["approve", "reject"] | None
    callback: str | None


class Cancelled(BaseModel):
    """A run that was cancelled, and who waits for it."""

    id: UUID
    callback: str | None
