"""What the database tells of a run that is followed."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel


class Run(BaseModel):
    """How far a run is."""

    id: UUID
    status: str
    stop_reason: str | None
    response: str | None
    input_tokens: int
    output_tokens: int
    cost_usd: float
    steps: int


class Step(BaseModel):
    """A step, as its events show it."""

    number: int
    kind: str
    status: str
    tool: str | None
    arguments: Any
    result: Any
    decision: str | None
    expires_at: datetime | None
