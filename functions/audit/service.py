"""The rules of a tenant's audit log."""

from functions.audit.models import AuditEntry, AuditQuery
from mini_agent import page
from mini_agent.tenant import Caller


def list_page(caller: Caller, query: AuditQuery) -> page.Page[AuditEntry]:
    """Return a page of entries, newest first."""
    return page.fetch(caller, "audit", query, AuditEntry)
