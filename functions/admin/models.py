"""What comes into the operators' room, and what goes out."""

from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from mini_agent.http.fields import Name, Time
from mini_agent.http.pagination import PageQuery
from mini_agent.identity import api_keys, audit
from mini_agent.identity.api_keys import Days

MOST = 1_000_000
MOST_TOKENS = 10**15
MOST_USD = 10**9

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

Status = Literal["active", "suspended", "deleted"]


class TenantLimitsIn(BaseModel):
    """Limits to be set; null lifts one, and one left out stays, or is none for a new tenant."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"runs_per_minute": 60, "tokens_per_day": None}]},
    )

    # Only absence means "as it is" (a factory shows no default).
    requests_per_minute: int = Field(
        default_factory=lambda: 100,
        strict=True,
        ge=1,
        le=MOST,
        description="Cannot be lifted; 100 at first",
    )
    runs_per_minute: int | None = Field(default_factory=lambda: None, strict=True, ge=1, le=MOST)
    concurrent_runs: int | None = Field(default_factory=lambda: None, strict=True, ge=1, le=MOST)
    tokens_per_day: int | None = Field(
        default_factory=lambda: None, strict=True, ge=0, le=MOST_TOKENS
    )
    spend_per_month_usd: float | None = Field(
        default_factory=lambda: None, strict=True, ge=0, le=MOST_USD, allow_inf_nan=False
    )


class TenantLimits(BaseModel):
    """A tenant's limits; null is none of its own."""

    requests_per_minute: int
    runs_per_minute: int | None
    concurrent_runs: int | None
    tokens_per_day: int | None
    spend_per_month_usd: float | None


class TenantIn(BaseModel):
    """A tenant to be made."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "Acme", "limits": LIMITS}, {"name": "Acme"}]},
    )

    name: Name
    limits: TenantLimitsIn = Field(default_factory=TenantLimitsIn)


class TenantChange(BaseModel):
    """What to change; fields left out stay as they are."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"limits": {"tokens_per_day": None}}, {"retention_days": 90}]
        },
    )

    name: Name = Field(default_factory=str)
    limits: TenantLimitsIn = Field(default_factory=TenantLimitsIn)
    retention_days: int | None = Field(
        default_factory=lambda: None,
        strict=True,
        ge=1,
        le=3650,
        description="null keeps runs for good",
    )


class TenantQuery(PageQuery):
    """Which tenants to list."""

    name: Name | None = None
    status: Status | None = None


class Deletion(BaseModel):
    """How to delete a tenant."""

    model_config = ConfigDict(extra="forbid")

    grace_days: int = Field(7, ge=0, le=30, description="How long it can be resumed")


class Tenant(BaseModel):
    """A tenant."""

    model_config = ConfigDict(json_schema_extra={"examples": [TENANT]})

    id: UUID
    name: str
    status: Status
    limits: TenantLimits
    retention_days: int | None = Field(description="Days that runs are kept; null: for good")
    created_at: datetime
    delete_after: datetime | None = Field(
        description="When a deleted tenant's data goes; until then it can be resumed"
    )


class NewTenant(Tenant):
    """A new tenant with its first key, which may do all that a tenant's key can."""

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
    key: str | None = Field(None, description="Told this once; null where an answer is told again")
    key_expires_at: datetime


Scope = Annotated[
    str,
    api_keys.among(api_keys.SCOPES),
    Field(json_schema_extra={"x-extensible-enum": [*api_keys.SCOPES]}),
]


class TenantKeyIn(BaseModel):
    """A key to be made for a tenant."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "first", "scopes": ["keys:write"]}]},
    )

    name: Name
    scopes: list[Scope] = Field(
        default_factory=lambda: [*api_keys.SCOPES],
        min_length=1,
        max_length=len(api_keys.SCOPES),
        description="Left out: all that a tenant's key can have",
    )
    expires_in_days: Days = 90


class TenantUsageQuery(BaseModel):
    """Which days of a tenant to add up."""

    model_config = ConfigDict(extra="forbid")

    created_after: Time | None = Field(None, description="By default 30 days ago")
    created_before: Time | None = Field(None, description="By default now")
    model: Name | None = None


class TenantUsageOfDay(BaseModel):
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


class TenantAuditQuery(audit.AuditQuery):
    """Which entries of all tenants' logs to list."""

    tenant_id: UUID | None = None


class TenantAuditEntry(audit.AuditEntry):
    """Who did what to what of which tenant, and when."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"tenant_id": TENANT_ID} | audit.EXAMPLE]}
    )

    tenant_id: UUID


class TenantUsage(BaseModel):
    """A tenant's usage by day and model: the newest day first, then the dearest first."""

    items: list[TenantUsageOfDay]
