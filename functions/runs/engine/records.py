"""The rows that the run engine reads from Postgres."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel

from functions.runs.definitions import AgentDefinition, RunLimits
from mini_agent.executions import Execution, Status


class ClaimedRun(BaseModel):
    """A run and the attempt that works on it; 0 while it is queued for its first."""

    id: UUID
    agent_id: UUID
    agent_name: str
    model: str
    prompt: str
    definition: AgentDefinition
    limits: RunLimits
    background: bool
    attempt: int
    crashes: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    seconds_left: float


class NewRun(BaseModel):
    """A run that its caller asks for, and whether it is queued for a worker."""

    id: UUID
    agent_id: UUID
    model: str
    prompt: str
    limits: RunLimits
    is_queued: bool


class RunState(Execution):
    """A run's current state, with the agent as it was when the run was created."""

    background: bool
    definition: AgentDefinition


class Step(BaseModel):
    """A step in the journal."""

    number: int
    status: Literal["running", "waiting", "completed", "failed", "refused"]
    result: Any
    response: dict[str, Any] | None
    decision: Literal["approve", "reject"] | None
    comment: str | None
    expired: bool


class TenantBudgets(BaseModel):
    """A tenant's budgets (None for no budget), and the database's time when they were read."""

    tokens_per_day: int | None
    spend_per_month_usd: Decimal | None
    budgeted_since: datetime | None
    now: datetime

    @property
    def has_budget(self) -> bool:
        """Whether the tenant has a budget of either kind."""
        return self.budgeted_since is not None

    @property
    def version(self) -> str:
        """Changes when the tenant gets its first budget again after having had none."""
        return str(self.budgeted_since and self.budgeted_since.timestamp())


class TenantLimits(TenantBudgets):
    """A tenant's limits on runs; None for no limit."""

    runs_per_minute: int | None
    concurrent_runs: int | None


class RunAdmission(TenantLimits):
    """What `runs/create` found, and whether it created the run."""

    is_created: bool
    definition: AgentDefinition
    warning: str | None
    lease_until: datetime


class FinishedRun(BaseModel):
    """What `runs/end` wrote, and what the run used in all."""

    warning: str | None
    input_tokens: int
    output_tokens: int
    cost_usd: float
    steps: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime


class StartedStep(TenantBudgets):
    """A step whose call may go out, and the tenant's budgets at its start."""

    number: int
    lease_until: datetime


class FinishedStep(BaseModel):
    """When a step finished, and the status of its run then."""

    status: Status
    finished_at: datetime


class PendingCall(BaseModel):
    """A model call that has not finished, and the most that it may use."""

    step: str
    tokens: int
    usd: Decimal
    lease_until: datetime


class BudgetLedger(TenantBudgets):
    """What a tenant has used today and spent this month, and its calls that have not finished."""

    tokens: int
    usd: Decimal
    pending_calls: list[PendingCall]
