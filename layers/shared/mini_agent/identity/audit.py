"""The audit log: what an entry tells, and how an attempt that was refused gets into it.

Changes get into it by triggers, in their own transactions: see `docs/decisions`.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Literal
from uuid import UUID

from psycopg.types.json import Jsonb
from pydantic import BaseModel, Field

from mini_agent.data import db
from mini_agent.errors import (
    ApiError,
    CrossTenantTool,
    InsufficientScope,
    TenantIsolationViolation,
)
from mini_agent.http.fields import Name, Time
from mini_agent.http.pagination import PageQuery
from mini_agent.identity.callers import Caller
from mini_agent.telemetry import logger

NOTED = (TenantIsolationViolation, CrossTenantTool, InsufficientScope)
"""The refusals that are noted: somebody asked for what is not theirs."""

EXAMPLE: dict[str, Any] = {
    "id": "a50e8400-e29b-41d4-a716-446655440000",
    "created_at": "2024-01-15T10:40:00.123456Z",
    "actor": "key",
    "key_id": "950e8400-e29b-41d4-a716-446655440000",
    "address": "192.0.2.1",
    "request_id": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
    "action": "tool.updated",
    "target_type": "tool",
    "target_id": "550e8400-e29b-41d4-a716-446655440000",
    "before": {"description": "Search the web"},
    "after": {"description": "Search the web, news included"},
}


class AuditQuery(PageQuery):
    """Which entries to list."""

    action: Name | None = Field(None, description="Such as `tool.updated` or `access.refused`")
    key_id: UUID | None = None
    target_type: Name | None = Field(None, description="Such as `tool`")
    target_id: Name | None = None
    created_after: Time | None = None
    created_before: Time | None = None


class AuditEntry(BaseModel):
    """Who did what to what, and when."""

    id: UUID
    created_at: datetime
    actor: Literal["key", "operator", "platform"] = Field(
        description="One of the tenant's keys, an operator of the platform, or the platform itself"
    )
    key_id: UUID | None = Field(description="Whose key it was; no operator's")
    address: str | None = Field(description="Where the request came from; no operator's")
    request_id: str | None = Field(description="Its X-Request-Id; no operator's")
    action: str
    target_type: str
    target_id: str
    before: dict[str, Any] | None = Field(
        description="The fields that changed as they were; null where there was nothing before"
    )
    after: dict[str, Any] | None = Field(
        description="The same fields as they are; `***` stands for what is not told"
    )


@dataclass(frozen=True, slots=True)
class _Noted:
    noted: bool


def note_refusal(caller: Caller, refused: ApiError, route: str) -> None:
    """Note what a caller was refused on a route, such as `GET /api/v1/tools`, and commit it.

    Past 20 entries a tenant and minute nothing is noted. A failure is logged, and nothing else: the
    caller's answer is what it is.
    """
    asked = {"error_code": refused.error_code, **refused.details}
    try:
        db.write(
            _as_tenant(caller),
            db.Query(
                "audit/refuse",
                {
                    "tenant_id": caller.tenant_id,
                    "route": route,
                    "asked": Jsonb(asked, dumps=partial(json.dumps, default=str)),
                },
                _Noted,
            ),
        )
    except Exception as error:  # noqa: BLE001 - whatever it is, the answer is more important
        logger.warning("a refusal was not noted", extra={"cause": type(error).__name__})


def _as_tenant(caller: Caller) -> Caller:
    """Return whoever it is as one of its tenant: a refused operator may be none."""
    return Caller(
        caller.tenant_id,
        caller.key_id,
        caller.scopes,
        caller.requests_per_minute,
        caller.request_id,
        caller.address,
    )
