"""The audit log: its entries, and how a refused request is recorded.

Changes are recorded by triggers, in the transactions that make them:
`docs/decisions/0016-audit-by-triggers.md`.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Literal
from uuid import UUID

from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict, Field

from mini_agent.data import db
from mini_agent.errors import AuthorizationError
from mini_agent.http.fields import Name, Time
from mini_agent.http.pagination import PageQuery
from mini_agent.identity.callers import Caller
from mini_agent.telemetry import logger

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
    """Filters of audit entries."""

    action: Name | None = Field(None, description="Such as `tool.updated` or `access.refused`")
    key_id: UUID | None = None
    target_type: Name | None = Field(None, description="Such as `tool`")
    target_id: Name | None = None
    created_after: Time | None = None
    created_before: Time | None = None

    def filters(self) -> dict[str, Any]:
        """Return the filters; row level security restricts a tenant to its own entries."""
        return {"tenant_id": None} | super().filters()


class AuditEntry(BaseModel):
    """Who did what to what, and when."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: UUID
    created_at: datetime
    actor: Literal["key", "operator", "platform"] = Field(
        description="One of the tenant's keys, an operator of the platform, or the platform itself"
    )
    key_id: UUID | None = Field(description="The tenant's key that was used, if one was")
    address: str | None = Field(description="The client's IP address, if a key was used")
    request_id: str | None = Field(description="The request's X-Request-Id, if a key was used")
    action: str
    target_type: str
    target_id: str
    before: dict[str, Any] | None = Field(
        description="The changed fields before the change; null for something new"
    )
    after: dict[str, Any] | None = Field(
        description="The same fields after the change; `***` replaces what is not shown"
    )


@dataclass(frozen=True, slots=True)
class _RefusalRecord:
    noted: bool


def record_refusal(caller: Caller, error: AuthorizationError, route: str) -> None:
    """Record, and commit, what a caller was refused on a route such as `GET /api/v1/tools`.

    At most 20 entries a tenant and minute are recorded. A failure is only logged: it must not
    change the caller's response.
    """
    request = {"error_code": error.error_code, **error.details}
    try:
        db.write(
            _as_tenant(caller),
            db.Query(
                "audit/log_refusal",
                {
                    "tenant_id": caller.tenant_id,
                    "route": route,
                    "asked": Jsonb(request, dumps=partial(json.dumps, default=str)),
                },
                _RefusalRecord,
            ),
        )
    except Exception as failure:  # noqa: BLE001 - whatever it is, the response comes first
        logger.warning("a refusal was not recorded", extra={"cause": type(failure).__name__})


def _as_tenant(caller: Caller) -> Caller:
    """Return the caller without operator's rights: one that was refused may not have them."""
    return Caller(
        caller.tenant_id,
        caller.key_id,
        caller.scopes,
        caller.requests_per_minute,
        caller.request_id,
        caller.address,
    )
