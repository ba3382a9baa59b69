"""Requests and responses of the runs room."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from functions.runs import definitions
from functions.runs.definitions import RunLimits
from functions.runs.llm import catalogue
from mini_agent.executions import Status, StopReason
from mini_agent.http.fields import Name, Prompt


class RunCreate(RunLimits):
    """What to ask an agent, which model it thinks with, and how far it may go."""

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
    # Checked by the service, whose error lists the models on offer.
    model: Name = Field(json_schema_extra={"x-extensible-enum": list(catalogue.load())})

    def limits(self, *, background: bool) -> RunLimits:
        """Return the caps, with the time that a run of this kind may take."""
        longest = definitions.MAX_BACKGROUND_SECONDS if background else definitions.MAX_SYNC_SECONDS
        seconds = min(self.timeout_seconds or longest, longest)
        caps = self.model_dump(include=set(RunLimits.model_fields))
        return RunLimits(**caps | {"timeout_seconds": seconds})


class Usage(BaseModel):
    """What a run used, over all its steps."""

    input_tokens: int
    output_tokens: int
    cost_usd: float
    steps: int


class Run(BaseModel):
    """A run that is over."""

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
                    "status": "completed",
                    "stop_reason": "answered",
                    "usage": {
                        "input_tokens": 52,
                        "output_tokens": 40,
                        "cost_usd": 0.00053,
                        "steps": 1,
                    },
                }
            ]
        }
    )

    execution_id: UUID
    agent_id: UUID
    agent_name: str
    model: str
    prompt: str
    response: str | None = Field(description="null where a cap ended the run before an answer")
    tools_available: list[str]
    warning: str | None = Field(description="What the caller may not have meant; else null")
    executed_at: datetime
    status: Status
    stop_reason: StopReason | None
    usage: Usage


class QueuedRun(BaseModel):
    """A run that continues in the background; `GET /api/v1/executions/{id}` returns its state."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "execution_id": "750e8400-e29b-41d4-a716-446655440000",
                    "agent_id": "650e8400-e29b-41d4-a716-446655440000",
                    "agent_name": "Research Assistant",
                    "model": "gpt-4o",
                    "status": "queued",
                    "warning": None,
                }
            ]
        }
    )

    execution_id: UUID
    agent_id: UUID
    agent_name: str
    model: str
    status: Literal["queued"] = "queued"
    warning: str | None


class ModelOffer(BaseModel):
    """A model that agents can think with; prices are the provider's list prices."""

    name: str
    provider: str
    context_tokens: int
    input_usd_per_million: float
    output_usd_per_million: float


class ModelList(BaseModel):
    """All models on offer."""

    items: list[ModelOffer]
