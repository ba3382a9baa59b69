"""The rows, query parameters and bodies of the executions room, apart from the run itself."""

import json
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from mini_agent.executions import Execution, Status
from mini_agent.http.fields import Name, Time
from mini_agent.http.pagination import PageQuery

Kind = Literal["model", "tool", "approval"]
StepStatus = Literal["running", "waiting", "completed", "failed", "refused", "interrupted"]
Decision = Literal["approve", "reject"]


class Step(BaseModel):
    """A step of a run: a model call, a tool call, or the wait for an approval."""

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

    number: int = Field(description="Its place in the run, from 1")
    kind: Kind
    status: StepStatus
    tool: str | None = Field(description="The tool's name; null for a model call")
    arguments: Any = Field(description="What the model asks the tool to do")
    result: Any = Field(description="What the model or the tool returned")
    input_tokens: int
    output_tokens: int
    cost_usd: float = Field(description="US dollars, by the model's list price")
    decision: Decision | None = Field(description="Of an approval; null until it is decided")
    comment: str | None
    expires_at: datetime | None = Field(description="When an approval can no longer be given")
    started_at: datetime
    finished_at: datetime | None
    duration_ms: int | None


class StepList(BaseModel):
    """The steps of a run, in order."""

    items: list[Step]


class ApprovalDecision(BaseModel):
    """A person's decision about a tool call that waits for approval."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"decision": "approve", "comment": "Go ahead"}]},
    )

    decision: Decision
    comment: Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00]*$")] = ""


class Approval(BaseModel):
    """An approval that has been decided."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "execution_id": "750e8400-e29b-41d4-a716-446655440000",
                    "step": 2,
                    "decision": "approve",
                }
            ]
        }
    )

    execution_id: UUID
    step: int
    decision: Decision


class WaitingRun(BaseModel):
    """The callback of a run that waits in the background, if one does."""

    callback: str | None


class DecidedApproval(WaitingRun):
    """An approval's decision, and the callback of the run that waits for it."""

    decision: Decision | None


class StepStarted(BaseModel):
    """A step that has started."""

    number: int = Field(description="Its place in the run, from 1")
    kind: Kind
    tool: str | None = Field(description="The tool's name; null for a model call")
    arguments: Any = Field(description="What the model asks the tool to do")
    expires_at: datetime | None = Field(description="When an approval ceases to wait")


class StepFinished(BaseModel):
    """A step that has finished."""

    number: int = Field(description="Its place in the run, from 1")
    kind: Kind
    tool: str | None = Field(description="The tool's name; null for a model call")
    status: StepStatus
    result: Any = Field(description="What the model or the tool returned")


class Event(BaseModel):
    """A server-sent event; `data` is one line of JSON in the stream."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    id: int = Field(description="Send the last one seen as `Last-Event-ID` to continue after it")
    event: str
    data: BaseModel

    def encode(self) -> str:
        """Return it as text/event-stream; ASCII, since some clients end a line at U+2028 too."""
        data = json.dumps(self.data.model_dump(mode="json"))
        return f"id: {self.id}\nevent: {self.event}\ndata: {data}\n\n"


class StepStartedEvent(Event):
    """A step has started."""

    event: Literal["step_started"] = Field("step_started")
    data: StepStarted


class StepFinishedEvent(Event):
    """A step has finished."""

    event: Literal["step_finished"] = Field("step_finished")
    data: StepFinished


class RunFinishedEvent(Event):
    """The run has ended; no other event follows."""

    event: Literal["run_finished"] = Field("run_finished")
    data: Execution


RunEvent = StepStartedEvent | StepFinishedEvent | RunFinishedEvent


class HistoryFilters(BaseModel):
    """The filters that the history and its export share."""

    model_config = ConfigDict(extra="forbid")

    agent_id: UUID | None = None
    model: Name | None = None
    status: Status | None = None
    created_after: Time | None = None
    created_before: Time | None = None
    stop_reason: Name | None = None
    min_cost_usd: float | None = Field(
        None, ge=0, le=1_000_000, description="Runs that cost this much or more"
    )
    min_duration_ms: int | None = Field(
        None, ge=0, le=10**10, description="Runs that took this long or longer"
    )


class HistoryQuery(HistoryFilters, PageQuery):
    """The query parameters of the history."""


class ExportQuery(HistoryFilters):
    """The query parameters of an export."""

    limit: int = Field(100, ge=1, le=1000, description="The most executions in a page")
    cursor: str | None = Field(
        None, description="The `X-Next-Cursor` of the page before, with the same filters"
    )

    def history_query(self, limit: int, cursor: str | None) -> HistoryQuery:
        """Return the query of one page of the history with the same filters."""
        filters = self.model_dump(include=set(HistoryFilters.model_fields))
        return HistoryQuery(limit=limit, cursor=cursor, **filters)


class UsageQuery(BaseModel):
    """The query parameters of the usage report; days count whole, in UTC."""

    model_config = ConfigDict(extra="forbid")

    created_after: Time | None = Field(None, description="By default 30 days ago")
    created_before: Time | None = Field(None, description="By default now")
    agent_id: UUID | None = None
    model: Name | None = None


class DailyUsage(BaseModel):
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
    """Usage by day, model and agent: the newest day first, the highest cost first within a day."""

    items: list[DailyUsage]
