"""The bodies, query parameters and rows of the operators' room."""

from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from mini_agent.http.fields import Name, Time
from mini_agent.http.pagination import PageQuery
from mini_agent.identity import api_keys, audit
from mini_agent.identity.api_keys import LifetimeDays

MAX_LIMIT = 1_000_000
MAX_TOKENS = 10**15
MAX_USD = 10**9

TENANT_ID = "850e8400-e29b-41d4-a716-446655440000"
KEY_ID = "950e8400-e29b-41d4-a716-446655440000"
LIMITS: dict[str, JsonValue] = {
    "requests_per_minute": 100,
    "runs_per_minute": 30,
    "concurrent_runs": 10,
    "tokens_per_day": 2_000_000,
    "spend_per_month_usd": 50.0,
}
TENANT: dict[str, JsonValue] = {
    "id": TENANT_ID,
    "name": "Acme",
    "status": "active",
    "limits": LIMITS,
    "retention_days": None,
    "created_at": "2024-01-15T10:30:00.123456Z",
    "delete_after": None,
}

TenantStatus = Literal["active", "suspended", "deleted"]


class TenantLimitsInput(BaseModel):
    """A tenant's limits in a body: null removes one; an absent one stays, or is none at first."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"runs_per_minute": 60, "tokens_per_day": None}]},
    )

    # A factory, since the document would show a default.
    requests_per_minute: int = Field(
        default_factory=lambda: 100,
        strict=True,
        ge=1,
        le=MAX_LIMIT,
        description="Cannot be removed; 100 for a new tenant",
    )
    runs_per_minute: int | None = Field(
        default_factory=lambda: None, strict=True, ge=1, le=MAX_LIMIT
    )
    concurrent_runs: int | None = Field(
        default_factory=lambda: None, strict=True, ge=1, le=MAX_LIMIT
    )
    tokens_per_day: int | None = Field(
        default_factory=lambda: None, strict=True, ge=0, le=MAX_TOKENS
    )
    spend_per_month_usd: float | None = Field(
        default_factory=lambda: None, strict=True, ge=0, le=MAX_USD, allow_inf_nan=False
    )


class TenantLimits(BaseModel):
    """A tenant's limits; null where it has none."""

    requests_per_minute: int
    runs_per_minute: int | None
    concurrent_runs: int | None
    tokens_per_day: int | None
    spend_per_month_usd: float | None


class TenantCreate(BaseModel):
    """The body that creates a tenant."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "Acme", "limits": LIMITS}, {"name": "Acme"}]},
    )

    name: Name
    limits: TenantLimitsInput = Field(default_factory=TenantLimitsInput)


class TenantUpdate(BaseModel):
    """The body that changes a tenant; absent fields keep their values."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"limits": {"tokens_per_day": None}}, {"retention_days": 90}]
        },
    )

    name: Name = Field(default_factory=str)
    limits: TenantLimitsInput = Field(default_factory=TenantLimitsInput)
    retention_days: int | None = Field(
        default_factory=lambda: None,
        strict=True,
        ge=1,
        le=3650,
        description="null keeps runs for ever",
    )


class TenantQuery(PageQuery):
    """The query parameters of the list of tenants."""

    name: Name | None = None
    status: TenantStatus | None = None


class TenantDeletion(BaseModel):
    """The query parameters of a tenant's deletion."""

    model_config = ConfigDict(extra="forbid")

    grace_days: int = Field(7, ge=0, le=30, description="Days in which it can be resumed")


class Tenant(BaseModel):
    """A tenant."""

    model_config = ConfigDict(json_schema_extra={"examples": [TENANT]})

    id: UUID
    name: str
    status: TenantStatus
    limits: TenantLimits
    retention_days: int | None = Field(description="Days that runs are kept; null: for ever")
    created_at: datetime
    delete_after: datetime | None = Field(
        description="When a deleted tenant's data is deleted; until then it can be resumed"
    )


class NewTenant(Tenant):
    """A new tenant with its first key, which has every scope of a tenant's key."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                TENANT
                | {
                    "key_id": KEY_ID,
                    "key": "map_live_…",
                    "key_expires_at": "2024-04-14T10:30:00.123456Z",
                }
            ]
        }
    )

    key_id: UUID
    key: str | None = Field(None, description="Shown once: null when an answer is replayed")
    key_expires_at: datetime


Scope = Annotated[
    str,
    api_keys.scope_validator(api_keys.SCOPES),
    Field(json_schema_extra={"x-extensible-enum": [*api_keys.SCOPES]}),
]


class TenantKeyCreate(BaseModel):
    """The body that creates a key for a tenant."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "first", "scopes": ["keys:write"]}]},
    )

    name: Name
    scopes: list[Scope] = Field(
        default_factory=lambda: [*api_keys.SCOPES],
        min_length=1,
        max_length=len(api_keys.SCOPES),
        description="By default every scope of a tenant's key",
    )
    expires_in_days: LifetimeDays = 90


class TenantUsageQuery(BaseModel):
    """The query parameters of a tenant's usage report."""

    model_config = ConfigDict(extra="forbid")

    created_after: Time | None = Field(None, description="By default 30 days ago")
    created_before: Time | None = Field(None, description="By default now")
    model: Name | None = None


class TenantDailyUsage(BaseModel):
    """What a tenant's runs with one model used on one day (UTC)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "day": "2024-01-15",
                    "model": "gpt-4o",
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
    runs: int
    input_tokens: int
    output_tokens: int
    cost_usd: float


class OperatorAuditQuery(audit.AuditQuery):
    """The query parameters of all tenants' audit logs."""

    tenant_id: UUID | None = None


class OperatorAuditEntry(audit.AuditEntry):
    """Who did what in which tenant, and when."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"tenant_id": TENANT_ID} | audit.EXAMPLE]}
    )

    tenant_id: UUID


class TenantUsageReport(BaseModel):
    """A tenant's usage by day and model: newest day first, within a day highest cost first."""

    items: list[TenantDailyUsage]
