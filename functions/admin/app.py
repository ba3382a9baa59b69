"""Tenants over HTTP, for the platform's operators alone."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, Response, Security

from functions.admin import service
from functions.admin.models import (
    Deletion,
    NewTenant,
    Tenant,
    TenantAuditEntry,
    TenantAuditQuery,
    TenantChange,
    TenantIn,
    TenantKeyIn,
    TenantQuery,
    TenantUsage,
    TenantUsageQuery,
)
from mini_agent import errors
from mini_agent.http import api
from mini_agent.http.pagination import Page
from mini_agent.identity import api_keys
from mini_agent.identity.api_keys import NewApiKey
from mini_agent.identity.callers import Operator

Admin = Annotated[Operator, Security(api.authorize, scopes=[api_keys.OPERATOR_SCOPE])]

router = api.router("/api/v1/admin", tags=["Platform"])


@router.post(
    "/tenants",
    status_code=201,
    summary="Create a tenant",
    responses=errors.responses(errors.UnsupportedMediaType),
)
async def create_tenant(
    operator: Admin, tenant: TenantIn, request: Request, response: Response
) -> NewTenant:
    """Make a tenant with a first key of 90 days, which may do all that a tenant's key can."""
    created = service.create(operator, tenant)
    response.headers["Location"] = api.location(request, created.id)
    return created


@router.get("/tenants", summary="List tenants", response_model_exclude_unset=True)
async def list_tenants(operator: Admin, query: Annotated[TenantQuery, Query()]) -> Page[Tenant]:
    """List tenants, oldest first; filters are exact and combine."""
    return service.list_page(operator, query)


@router.get(
    "/tenants/{tenant_id}",
    summary="Get a tenant by id",
    responses=errors.responses(errors.TenantNotFound),
)
async def get_tenant(operator: Admin, tenant_id: UUID) -> Tenant:
    """Read one tenant."""
    return service.get(operator, tenant_id)


@router.put(
    "/tenants/{tenant_id}",
    summary="Update a tenant",
    responses=errors.responses(
        errors.TenantNotFound, errors.TenantDeleted, errors.UnsupportedMediaType
    ),
)
async def update_tenant(operator: Admin, tenant_id: UUID, change: TenantChange) -> Tenant:
    """Change what is sent; the rest stays as it is. A limit holds everywhere within 30 seconds."""
    return service.update(operator, tenant_id, change)


@router.post(
    "/tenants/{tenant_id}/suspend",
    summary="Suspend a tenant",
    responses=errors.responses(errors.TenantNotFound, errors.TenantDeleted, errors.TenantProtected),
)
async def suspend_tenant(operator: Admin, tenant_id: UUID) -> Tenant:
    """Refuse all its keys from now on, and keep its data."""
    return service.suspend(operator, tenant_id)


@router.post(
    "/tenants/{tenant_id}/resume",
    summary="Resume a tenant",
    responses=errors.responses(errors.TenantNotFound, errors.TenantDeleted),
)
async def resume_tenant(operator: Admin, tenant_id: UUID) -> Tenant:
    """Take its keys again, after it was suspended, or deleted and its grace is not over."""
    return service.resume(operator, tenant_id)


@router.delete(
    "/tenants/{tenant_id}",
    summary="Delete a tenant",
    responses=errors.responses(errors.TenantNotFound, errors.TenantDeleted, errors.TenantProtected),
)
async def delete_tenant(
    operator: Admin, tenant_id: UUID, deletion: Annotated[Deletion, Query()]
) -> Tenant:
    """Refuse all its keys from now on, and delete all its data once the grace is over."""
    return service.delete(operator, tenant_id, deletion)


@router.post(
    "/tenants/{tenant_id}/keys",
    status_code=201,
    summary="Create a key for a tenant",
    responses=errors.responses(
        errors.TenantNotFound, errors.TenantDeleted, errors.UnsupportedMediaType
    ),
)
async def create_tenant_key(
    operator: Admin, tenant_id: UUID, key: TenantKeyIn, request: Request, response: Response
) -> NewApiKey:
    """Make a key, for a tenant that has lost its own. Location is where the tenant finds it."""
    created = service.create_key(operator, tenant_id, key)
    base, _, _ = api.location(request, created.id).rpartition("/admin/")
    response.headers["Location"] = f"{base}/keys/{created.id}"
    return created


@router.get(
    "/tenants/{tenant_id}/usage",
    summary="Add up a tenant's tokens, runs and cost",
    responses=errors.responses(errors.TenantNotFound),
)
async def read_tenant_usage(
    operator: Admin, tenant_id: UUID, query: Annotated[TenantUsageQuery, Query()]
) -> TenantUsage:
    """Add up what runs used, by day and model; at most 1 000 rows, the newest days first.

    Of runs that are deleted whole days are known alone: a day that a bound cuts counts in full.
    """
    return service.usage(operator, tenant_id, query)


@router.get("/audit", summary="List audit entries", response_model_exclude_unset=True)
async def list_audit_entries(
    operator: Admin, query: Annotated[TenantAuditQuery, Query()]
) -> Page[TenantAuditEntry]:
    """List who did what, of all tenants, newest first; filters are as a tenant's own."""
    return service.list_entries(operator, query)


handler = api.handler(router, caller_type=Operator)
