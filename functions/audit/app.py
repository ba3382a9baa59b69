"""A tenant's audit log over HTTP."""

from typing import Annotated

from fastapi import Query, Security

from mini_agent.http import api, pagination
from mini_agent.identity.audit import AuditEntry, AuditQuery
from mini_agent.identity.callers import Caller

Reader = Annotated[Caller, Security(api.authorize, scopes=["audit:read"])]

router = api.router("/api/v1/audit", tags=["Audit"])


@router.get("", summary="List audit entries", response_model_exclude_unset=True)
async def list_entries(
    caller: Reader, query: Annotated[AuditQuery, Query()]
) -> pagination.Page[AuditEntry]:
    """List entries, newest first; filters are exact, times exclusive, and all combine.

    An operator's key, address and request id are left out.
    """
    return pagination.fetch(caller, "audit", query, AuditEntry)


handler = api.handler(router)
