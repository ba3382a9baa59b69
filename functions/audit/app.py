"""A tenant's audit log over HTTP."""

from typing import Annotated

from fastapi import Query, Security

from functions.audit import service
from functions.audit.models import AuditEntry, AuditQuery
from mini_agent.http import api
from mini_agent.http.pagination import Page
from mini_agent.identity.callers import Caller

Reader = Annotated[Caller, Security(api.authorize, scopes=["audit:read"])]

router = api.router("/api/v1/audit", tags=["Audit"])


@router.get("", summary="List audit entries", response_model_exclude_unset=True)
async def list_entries(caller: Reader, query: Annotated[AuditQuery, Query()]) -> Page[AuditEntry]:
    """List who did what, newest first; filters are exact, times exclusive, and all combine.

    Of an operator's entries, key, address and request are not told.
    """
    return service.list_page(caller, query)


handler = api.handler(router)
