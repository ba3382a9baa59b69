"""The rules of tenants."""

from typing import Any, TypeVar
from uuid import UUID

from psycopg.types.json import Jsonb

from functions.admin.models import (
    Deletion,
    NewTenant,
    Status,
    Tenant,
    TenantAuditEntry,
    TenantAuditQuery,
    TenantChange,
    TenantIn,
    TenantKeyIn,
    TenantQuery,
    TenantUsage,
    TenantUsageOfDay,
    TenantUsageQuery,
)
from mini_agent.data import db
from mini_agent.errors import TenantDeleted, TenantNotFound, TenantProtected
from mini_agent.http import pagination
from mini_agent.identity import api_keys
from mini_agent.identity.api_keys import NewApiKey
from mini_agent.identity.callers import Operator

FIRST_KEY = TenantKeyIn(name="first")
Found = TypeVar("Found", Tenant, NewApiKey)


def create(operator: Operator, tenant: TenantIn) -> NewTenant:
    """Return the new tenant with its first key; raises ServiceUnavailable without peppers."""
    key, stored = api_keys.issue()
    fields = {"tenant": Jsonb(_row(tenant.model_dump())), "key_id": stored.pop("id")}
    [created] = db.write(
        operator,
        db.Query("admin/create", fields | stored | _asked(FIRST_KEY), NewTenant),
    )
    return created.model_copy(update={"key": key})


def get(operator: Operator, tenant_id: UUID) -> Tenant:
    """Return a tenant; raises TenantNotFound."""
    found = db.read(operator, db.Query("admin/get", {"id": tenant_id}, Tenant))
    if not found:
        raise TenantNotFound(tenant_id=tenant_id)
    return found[0]


def list_page(operator: Operator, query: TenantQuery) -> pagination.Page[Tenant]:
    """Return a page of tenants, oldest first."""
    return pagination.fetch(operator, "admin", query, Tenant)


def update(operator: Operator, tenant_id: UUID, change: TenantChange) -> Tenant:
    """Return the changed tenant; raises TenantNotFound, TenantDeleted."""
    changes = Jsonb(_row(change.model_dump(exclude_unset=True)))
    changed = db.write(
        operator, db.Query("admin/update", {"id": tenant_id, "change": changes}, Tenant)
    )
    return _one(operator, changed, tenant_id)


def suspend(operator: Operator, tenant_id: UUID) -> Tenant:
    """Return the suspended tenant; raises TenantNotFound, TenantDeleted, TenantProtected."""
    return _turn(operator, tenant_id, "suspended")


def resume(operator: Operator, tenant_id: UUID) -> Tenant:
    """Return the tenant, active again; raises TenantNotFound, TenantDeleted after the grace."""
    return _turn(operator, tenant_id, "active")


def delete(operator: Operator, tenant_id: UUID, deletion: Deletion) -> Tenant:
    """Return the tenant that is to go; raises TenantNotFound, TenantDeleted, TenantProtected."""
    return _turn(operator, tenant_id, "deleted", deletion.grace_days)


def create_key(operator: Operator, tenant_id: UUID, asked: TenantKeyIn) -> NewApiKey:
    """Return a tenant's new key; raises TenantNotFound, TenantDeleted, ServiceUnavailable."""
    key, stored = api_keys.issue()
    parameters = {"tenant_id": tenant_id} | stored | _asked(asked)
    created = db.write(operator, db.Query("admin/create_key", parameters, NewApiKey))
    return _one(operator, created, tenant_id).model_copy(update={"key": key})


def usage(operator: Operator, tenant_id: UUID, query: TenantUsageQuery) -> TenantUsage:
    """Return a tenant's usage by day and model; raises TenantNotFound."""
    known, days = db.read(
        operator,
        db.Query("admin/get", {"id": tenant_id}, Tenant),
        db.Query("admin/usage", {"tenant_id": tenant_id} | query.model_dump(), TenantUsageOfDay),
    )
    if not known:
        raise TenantNotFound(tenant_id=tenant_id)
    return TenantUsage(items=days)


def list_entries(operator: Operator, query: TenantAuditQuery) -> pagination.Page[TenantAuditEntry]:
    """Return a page of all tenants' audit entries, newest first."""
    return pagination.fetch(operator, "audit", query, TenantAuditEntry)


def _row(fields: dict[str, Any]) -> dict[str, Any]:
    limits: dict[str, Any] = fields.pop("limits", {})
    return fields | limits


def _asked(key: TenantKeyIn) -> dict[str, Any]:
    return {
        "key_name": key.name,
        "scopes": sorted({*key.scopes}),
        "expires_in_days": key.expires_in_days,
    }


def _turn(
    operator: Operator, tenant_id: UUID, status: Status, grace_days: int | None = None
) -> Tenant:
    turned = db.write(
        operator,
        db.Query(
            "admin/set_status",
            {"id": tenant_id, "status": status, "grace_days": grace_days},
            Tenant,
        ),
        refusals={"tenants_platform_stays": TenantProtected(tenant_id=tenant_id)},
    )
    return _one(operator, turned, tenant_id)


def _one(operator: Operator, found: list[Found], tenant_id: UUID) -> Found:
    """Return what a write gave; where it gave nothing, the tenant is unknown or deleted."""
    if not found:
        told = get(operator, tenant_id).model_dump(mode="json", include={"delete_after"})
        raise TenantDeleted(tenant_id=tenant_id, **told)
    return found[0]
