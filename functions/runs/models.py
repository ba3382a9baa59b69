"""What comes into the runs room, and what goes out."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from functions.runs.llm import catalogue
from mini_agent.executions import Status, StopReason
from mini_agent.http.fields import Name, Prompt

WAITED_SECONDS = 25
"""The longest that a run may take whose caller waits: API Gateway gives up after 29."""
BACKGROUND_SECONDS = 840
"""The longest that a run may work in the background: a function's 15 minutes, less its start."""


class Limits(BaseModel):
    """The caps of a run; whichever is reached first ends it."""

    max_steps: int = Field(20, ge=1, le=100, description="Model and tool calls")
    max_tokens: int = Field(100_000, ge=1, le=2_000_000, description="In and out, of all calls")
    max_cost_usd: Decimal = Field(
        Decimal(1), gt=0, le=100, max_digits=9, decimal_places=6, description="US dollars"
    )
    timeout_seconds: int = Field(
        default_factory=int,
        ge=1,
        le=BACKGROUND_SECONDS,
        description=(
            f"Work, not waiting for approval; by default {WAITED_SECONDS}, which is also the most"
            f" where the caller waits, and {BACKGROUND_SECONDS} in the background"
        ),
    )
    approval_seconds: int = Field(
        86_400, ge=60, le=604_800, description="How long a tool call waits for its approval"
    )


class RunIn(Limits):
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
    # Documented as an enum; checked by the service, whose error lists what is offered.
    model: Name = Field(json_schema_extra={"enum": list(catalogue.load())})

    def limits(self, *, background: bool) -> dict[str, Any]:
        """Return the caps, JSON throughout, with the time that this kind of run may take."""
        most = BACKGROUND_SECONDS if background else WAITED_SECONDS
        seconds = min(self.timeout_seconds or most, most)
        chosen = self.model_dump(mode="json", include=set(Limits.model_fields))
        return chosen | {"timeout_seconds": seconds}


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
    """A run that goes on in the background; `GET /api/v1/executions/{id}` tells how far it is."""

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


class ModelOffered(BaseModel):
    """A model that agents can think with; prices are the provider's list prices."""

    name: str
    provider: str
    context_tokens: int
    input_usd_per_million: float
    output_usd_per_million: float


class ModelList(BaseModel):
    """All models on offer."""

    items: list[ModelOffered]


class AgentToRun(BaseModel):
    """An agent with its tools, as a run keeps them."""

    id: UUID
    name: str
    role: str
    description: str
    tools: list["ToolToRun"]


class ToolToRun(BaseModel):
    """A tool, as a run needs it."""

    id: UUID
    name: str
    description: str
    parameters: dict[str, Any] | None = None
    endpoint: dict[str, Any] | None = None
    idempotent: bool = False
    requires_approval: bool = False


class ClaimedRun(BaseModel):
    """A run, taken by an attempt."""

    id: UUID
    agent_id: UUID
    agent_name: str
    model: str
    prompt: str
    definition: AgentToRun
    limits: Limits
    background: bool
    attempt: int
    crashes: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    steps: int
    seconds_left: float


class Step(BaseModel):
    """A step, as it was written down."""

    number: int
    kind: Literal["model", "tool", "approval"]
    status: Literal["running", "waiting", "completed", "failed", "refused"]
    attempt: int
    tool: str | None
    arguments: Any
    result: Any
    response: dict[str, Any] | None
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    callback: str | None
    decision: Literal["approve", "reject"] | None
    comment: str | None
    expires_at: datetime | None
    expired: bool


class Execution(BaseModel):
    """A run, as its caller is told of it."""

    id: UUID
    agent_id: UUID
    agent_name: str
    model: str
    prompt: str
    response: str | None
    status: Status
    stop_reason: str | None
    warning: str | None
    background: bool
    definition: AgentToRun
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    steps: int
    created_at: datetime
    finished_at: datetime | None


class EncryptedSecret(BaseModel):
    """A secret of the tenant, sealed."""

    name: str
    sealed: bytes


class StepNumber(BaseModel):
    """The step that a statement touched."""

    number: int


class RunStatus(BaseModel):
    """The status that a statement left a run in."""

    status: Status


class FinishedStep(RunStatus):
    """A run's status after one of its steps was done, and when that was."""

    finished_at: datetime


class TenantBudgets(BaseModel):
    """A tenant's budgets, None for none, at the database's time."""

    tokens_per_day: int | None
    spend_per_month_usd: Decimal | None
    budgeted_since: datetime | None
    now: datetime

    @property
    def are_there(self) -> bool:
        """Whether there is any."""
        return self.budgeted_since is not None

    @property
    def version(self) -> str:
        """Differs from that of budgets which the tenant had before it had none for a while."""
        return str(self.budgeted_since and self.budgeted_since.timestamp())


class TenantLimits(TenantBudgets):
    """What a tenant may have of runs, None for no limit."""

    runs_per_minute: int | None
    concurrent_runs: int | None


class StartedStep(TenantBudgets):
    """A step that is written down and may go out."""

    number: int
    lease_until: datetime


class PendingCall(BaseModel):
    """A model call that is not finished, and the most that it may use."""

    step: str
    tokens: int
    usd: Decimal
    lease_until: datetime


class BudgetLedger(TenantBudgets):
    """What a tenant has used today and spent this month, and what is under way."""

    tokens: int
    usd: Decimal
    under_way: list[PendingCall]


class BudgetRefusal(BaseModel):
    """The result of a step that a budget refused."""

    result: dict[str, Any]


class RunSlot(BaseModel):
    """That there is room for a run."""

    made: bool
