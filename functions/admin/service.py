"""Creating, limiting, suspending and deleting tenants."""

from typing import Any, TypeVar
from uuid import UUID

from psycopg.types.json import Jsonb

from functions.admin.models import (
    NewTenant,
    OperatorAuditEntry,
    OperatorAuditQuery,
    Tenant,
    TenantCreate,
    TenantDailyUsage,
    TenantDeletion,
    TenantKeyCreate,
    TenantQuery,
    TenantStatus,
    TenantUpdate,
    TenantUsageQuery,
    TenantUsageReport,
)
from mini_agent.data import db
from mini_agent.errors import TenantDeleted, TenantNotFound, TenantProtected
from mini_agent.http import pagination
from mini_agent.identity import api_keys
from mini_agent.identity.api_keys import NewApiKey
from mini_agent.identity.callers import Operator

FIRST_KEY = TenantKeyCreate(name="first")
Row = TypeVar("Row", Tenant, NewApiKey)


def create(operator: Operator, tenant: TenantCreate) -> NewTenant:
    """Return the new tenant with its first key; raises ServiceUnavailable without peppers."""
    secret, columns = api_keys.issue()
    fields = {"tenant": Jsonb(_columns(tenant.model_dump())), "key_id": columns.pop("id")}
    [created] = db.write(
        operator,
        db.Query("admin/create", fields | columns | _key_columns(FIRST_KEY), NewTenant),
    )
    return created.model_copy(update={"key": secret})


def get(operator: Operator, tenant_id: UUID) -> Tenant:
    """Return a tenant; raises TenantNotFound."""
    found = db.read(operator, db.Query("admin/get", {"id": tenant_id}, Tenant))
    return db.first(found, TenantNotFound(tenant_id=tenant_id))


def list_page(operator: Operator, query: TenantQuery) -> pagination.Page[Tenant]:
    """Return a page of tenants, oldest first."""
    return pagination.fetch(operator, "admin", query, Tenant)


def update(operator: Operator, tenant_id: UUID, tenant: TenantUpdate) -> Tenant:
    """Return the changed tenant; raises TenantNotFound, TenantDeleted."""
    changes = Jsonb(_columns(tenant.model_dump(exclude_unset=True)))
    changed = db.write(
        operator, db.Query("admin/update", {"id": tenant_id, "change": changes}, Tenant)
    )
    return _first(operator, changed, tenant_id)


def suspend(operator: Operator, tenant_id: UUID) -> Tenant:
    """Return the suspended tenant; raises TenantNotFound, TenantDeleted, TenantProtected."""
    return _set_status(operator, tenant_id, "suspended")


def resume(operator: Operator, tenant_id: UUID) -> Tenant:
    """Return the resumed tenant; raises TenantNotFound, TenantDeleted after the grace period."""
    return _set_status(operator, tenant_id, "active")


def delete(operator: Operator, tenant_id: UUID, deletion: TenantDeletion) -> Tenant:
    """Return the deleted tenant; raises TenantNotFound, TenantDeleted, TenantProtected."""
    return _set_status(operator, tenant_id, "deleted", deletion.grace_days)


def create_key(operator: Operator, tenant_id: UUID, key: TenantKeyCreate) -> NewApiKey:
    """Return a tenant's new key; raises TenantNotFound, TenantDeleted, ServiceUnavailable."""
    secret, columns = api_keys.issue()
    parameters = {"tenant_id": tenant_id} | columns | _key_columns(key)
    created = db.write(operator, db.Query("admin/create_key", parameters, NewApiKey))
    return _first(operator, created, tenant_id).model_copy(update={"key": secret})


def usage(operator: Operator, tenant_id: UUID, query: TenantUsageQuery) -> TenantUsageReport:
    """Return a tenant's usage by day and model; raises TenantNotFound."""
    found, days = db.read(
        operator,
        db.Query("admin/get", {"id": tenant_id}, Tenant),
        db.Query(
            "admin/list_usage", {"tenant_id": tenant_id} | query.model_dump(), TenantDailyUsage
        ),
    )
    db.first(found, TenantNotFound(tenant_id=tenant_id))
    return TenantUsageReport(items=days)


def list_entries(
    operator: Operator, query: OperatorAuditQuery
) -> pagination.Page[OperatorAuditEntry]:
    """Return a page of all tenants' audit entries, newest first."""
    return pagination.fetch(operator, "audit", query, OperatorAuditEntry)


def _columns(fields: dict[str, Any]) -> dict[str, Any]:
    limits: dict[str, Any] = fields.pop("limits", {})
    return fields | limits


def _key_columns(key: TenantKeyCreate) -> dict[str, Any]:
    return {
        "key_name": key.name,
        "scopes": sorted({*key.scopes}),
        "expires_in_days": key.expires_in_days,
    }


def _set_status(
    operator: Operator, tenant_id: UUID, status: TenantStatus, grace_days: int | None = None
) -> Tenant:
    changed = db.write(
        operator,
        db.Query(
            "admin/set_status",
            {"id": tenant_id, "status": status, "grace_days": grace_days},
            Tenant,
        ),
        refusals={"tenants_platform_is_active": TenantProtected(tenant_id=tenant_id)},
    )
    return _first(operator, changed, tenant_id)


def _first(operator: Operator, rows: list[Row], tenant_id: UUID) -> Row:
    """Return a write's row; without one the tenant is deleted or was never there."""
    if rows:
        return rows[0]
    tenant = get(operator, tenant_id)
    raise TenantDeleted(
        tenant_id=tenant_id, **tenant.model_dump(mode="json", include={"delete_after"})
    )
