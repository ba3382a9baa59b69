"""The query parameters and entries of a tenant's audit log."""

from typing import Any

from pydantic import ConfigDict

from mini_agent.identity import audit


class AuditQuery(audit.AuditQuery):
    """The query parameters of the tenant's audit log."""

    def filters(self) -> dict[str, Any]:
        """Return the filters; row level security keeps to the tenant's entries."""
        return {"tenant_id": None, **super().filters()}


class AuditEntry(audit.AuditEntry):
    """Who did what in this tenant, and when."""

    model_config = ConfigDict(json_schema_extra={"examples": [audit.EXAMPLE]})
