"""What comes into the audit room, and what goes out."""

from typing import Any

from pydantic import ConfigDict

from mini_agent.identity import audit


class AuditQuery(audit.AuditQuery):
    """Which entries of the tenant's log to list."""

    def filters(self) -> dict[str, Any]:
        """Return the filters; row level security shows the tenant's entries alone."""
        return {"tenant_id": None, **super().filters()}


class AuditEntry(audit.AuditEntry):
    """Who did what to what of the tenant's, and when."""

    model_config = ConfigDict(json_schema_extra={"examples": [audit.EXAMPLE]})
