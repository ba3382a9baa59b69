"""An agent and its tools as a run keeps them, its limits, and what a tool call returns.

A run works with the definitions of the moment it was created in, whatever becomes of the agent.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

MAX_SYNC_SECONDS = 25
"""The longest run that a caller waits for: API Gateway gives up after 29 seconds."""
MAX_BACKGROUND_SECONDS = 840
"""The longest work in the background: a function's 15 minutes, less its start."""


class ToolDefinition(BaseModel):
    """A tool of an agent."""

    id: UUID
    name: str
    description: str
    parameters: dict[str, Any] | None = None
    endpoint: dict[str, Any] | None = None
    idempotent: bool = False
    requires_approval: bool = False


class AgentDefinition(BaseModel):
    """An agent with its tools, oldest first."""

    id: UUID
    name: str
    role: str
    description: str
    tools: list[ToolDefinition]


class RunLimits(BaseModel):
    """The caps of a run; the first one that is reached ends it."""

    max_steps: int = Field(20, ge=1, le=100, description="Model and tool calls")
    max_tokens: int = Field(100_000, ge=1, le=2_000_000, description="In and out, of all calls")
    max_cost_usd: Decimal = Field(
        Decimal(1), gt=0, le=100, max_digits=9, decimal_places=6, description="US dollars"
    )
    timeout_seconds: int = Field(
        default_factory=int,
        ge=1,
        le=MAX_BACKGROUND_SECONDS,
        description=(
            f"Work, not waiting for approval; by default {MAX_SYNC_SECONDS}, which is also the most"
            f" where the caller waits, and {MAX_BACKGROUND_SECONDS} in the background"
        ),
    )
    approval_seconds: int = Field(
        86_400, ge=60, le=604_800, description="How long a tool call waits for its approval"
    )


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool call returned: whether it succeeded, and the text that the model reads."""

    ok: bool
    content: str
