"""Tenants over HTTP, for the platform's operators only."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, Response, Security

from functions.admin import service
from functions.admin.models import (
    NewTenant,
    OperatorAuditEntry,
    OperatorAuditQuery,
    Tenant,
    TenantCreate,
    TenantDeletion,
    TenantKeyCreate,
    TenantQuery,
    TenantUpdate,
    TenantUsageQuery,
    TenantUsageReport,
)
from mini_agent import errors
from mini_agent.http import api
from mini_agent.http.pagination import Page
from mini_agent.identity import api_keys
from mini_agent.identity.api_keys import NewApiKey
from mini_agent.identity.callers import Operator

Authorized = Annotated[Operator, Security(api.authorize, scopes=[api_keys.OPERATOR_SCOPE])]

router = api.router("/api/v1/admin", tags=["Platform"])


@router.post(
    "/tenants",
    status_code=201,
    summary="Create a tenant",
    responses=errors.responses(errors.UnsupportedMediaType),
)
async def create_tenant(
    operator: Authorized, tenant: TenantCreate, request: Request, response: Response
) -> NewTenant:
    """Create a tenant with a first key, valid for 90 days, with every scope of a tenant's key."""
    created = service.create(operator, tenant)
    response.headers["Location"] = api.location(request, created.id)
    return created


@router.get("/tenants", summary="List tenants", response_model_exclude_unset=True)
async def list_tenants(
    operator: Authorized, query: Annotated[TenantQuery, Query()]
) -> Page[Tenant]:
    """List tenants, oldest first; filters are exact and combine."""
    return service.list_page(operator, query)


@router.get(
    "/tenants/{tenant_id}",
    summary="Get a tenant by id",
    responses=errors.responses(errors.TenantNotFound),
)
async def get_tenant(operator: Authorized, tenant_id: UUID) -> Tenant:
    """Read one tenant."""
    return service.get(operator, tenant_id)


@router.put(
    "/tenants/{tenant_id}",
    summary="Update a tenant",
    responses=errors.responses(
        errors.TenantNotFound, errors.TenantDeleted, errors.UnsupportedMediaType
    ),
)
async def update_tenant(operator: Authorized, tenant_id: UUID, tenant: TenantUpdate) -> Tenant:
    """Change the fields in the body. A new limit takes effect everywhere within 30 seconds."""
    return service.update(operator, tenant_id, tenant)


@router.post(
    "/tenants/{tenant_id}/suspend",
    summary="Suspend a tenant",
    responses=errors.responses(errors.TenantNotFound, errors.TenantDeleted, errors.TenantProtected),
)
async def suspend_tenant(operator: Authorized, tenant_id: UUID) -> Tenant:
    """Refuse all its keys from now on; its data stays."""
    return service.suspend(operator, tenant_id)


@router.post(
    "/tenants/{tenant_id}/resume",
    summary="Resume a tenant",
    responses=errors.responses(errors.TenantNotFound, errors.TenantDeleted),
)
async def resume_tenant(operator: Authorized, tenant_id: UUID) -> Tenant:
    """Accept its keys again: of a suspended tenant, or a deleted one within its grace period."""
    return service.resume(operator, tenant_id)


@router.delete(
    "/tenants/{tenant_id}",
    summary="Delete a tenant",
    responses=errors.responses(errors.TenantNotFound, errors.TenantDeleted, errors.TenantProtected),
)
async def delete_tenant(
    operator: Authorized, tenant_id: UUID, deletion: Annotated[TenantDeletion, Query()]
) -> Tenant:
    """Refuse all its keys from now on, and delete all its data after the grace period."""
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
    operator: Authorized,
    tenant_id: UUID,
    key: TenantKeyCreate,
    request: Request,
    response: Response,
) -> NewApiKey:
    """Create a key for a tenant that has lost its own. Location is the tenant's path to it."""
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
    operator: Authorized, tenant_id: UUID, query: Annotated[TenantUsageQuery, Query()]
) -> TenantUsageReport:
    """Add up usage by day and model: at most 1 000 rows, the newest days first.

    A day that a bound cuts counts whole: of deleted runs only days are known.
    """
    return service.usage(operator, tenant_id, query)


@router.get("/audit", summary="List audit entries", response_model_exclude_unset=True)
async def list_audit_entries(
    operator: Authorized, query: Annotated[OperatorAuditQuery, Query()]
) -> Page[OperatorAuditEntry]:
    """List the entries of all tenants, newest first, with the filters of a tenant's own log."""
    return service.list_entries(operator, query)


handler = api.handler(router, caller_type=Operator)
