"""The audit log of all tenants, over HTTP, for the platform's operators alone."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Security
from pydantic import ConfigDict

from mini_agent import api, audit, keys, page
from mini_agent.tenant import Operator

Admin = Annotated[Operator, Security(api.authorize, scopes=[keys.OPERATOR_SCOPE])]

router = api.router("/api/v1/admin", tags=["Platform"])


class TenantAuditQuery(audit.EntryQuery):
    """Which entries to list."""

    tenant_id: UUID | None = None


class TenantAuditEntry(audit.Entry):
    """Who did what to what of which tenant, and when."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"tenant_id": "850e8400-e29b-41d4-a716-446655440000"} | audit.EXAMPLE]
        }
    )

    tenant_id: UUID


@router.get("/audit", summary="List audit entries", response_model_exclude_unset=True)
async def list_tenants_entries(
    operator: Admin, query: Annotated[TenantAuditQuery, Query()]
) -> page.Page[TenantAuditEntry]:
    """List who did what, of all tenants, newest first; filters are as a tenant's own."""
    return page.fetch(operator, "audit", query, TenantAuditEntry)
