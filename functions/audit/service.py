"""The rules of a tenant's audit log."""

from functions.audit.models import AuditEntry, AuditQuery
from mini_agent.http import pagination
from mini_agent.identity.callers import Caller


def list_page(caller: Caller, query: AuditQuery) -> pagination.Page[AuditEntry]:
    """Return a page of entries, newest first."""
    return pagination.fetch(caller, "audit", query, AuditEntry)
